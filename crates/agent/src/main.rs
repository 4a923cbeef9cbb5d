//! lapwing's agent.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use lapwing_agent::{agent, config::AgentConfig, transport};
use lapwing_service::{client::CredentialsError, config::Reader, logs, modes, shutdown, tls};

/// Tails log files, reads system metrics, and ships both to a collector: every line once.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit codes: 0 stopped as told, 1 it broke, 2 wrong usage or configuration.")]
struct Args {
    /// The agent's config file.
    #[arg(long, default_value = "/etc/lapwing/agent.toml")]
    config: PathBuf,
    /// Check the config file, say what is wrong with it, and do nothing else.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    modes::keep_private();
    let args = Args::parse();
    logs::init();
    let config = match Reader::open(&args.config).and_then(AgentConfig::read) {
        Ok(config) => config,
        Err(errors) => {
            complain(&errors);
            return ExitCode::from(2);
        }
    };
    let open = modes::writable_by_others(&args.config);
    config.warnings.iter().chain(&open).for_each(|warning| tracing::warn!("{warning}"));
    if args.check {
        let lines = config.files.iter().flat_map(|files| files.globs.check());
        lines.for_each(|line| tracing::warn!("[collectors.logs] files: {line}"));
        return check(&config);
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What stands in the files that the config names.
fn check(config: &AgentConfig) -> ExitCode {
    let side = match transport::credentials(&config.collector) {
        Ok(credentials) => Ok(credentials.tls.and_then(|tls| tls.current().validity.clone())),
        Err(CredentialsError::Tls(error)) => Err(error),
        Err(CredentialsError::Token(error)) => {
            tracing::warn!("[collector] auth_token: {error}");
            Ok(None)
        }
    };
    match tls::verdict(side) {
        Ok(warning) => {
            warning.iter().for_each(|warning| tracing::warn!("[collector] {warning}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format_args!("[collector] {error}"));
            ExitCode::from(2)
        }
    }
}

fn run(config: AgentConfig) -> anyhow::Result<()> {
    // One thread packs and ships, another reads: handing tasks from thread to thread costs more than the tasks themselves.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { agent::run(config, shutdown::on_signal()?).await })
}

#[expect(clippy::print_stderr, reason = "a wrong config is told to whoever started the program, not logged")]
fn complain(errors: &impl std::fmt::Display) {
    eprintln!("{errors}");
}
