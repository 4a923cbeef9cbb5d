//! The command line: ask a collector, look at this machine, and start lapwing on it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod certs;
mod completions;
mod config;
mod connection;
mod deadletter;
mod doctor;
mod duration;
mod escape;
mod exit;
mod home;
mod http;
mod listing;
mod name;
mod output;
mod ports;
mod program;
mod query;
mod rows;
mod spool;
mod tail;
mod time;
mod token;
mod up;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::Failure;

/// lapwing watches machines: logs and metrics of every host, kept by a collector that answers in SQL.
#[derive(Debug, Parser)]
#[command(name = "lapwing", version, after_help = exit::help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Query(query::Args),
    Tail(tail::Args),
    Why(why::Args),
    Deadletter(deadletter::Args),
    Spool(spool::Args),
    Doctor(doctor::Args),
    Token(token::Args),
    Certs(certs::Args),
    Config(config::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Attached(up::attached::Args),
}

// One thread: a child's tie to its parent is a tie to the thread that started it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell().into(),
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => up::run(&args).await,
        Command::Query(args) => query::run(&args).await,
        Command::Tail(args) => tail::run(&args).await,
        Command::Why(args) => why::run(&args).await,
        Command::Deadletter(args) => deadletter::run(&args).await,
        Command::Doctor(args) => doctor::run(&args).await,
        Command::Spool(args) => spool::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Attached(args) => up::attached::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_lists_every_exit_code() {
        let help = Cli::command().render_help().to_string();
        for code in ["0", "1", "2", "3", "4", "5", "6", "130"] {
            assert!(help.lines().any(|line| line.split_whitespace().next() == Some(code)), "{code}: {help}");
        }
    }
}
