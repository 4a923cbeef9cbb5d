//! `lapwing completions`.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};

use crate::{Cli, exit::Failure, output};

const EXAMPLE: &str = "\
Example:
  lapwing completions bash >~/.local/share/bash-completion/completions/lapwing";

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Which shell
    shell: For,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum For {
    Bash,
    Zsh,
    Fish,
}

/// Prints them.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let shell = match args.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut visible(), "lapwing", &mut script);
    io::stdout().write_all(&script).map_err(output::failed)
}

/// The commands that are for people.
fn visible() -> Command {
    let all = Cli::command();
    let visible = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("lapwing").version(env!("CARGO_PKG_VERSION")).subcommands(visible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_not_completed() {
        let mut script = Vec::new();
        generate(Shell::Bash, &mut visible(), "lapwing", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("lapwing__subcmd__query") || script.contains("lapwing__query"), "{script}");
        assert!(!script.contains("attached"), "{script}");
    }
}
