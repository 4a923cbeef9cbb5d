//! `lapwing spool`.
//!
//! The agent's spool and the collector's journal are one format (docs/formats/spool.md). All but `repair` only read, take no lock
//! and may be used while the program that owns the directory is at work. docs/spool-tools.md shows them.

mod check;
mod contents;
mod export;
mod repair;
mod show;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use lapwing_spool::inspect::{self, Inspector, RecordPlace};

use crate::exit::{Exit, Failure, OrExit};

const EXAMPLES: &str = "\
Examples:
  lapwing spool check /var/lib/lapwing/collector
  lapwing spool show /var/lib/lapwing/agent --limit 20
  lapwing spool export /var/lib/lapwing/collector --from 6212 >rows.ndjson
  lapwing spool repair /var/lib/lapwing/collector --dry-run";

/// Look into an agent's spool or a collector's journal, and repair it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(check::Args),
    Show(show::Args),
    Export(export::Args),
    Repair(repair::Args),
}

/// Which directory.
#[derive(Debug, clap::Args)]
struct DirectoryArgs {
    /// The spool or journal, or the state_dir or data_dir that it is in
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl DirectoryArgs {
    fn find(&self) -> Result<PathBuf, Failure> {
        let given = &self.directory;
        inspect::find(given).ok_or_else(|| {
            Exit::Usage.because(anyhow!(
                "{}: neither a spool nor a directory with one; give an agent's state_dir or a collector's data_dir",
                given.display()
            ))
        })
    }

    fn open(&self) -> Result<(PathBuf, Inspector), Failure> {
        let path = self.find()?;
        let inspector = look(&path)?;
        Ok((path, inspector))
    }
}

fn look(path: &Path) -> Result<Inspector, Failure> {
    Inspector::open(path).or_exit(Exit::Broke)
}

/// Which records.
#[derive(Debug, clap::Args)]
struct RangeArgs {
    /// First index
    #[arg(long, value_name = "INDEX", default_value_t = 1, hide_default_value = true)]
    from: u64,
    /// Last index
    #[arg(long, value_name = "INDEX")]
    until: Option<u64>,
}

impl RangeArgs {
    fn of(&self, inspector: &Inspector) -> Vec<RecordPlace> {
        let until = self.until.unwrap_or(u64::MAX);
        let mut places = inspector.places(self.from);
        places.truncate(places.partition_point(|place| place.index <= until));
        places
    }
}

/// Does what was asked.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Check(args) => check::run(args),
        Command::Show(args) => show::run(args),
        Command::Export(args) => export::run(args),
        Command::Repair(args) => repair::run(args),
    }
}
