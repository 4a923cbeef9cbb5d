//! `lapwing deadletter`.
//!
//! A dead letter is a batch that the collector refused for good. The agent set it aside and went on; here it is looked at, and
//! sent again once the cause is gone. docs/formats/dead-letters.md draws the folder.

mod letters;
mod list;
mod replay;
mod whose;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::anyhow;

pub(crate) use self::letters::{Letter, Letters};
use self::whose::WhoseArgs;
use crate::{
    exit::{Exit, Failure, OrExit},
    output, query, rows,
};

const EXAMPLES: &str = "\
Examples:
  lapwing deadletter list --config /etc/lapwing/agent.toml
  lapwing deadletter replay --all --config /etc/lapwing/agent.toml
  lapwing deadletter remove --state-dir /var/lib/lapwing/agent 9f4c2ab3d0e15766-0000000012";

/// Look at batches that the collector refused for good, and send them again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List an agent's dead letters
    List {
        #[command(flatten)]
        whose: WhoseArgs,
        /// Form of the list [default: table on a terminal, ndjson elsewhere]
        #[arg(long, value_enum)]
        format: Option<query::Format>,
    },
    /// Print the rows of a dead letter, an object per line
    Show {
        #[command(flatten)]
        whose: WhoseArgs,
        /// The letter: a number from `list`
        name: String,
    },
    Replay(replay::Args),
    /// Remove dead letters for good
    Remove {
        #[command(flatten)]
        whose: WhoseArgs,
        #[command(flatten)]
        which: WhichArgs,
        /// Those that were sent again, in place of those that wait
        #[arg(long)]
        replayed: bool,
    },
}

/// Which letters.
#[derive(Debug, clap::Args)]
#[group(id = "which", required = true, multiple = false)]
pub(crate) struct WhichArgs {
    /// The letters: numbers from `list`
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// All of them
    #[arg(long)]
    all: bool,
}

impl WhichArgs {
    /// The names of the letters that are meant, oldest number first. All of them are there.
    fn of(&self, letters: &Letters) -> Result<Vec<String>, Failure> {
        let there = letters.names()?;
        if self.all {
            return Ok(there);
        }
        self.names.iter().map(|name| named(name, &there, letters)).collect()
    }
}

fn named(name: &str, there: &[String], letters: &Letters) -> Result<String, Failure> {
    let stem = name.strip_suffix(".batch").unwrap_or(name);
    let found = there.iter().find(|known| *known == stem).cloned();
    found.ok_or_else(|| {
        let folder = letters.folder().display();
        Exit::Usage
            .because(anyhow!("no dead letter {stem:?} in {folder}; `lapwing deadletter list` names them"))
    })
}

/// Does what was asked.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List { whose, format } => list::run(&whose.letters()?, *format),
        Command::Show { whose, name } => show(&whose.letters()?, name),
        Command::Replay(args) => replay::run(args).await,
        Command::Remove { whose, which, replayed } => {
            let letters = whose.letters()?;
            remove(&if *replayed { letters.replayed() } else { letters }, which)
        }
    }
}

fn show(letters: &Letters, name: &str) -> Result<(), Failure> {
    let letter = letters.read(&named(name, &letters.names()?, letters)?)?;
    output::note(format_args!("{}: {}", letter.name, letter.summary()));
    output::note(format_args!("refused: {}", crate::escape::text(&letter.reason)));
    let columns = letter.columns().or_exit(Exit::Unsound)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in rows::json(&columns, letter.host()).map_err(output::failed)? {
        writeln!(out, "{line}").map_err(output::failed)?;
    }
    out.flush().map_err(output::failed)
}

fn remove(letters: &Letters, which: &WhichArgs) -> Result<(), Failure> {
    let names = which.of(letters)?;
    for name in &names {
        letters.remove(name)?;
    }
    output::note(format_args!("{} removed from {}", count(names.len()), letters.folder().display()));
    Ok(())
}

/// `1 dead letter`, `2 dead letters`.
fn count(letters: usize) -> String {
    format!("{letters} dead {}", if letters == 1 { "letter" } else { "letters" })
}

/// The folder of the letters in a state directory.
fn folder(state_dir: &std::path::Path) -> PathBuf {
    state_dir.join("dead-letters")
}
