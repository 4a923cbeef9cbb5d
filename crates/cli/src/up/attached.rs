//! A child that ends with its parent, even when the parent is killed.
//!
//! Linux can send a process a signal when its parent dies, but the process has to ask for it itself. So `lapwing up` does
//! not start the agent or the collector: it starts this command, which asks and then becomes the program.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::exit::{Exit, Failure};

/// Become PROGRAM, and get SIGTERM when the process PARENT ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Process id of the parent.
    parent: i32,
    /// Program and arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Never returns when it succeeds.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("ask for a signal at the parent's end")?;
    // The parent may have ended before the signal was asked for.
    if getppid() != Pid::from_raw(args.parent) {
        return Err(Exit::Broke.because(anyhow!("the parent has ended already")));
    }
    let (program, rest) = args.command.split_first().context("no program")?;
    let error = Command::new(program).args(rest).exec();
    Err(anyhow::Error::from(error).context(format!("start {}", program.display())).into())
}

/// The arguments that make this program start `command` attached to this process.
pub(super) fn arguments(command: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let parent = std::process::id().to_string();
    ["attached".into(), parent.into(), "--".into()].into_iter().chain(command).collect()
}
