//! `lapwing config`.

use std::{
    path::{Path, PathBuf},
    process::Command as Process,
};

use anyhow::{Context, anyhow};
use lapwing_service::config::{ConfigErrors, Reader, Section};

use crate::{
    exit::{Exit, Failure, OrExit},
    output, program,
};

/// Tables that only a collector's config has.
const OF_COLLECTOR: [&str; 5] = ["server", "storage", "auth", "processor", "limits"];
/// Tables that only an agent's config has.
const OF_AGENT: [&str; 4] = ["agent", "collector", "buffer", "collectors"];

/// Look at config files
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say what is wrong with config files of agents and collectors; nothing is started
    Check {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Which program reads a config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Agent,
    Collector,
}

/// Checks all files, and fails when one is wrong.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let Command::Check { files } = &args.command;
    let mut wrong = 0;
    for file in files {
        wrong += usize::from(!is_right(file)?);
    }
    if wrong > 0 {
        return Err(Exit::Usage.because(anyhow!("{wrong} of {} files wrong", files.len())));
    }
    Ok(())
}

/// The program that reads a config is the one that knows; its words go straight to the user.
fn is_right(file: &Path) -> Result<bool, Failure> {
    let reads = match Reader::open(file).and_then(reads) {
        Ok(Some(reads)) => reads,
        Ok(None) => {
            output::note(format_args!("{}: {}", file.display(), neither()));
            return Ok(false);
        }
        Err(errors) => {
            output::note(errors);
            return Ok(false);
        }
    };
    let name = match reads {
        Reads::Agent => program::AGENT,
        Reads::Collector => program::COLLECTOR,
    };
    let program = program::sibling(name)?;
    let status = Process::new(&program).args(["--check", "--config"]).arg(file).status();
    let status = status.with_context(|| format!("start {}", program.display()))?;
    match status.code() {
        Some(0) => output::line(format_args!("{}: ok, for {name}", file.display())).map(|()| true),
        Some(2) => Ok(false),
        _ => Err(anyhow!("{name} --check ended with {status}")).or_exit(Exit::Broke),
    }
}

fn reads(reader: Reader) -> Result<Option<Reads>, ConfigErrors> {
    let mut found = None;
    // Only the names of the tables matter here: each key is for the program itself to judge.
    let read = reader.read(|root| {
        found = Some(by_tables(root));
        Some(())
    });
    match (found, read) {
        (None, Err(errors)) => Err(errors),
        (found, _) => Ok(found.flatten()),
    }
}

fn by_tables(root: &Section<'_>) -> Option<Reads> {
    if OF_COLLECTOR.iter().any(|table| root.has(table)) {
        return Some(Reads::Collector);
    }
    OF_AGENT.iter().any(|table| root.has(table)).then_some(Reads::Agent)
}

fn neither() -> String {
    let list =
        |tables: &[&str]| tables.iter().map(|table| format!("[{table}]")).collect::<Vec<_>>().join(", ");
    let (collector, agent) = (list(&OF_COLLECTOR), list(&OF_AGENT));
    format!("neither a collector's config (it has one of {collector}) nor an agent's (one of {agent})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_by(text: &str) -> Result<Option<Reads>, ConfigErrors> {
        reads(Reader::new("a.toml", text.to_owned()))
    }

    #[test]
    fn a_config_is_told_by_its_tables_even_with_mistakes_in_it() {
        assert_eq!(told_by("[agent]\nid = 3\n[nonsense]\n"), Ok(Some(Reads::Agent)));
        assert_eq!(told_by("[collectors.logs]\nenabled = true\n"), Ok(Some(Reads::Agent)));
        assert_eq!(told_by("[server]\n"), Ok(Some(Reads::Collector)));
        assert_eq!(told_by("[tls]\n[storage]\nbackend = 'x'\n"), Ok(Some(Reads::Collector)));
    }

    #[test]
    fn a_config_of_neither_and_one_that_is_not_toml_are_told() {
        assert_eq!(told_by("[tls]\n"), Ok(None));
        assert_eq!(told_by(""), Ok(None));
        assert!(told_by("[agent\n").unwrap_err().to_string().starts_with("a.toml:1:"));
        assert!(neither().contains("[storage]") && neither().contains("[buffer]"));
    }
}
