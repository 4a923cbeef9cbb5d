//! `lapwing token`.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use lapwing_service::{
    identity::Identity,
    secret::Secret,
    token::{self, AUDIENCE, Audience, Claims, MAX_LIFE, Tokens},
};

use crate::{
    duration, escape,
    exit::{Exit, Failure, OrExit},
    name, output, time,
};

/// Name of the variable that holds the secret which tokens are signed with.
const SECRET: &str = "JWT_SECRET";

/// Make bearer tokens, or look into them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a new token
    Create(CreateArgs),
    /// Show what a token says, and whether a collector with the same secret takes it
    Inspect(InspectArgs),
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    #[command(flatten)]
    bearer: Bearer,
    /// How long it is valid: a number and s, m, h or d; more than 24h only where the collector's token_max_hours allows it
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration::parse)]
    ttl: Duration,
    /// Which collectors it is for: their token_audience
    #[arg(long, value_name = "NAME", default_value = AUDIENCE)]
    audience: String,
    /// Write it to this file (for an agent's auth_token_file, read again when it changes) instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    secret: SecretArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Bearer {
    /// For an agent: it may send telemetry under this id
    #[arg(long, value_name = "ID", value_parser = name::parse)]
    agent: Option<String>,
    /// For a user: who may ask
    #[arg(long, value_name = "NAME", value_parser = name::parse)]
    user: Option<String>,
}

#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Which collector would take it: its token_audience
    #[arg(long, value_name = "NAME", default_value = AUDIENCE)]
    audience: String,
    /// How long a token may live there: its token_max_hours
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration::parse)]
    max_life: Duration,
    /// The token; `-` reads it from stdin
    #[arg(default_value = "-")]
    token: String,
    #[command(flatten)]
    secret: SecretArgs,
}

#[derive(Debug, clap::Args)]
struct SecretArgs {
    /// File that holds the secret; without it the secret is taken from JWT_SECRET
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretArgs {
    fn tokens(&self) -> Result<Option<Tokens>, Failure> {
        let text = match &self.secret_file {
            Some(path) => Some(
                fs::read_to_string(path)
                    .with_context(|| format!("read the secret in {}", path.display()))
                    .or_exit(Exit::Usage)?,
            ),
            None => env::var(SECRET).ok(),
        };
        // Editors and `echo` end a file with a line end, which is no part of the secret.
        let secret = text.map(|text| Secret::new(text.trim_end_matches(['\r', '\n'])));
        secret.map(|secret| Tokens::new(&secret)).transpose().or_exit(Exit::Usage)
    }
}

/// Makes a token or looks into one.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Create(args) => create(args),
        Command::Inspect(args) => inspect(args),
    }
}

fn create(args: &CreateArgs) -> Result<(), Failure> {
    let tokens = args.secret.tokens()?.ok_or_else(|| {
        Exit::Usage.because(anyhow!("there is no secret to sign with: set {SECRET}, or give --secret-file"))
    })?;
    let identity = match (&args.bearer.agent, &args.bearer.user) {
        (Some(id), _) => Identity::agent(id),
        (None, Some(name)) => Identity::user(name),
        (None, None) => return Err(Exit::Usage.because(anyhow!("give --agent or --user"))),
    };
    if args.ttl > MAX_LIFE {
        let hours = args.ttl.as_secs().div_ceil(3600);
        output::note(format_args!(
            "a collector takes a token of {hours} h only with `[auth] token_max_hours = {hours}` or more"
        ));
    }
    let tokens = tokens.for_audience(args.audience.clone());
    let token = tokens.create(&identity.or_exit(Exit::Usage)?, args.ttl).or_exit(Exit::Broke)?;
    match &args.out {
        None => output::line(token),
        Some(path) => write(path, &token).or_exit(Exit::Broke),
    }
}

/// Puts a token in the place of the one before it. Who reads the file sees the old one or the new one.
fn write(path: &Path, token: &str) -> anyhow::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    // What an interrupted run left.
    let _ = fs::remove_file(&fresh);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&fresh);
    let written = file.and_then(|mut file| writeln!(file, "{token}"));
    written.and_then(|()| fs::rename(&fresh, path)).with_context(|| format!("write {}", path.display()))
}

fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let text = if args.token == "-" { output::read_stdin("the token")? } else { args.token.clone() };
    let token = text.trim();
    let claims = token::inspect(token).or_exit(Exit::Usage)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    output::line(describe(&claims, now.as_secs()))?;
    match args.secret.tokens()? {
        None => output::line(format_args!("verdict  not checked: set {SECRET}, or give --secret-file")),
        Some(tokens) => {
            match tokens.for_audience(args.audience.clone()).living_at_most(args.max_life).verify(token) {
                Ok(_) => output::line("verdict  the signature holds: a collector with this secret takes it"),
                Err(error) => Err(Exit::Refused.because(error)),
            }
        }
    }
}

fn describe(claims: &Claims, now: u64) -> String {
    let text = |claim: &Option<String>| {
        claim.as_deref().map_or_else(|| "(none)".to_owned(), |claim| escape::text(claim).into_owned())
    };
    let end = claims.exp.map_or_else(
        || "(none)".to_owned(),
        |exp| {
            let left = match exp.checked_sub(now) {
                Some(left) => format!("valid for {}", duration::words(Duration::from_secs(left))),
                None => format!("expired {} ago", duration::words(Duration::from_secs(now - exp))),
            };
            format!("{} ({left})", time::rfc3339_seconds(exp))
        },
    );
    let audience = match &claims.aud {
        None => "(none)".to_owned(),
        Some(Audience::One(one)) => escape::text(one).into_owned(),
        Some(Audience::Several(several)) => escape::text(&several.join(", ")).into_owned(),
    };
    let made = claims.iat.map_or_else(|| "(none)".to_owned(), time::rfc3339_seconds);
    let (sub, role, id) = (text(&claims.sub), text(&claims.role), text(&claims.jti));
    format!(
        "sub      {sub}\nrole     {role}\naud      {audience}\niat      {made}\nexp      {end}\njti      {id}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_how_long_it_is_or_was_valid() {
        let claims = Claims {
            sub: Some("web-1".to_owned()),
            role: Some("agent".to_owned()),
            exp: Some(1_767_225_600),
            jti: Some("5b1c".to_owned()),
            ..Claims::default()
        };
        let valid = describe(&claims, 1_767_225_600 - 7200);
        assert!(valid.starts_with("sub      web-1\nrole     agent\naud      (none)\n"), "{valid}");
        assert!(valid.contains("\nexp      2026-01-01T00:00:00Z (valid for 2 h)\njti      5b1c"), "{valid}");
        assert!(describe(&claims, 1_767_225_600 + 3 * 86_400).contains("(expired 3 d ago)"));
        assert!(describe(&Claims { exp: Some(u64::MAX), ..claims }, 0).contains("valid for"));
    }

    #[test]
    fn the_line_end_of_a_file_is_no_part_of_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = "0123456789abcdef0123456789abcdef";
        fs::write(&path, format!("{secret}\n")).unwrap();
        let ours = SecretArgs { secret_file: Some(path.clone()) }.tokens().unwrap().unwrap();
        let token = ours.create(&Identity::user("a").unwrap(), Duration::from_secs(60)).unwrap();
        assert!(Tokens::new(&Secret::new(secret)).unwrap().verify(&token).is_ok());
        fs::write(&path, "short").unwrap();
        let (exit, told) = SecretArgs { secret_file: Some(path) }.tokens().unwrap_err().parts();
        assert!(exit == Exit::Usage && told.contains("at least 32") && !told.contains("short"), "{told}");
    }
}
