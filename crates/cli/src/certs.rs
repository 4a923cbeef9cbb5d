//! `lapwing certs`.

use std::{net::IpAddr, path::PathBuf};

use anyhow::anyhow;
use lapwing_service::{certs::Authority, tls::Identity};

use crate::{
    exit::{Exit, Failure, OrExit},
    name, output,
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
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Folder for ca.pem and all other files
    #[arg(long)]
    dir: PathBuf,
    /// Name or address that agents reach the collector by (server.pem); may be given more than once
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    server: Vec<String>,
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

/// Makes what is asked for, and prints the files made.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let Command::Create(args) = &args.command;
    create(args)?.iter().try_for_each(|file| output::line(file.display()))
}

fn create(args: &CreateArgs) -> Result<Vec<PathBuf>, Failure> {
    let agents = args.agent.iter().cloned().map(Identity::Agent);
    let clients: Vec<Identity> = agents.chain(args.user.iter().cloned().map(Identity::User)).collect();
    let mut stems: Vec<String> = clients.iter().map(stem).collect();
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
    let authority = Authority::open_or_create(&args.dir).or_exit(Exit::Broke)?;
    if !args.server.is_empty() {
        authority.server(&args.server).or_exit(Exit::Broke)?;
    }
    clients.iter().try_for_each(|identity| authority.client(identity)).or_exit(Exit::Broke)?;
    Ok(made)
}

/// File name of a client's certificate, without its end.
pub(crate) fn stem(identity: &Identity) -> String {
    match identity {
        Identity::Agent(id) => format!("agent-{id}"),
        Identity::User(name) => format!("user-{name}"),
    }
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
    use std::path::Path;

    use super::*;

    fn asked(dir: &Path, agent: &str) -> CreateArgs {
        let (server, user) = (vec!["localhost".to_owned(), "::1".to_owned()], vec!["me".to_owned()]);
        CreateArgs { dir: dir.to_owned(), server, agent: vec![agent.to_owned()], user }
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
