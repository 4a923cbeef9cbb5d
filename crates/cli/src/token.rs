//! `lapwing token`.

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use lapwing_service::{
    secret::Secret,
    token::{self, Claims, Role, Tokens},
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
    /// How long it is valid: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = duration::parse)]
    ttl: Duration,
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
    let (subject, role) = match (&args.bearer.agent, &args.bearer.user) {
        (Some(id), _) => (id, Role::Agent),
        (None, Some(name)) => (name, Role::User),
        (None, None) => return Err(Exit::Usage.because(anyhow!("give --agent or --user"))),
    };
    output::line(tokens.create(subject, role, args.ttl).or_exit(Exit::Broke)?)
}

fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let text = if args.token == "-" { output::read_stdin("the token")? } else { args.token.clone() };
    let token = text.trim();
    let claims = token::inspect(token).or_exit(Exit::Usage)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    output::line(describe(&claims, now.as_secs()))?;
    match args.secret.tokens()? {
        None => output::line(format_args!("verdict  not checked: set {SECRET}, or give --secret-file")),
        Some(tokens) => match tokens.verify(token) {
            Ok(_) => output::line("verdict  the signature holds: a collector with this secret takes it"),
            Err(error) => Err(Exit::Refused.because(error)),
        },
    }
}

fn describe(claims: &Claims, now: u64) -> String {
    let role = match claims.role {
        Role::Agent => "agent",
        Role::User => "user",
    };
    let left = match claims.exp.checked_sub(now) {
        Some(left) => format!("valid for {}", duration::words(Duration::from_secs(left))),
        None => format!("expired {} ago", duration::words(Duration::from_secs(now - claims.exp))),
    };
    let (sub, exp) = (escape::text(&claims.sub), time::rfc3339_seconds(claims.exp));
    format!("sub      {sub}\nrole     {role}\nexp      {exp} ({left})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_how_long_it_is_or_was_valid() {
        let claims = Claims { sub: "web-1".to_owned(), exp: 1_767_225_600, role: Role::Agent };
        let valid = describe(&claims, 1_767_225_600 - 7200);
        assert_eq!(valid, "sub      web-1\nrole     agent\nexp      2026-01-01T00:00:00Z (valid for 2 h)");
        assert!(describe(&claims, 1_767_225_600 + 3 * 86_400).ends_with("(expired 3 d ago)"));
        assert!(describe(&Claims { exp: u64::MAX, ..claims }, 0).contains("valid for"));
    }

    #[test]
    fn the_line_end_of_a_file_is_no_part_of_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = "0123456789abcdef0123456789abcdef";
        fs::write(&path, format!("{secret}\n")).unwrap();
        let ours = SecretArgs { secret_file: Some(path.clone()) }.tokens().unwrap().unwrap();
        let token = ours.create("a", Role::User, Duration::from_secs(60)).unwrap();
        assert!(Tokens::new(&Secret::new(secret)).unwrap().verify(&token).is_ok());
        fs::write(&path, "short").unwrap();
        let (exit, told) = SecretArgs { secret_file: Some(path) }.tokens().unwrap_err().parts();
        assert!(exit == Exit::Usage && told.contains("at least 32") && !told.contains("short"), "{told}");
    }
}
