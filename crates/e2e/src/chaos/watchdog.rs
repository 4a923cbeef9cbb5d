//! A process of its own that undoes what a run did to the machine, even when the run dies: it goes on frozen processes, unmounts,
//! removes limits. It acts when its standard input ends, or at its deadline.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::binary;

/// The word by which the program is told to be a watchdog.
pub const COMMAND: &str = "watchdog";

/// What is to be undone.
#[derive(Debug, Clone)]
pub enum Undo {
    /// SIGCONT to a process.
    Continue(u32),
    /// Thaw a file system.
    Thaw(String),
    /// Thaw and unmount a file system, and remove the folder it was on.
    Unmount(String),
    /// Remove a control group, and kill what is left in it.
    RemoveGroup(String),
}

impl Undo {
    fn line(&self) -> String {
        match self {
            Self::Continue(id) => format!("continue {id}"),
            Self::Thaw(path) => format!("thaw {path}"),
            Self::Unmount(path) => format!("unmount {path}"),
            Self::RemoveGroup(path) => format!("remove-group {path}"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "continue" => rest.parse().ok().map(Self::Continue),
            "thaw" => Some(Self::Thaw(rest.to_owned())),
            "unmount" => Some(Self::Unmount(rest.to_owned())),
            "remove-group" => Some(Self::RemoveGroup(rest.to_owned())),
            _ => None,
        }
    }

    /// Does it. What was undone before is left alone.
    pub fn run(&self) {
        match self {
            Self::Continue(id) => {
                if let Some(pid) = i32::try_from(*id).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::CONT);
                }
            }
            Self::Thaw(path) => quietly("fsfreeze", "--unfreeze", path),
            Self::Unmount(path) => {
                quietly("fsfreeze", "--unfreeze", path);
                quietly("umount", "--lazy", path);
                let _ = fs::remove_dir(path);
            }
            Self::RemoveGroup(path) => {
                let inside = fs::read_to_string(format!("{path}/cgroup.procs")).unwrap_or_default();
                for pid in inside.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
                    let _ = kill_process(pid, Signal::KILL);
                }
                let _ = fs::remove_dir(path);
            }
        }
    }
}

fn quietly(program: &str, option: &str, path: &str) {
    let _ = Command::new(program).args([option, path]).stderr(Stdio::null()).status();
}

/// The watchdog of a run.
#[derive(Debug)]
pub struct Watchdog(Child);

impl Watchdog {
    /// Starts it; after `limit` it acts in any case.
    pub fn start(limit: Duration) -> Result<Self> {
        let mut command = Command::new(binary("lapwing-chaos")?);
        command.arg(COMMAND).arg(limit.as_secs().to_string()).stdin(Stdio::piped());
        // Ctrl-C, which ends the whole group of the run, must not end what undoes it.
        command.process_group(0);
        Ok(Self(command.spawn().context("start the watchdog")?))
    }

    /// Notes, before it is done, what will have to be undone.
    pub fn note(&mut self, undo: &Undo) -> Result<()> {
        let input = self.0.stdin.as_mut().context("the watchdog has no input")?;
        writeln!(input, "{}", undo.line()).context("the watchdog is gone")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // The end of its input is its word to act.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Is the watchdog: reads what to undo, and undoes it in the reverse order.
pub fn run(limit: Duration) {
    let (lines, noted) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(std::io::stdin()).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let deadline = std::time::Instant::now() + limit;
    let mut undo = Vec::new();
    while let Ok(line) = noted.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now())) {
        undo.extend(Undo::parse(&line));
    }
    undo.iter().rev().for_each(Undo::run);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_understood() {
        let all = [
            Undo::Continue(7),
            Undo::Thaw("/a".to_owned()),
            Undo::Unmount("/a b".to_owned()),
            Undo::RemoveGroup("/c".to_owned()),
        ];
        for undo in all {
            assert_eq!(Undo::parse(&undo.line()).map(|undo| undo.line()), Some(undo.line()));
        }
        assert!(Undo::parse("nonsense").is_none());
    }
}
