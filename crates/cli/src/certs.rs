//! `lapwing certs`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::anyhow;
use lapwing_service::{
    certs::{Authority, LEAF_DAYS},
    identity::{Certificate, Identity, Name},
    tls::{self, Standing},
};

use crate::{
    exit::{Exit, Failure, OrExit},
    name, output, time,
};

/// Make certificates for collectors, agents and users
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an authority in a folder if there is none, and certificates of it
    Create(CreateArgs),
    /// Make certificates again before they expire, for the same names, with new keys; running programs read them by themselves
    Renew(RenewArgs),
    /// Show whom certificates name, their serial numbers, and until when they are valid
    Show {
        /// PEM files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct RenewArgs {
    /// Folder of the authority and the certificates
    #[arg(long)]
    dir: PathBuf,
    /// For how many days they are valid
    #[arg(long, default_value_t = LEAF_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Names of the files without `.pem`, such as `server` or `agent-web-1`
    #[arg(required = true, value_name = "NAME", value_parser = stem_of)]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Folder for ca.pem and all other files
    #[arg(long)]
    dir: PathBuf,
    /// Name or address that agents reach the collector by (server.pem); may be given more than once
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    server: Vec<String>,
    /// For how many days they are valid
    #[arg(long, default_value_t = LEAF_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Agent's id (agent-ID.pem); may be given more than once
    #[arg(long, value_name = "ID", value_parser = name::parse)]
    agent: Vec<String>,
    /// User's name (user-NAME.pem); may be given more than once
    #[arg(long, value_name = "NAME", value_parser = name::parse)]
    user: Vec<String>,
}

fn server_name(text: &str) -> Result<String, String> {
    match text.parse::<IpAddr>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            name::parse(text).map_err(|problem| format!("expected an address or a DNS name: {problem}"))
        }
    }
}

/// A name of a file in the folder, and of none elsewhere.
fn stem_of(text: &str) -> Result<String, String> {
    let stem = text.strip_suffix(".pem").unwrap_or(text);
    Name::parse(stem).map(String::from).map_err(|error| error.to_string())
}

/// Makes what is asked for, and prints the files made.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let made = match &args.command {
        Command::Create(args) => create(args)?,
        Command::Renew(args) => renew(args)?,
        Command::Show { files } => return files.iter().try_for_each(|file| show(file)),
    };
    made.iter().try_for_each(|file| output::line(file.display()))
}

fn renew(args: &RenewArgs) -> Result<Vec<PathBuf>, Failure> {
    if !args.dir.join("ca.pem").exists() {
        let dir = args.dir.display();
        return Err(
            Exit::Usage.because(anyhow!("{dir} holds no authority (ca.pem and ca.key); give its folder"))
        );
    }
    let authority = Authority::open_or_create(&args.dir).or_exit(Exit::Broke)?.for_days(args.days);
    args.names.iter().try_for_each(|name| authority.renew(name)).or_exit(Exit::Usage)?;
    let files =
        args.names.iter().flat_map(|name| ["pem", "key"].map(|end| args.dir.join(format!("{name}.{end}"))));
    Ok(files.collect())
}

fn show(path: &Path) -> Result<(), Failure> {
    let certificate = Certificate::open(path).or_exit(Exit::Usage)?;
    let names =
        certificate.identity.map_or_else(|_| "no agent and no user".to_owned(), |who| who.to_string());
    let standing = match tls::validity(path).or_exit(Exit::Usage)?.at(SystemTime::now()) {
        Standing::Good => "valid".to_owned(),
        Standing::Ending(text) | Standing::Invalid(text) => text,
    };
    let end = certificate.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    output::line(format_args!(
        "{}\n  names    {names}\n  serial   {}\n  expires  {} ({standing})",
        path.display(),
        certificate.serial,
        time::rfc3339_seconds(end.as_secs()),
    ))
}

fn create(args: &CreateArgs) -> Result<Vec<PathBuf>, Failure> {
    let agents = args.agent.iter().map(|id| Identity::agent(id));
    let clients = agents.chain(args.user.iter().map(|name| Identity::user(name)));
    let clients = clients.collect::<Result<Vec<_>, _>>().or_exit(Exit::Usage)?;
    let mut stems: Vec<String> = clients.iter().map(Identity::stem).collect();
    if !args.server.is_empty() {
        stems.push("server".to_owned());
    }
    let mut made: Vec<PathBuf> = stems
        .iter()
        .flat_map(|stem| ["pem", "key"].map(|end| args.dir.join(format!("{stem}.{end}"))))
        .collect();
    refuse_existing(&made)?;
    if !args.dir.join("ca.pem").exists() {
        made.splice(0..0, ["ca.pem", "ca.key"].map(|file| args.dir.join(file)));
    }
    let authority = Authority::open_or_create(&args.dir).or_exit(Exit::Broke)?.for_days(args.days);
    if !args.server.is_empty() {
        authority.server(&args.server).or_exit(Exit::Broke)?;
    }
    clients.iter().try_for_each(|identity| authority.client(identity)).or_exit(Exit::Broke)?;
    Ok(made)
}

/// All or nothing: what is there is found before anything is made.
fn refuse_existing(files: &[PathBuf]) -> Result<(), Failure> {
    match files.iter().find(|file| file.exists()) {
        None => Ok(()),
        Some(file) => {
            let file = file.display();
            Err(Exit::Usage
                .because(anyhow!("{file} is there already; move it away, or choose another name or folder")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(dir: &Path, agent: &str) -> CreateArgs {
        let (server, user) = (vec!["localhost".to_owned(), "::1".to_owned()], vec!["me".to_owned()]);
        CreateArgs { dir: dir.to_owned(), server, days: LEAF_DAYS, agent: vec![agent.to_owned()], user }
    }

    #[test]
    fn certificates_are_made_once_and_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let made = create(&asked(folder.path(), "web-1")).unwrap();
        assert_eq!(made.iter().filter(|file| file.exists()).count(), 8, "{made:?}");
        let (cert, key) = (file("agent-web-1.pem"), file("agent-web-1.key"));
        lapwing_service::tls::client(&file("ca.pem"), Some((&cert, &key))).unwrap();
        lapwing_service::tls::server(&file("server.pem"), &file("server.key"), Some(&file("ca.pem")), true)
            .unwrap();

        let (exit, told) = create(&asked(folder.path(), "web-2")).unwrap_err().parts();
        assert!(exit == Exit::Usage && told.contains("user-me.pem is there already"), "{told}");
        assert!(!file("agent-web-2.pem").exists(), "nothing is made when one file is there");
    }

    #[test]
    fn a_server_has_names_and_addresses() {
        for good in ["localhost", "127.0.0.1", "::1", "collector.example.com"] {
            assert!(server_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "https://x", "host:7400"] {
            assert!(server_name(bad).is_err(), "{bad}");
        }
    }
}
