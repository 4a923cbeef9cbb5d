//! What is broken, and how.

mod crashes;
mod crowds;
mod disk;
mod files;
mod journal;
mod metrics;
mod network;
mod poison;
mod resources;
mod restore;
mod sources;
mod time;

use anyhow::Result;

use super::{Form, Stage};
use crate::RigOptions;

/// One way to break lapwing.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is broken, for the table.
    pub fault: &'static str,
    /// A part of the short form, which `make test` runs.
    pub short: bool,
    /// Lines may come in another order than they were written in: two files of one source are read side by side.
    pub reorders: bool,
    /// Whether it can run here, or why not.
    pub possible: fn() -> Result<(), String>,
    /// How the programs are set up.
    pub options: fn(Form) -> RigOptions,
    /// Writes, breaks and heals.
    pub act: fn(&mut Stage) -> Result<()>,
}

impl Scenario {
    const fn new(name: &'static str, fault: &'static str, act: fn(&mut Stage) -> Result<()>) -> Self {
        Self {
            name,
            fault,
            short: false,
            reorders: false,
            possible: || Ok(()),
            options: |_| RigOptions::default(),
            act,
        }
    }

    const fn short(self) -> Self {
        Self { short: true, ..self }
    }

    const fn reorders(self) -> Self {
        Self { reorders: true, ..self }
    }

    const fn with(self, options: fn(Form) -> RigOptions) -> Self {
        Self { options, ..self }
    }

    const fn where_possible(self, possible: fn() -> Result<(), String>) -> Self {
        Self { possible, ..self }
    }
}

/// How many of them need neither the rights of root nor a tool: fewer that ran mean that something is wrong with the machine or the run.
pub const LEAST: usize = 34;

/// All of them, in the order of the table.
pub fn all() -> impl Iterator<Item = Scenario> {
    let groups = [
        crashes::ALL,
        metrics::ALL,
        disk::ALL,
        journal::ALL,
        resources::ALL,
        crowds::ALL,
        network::ALL,
        sources::ALL,
        files::ALL,
        time::ALL,
        poison::ALL,
        restore::ALL,
    ];
    groups.into_iter().flatten().copied()
}

/// Whether a program that a scenario needs is there.
fn needs(program: &str) -> Result<(), String> {
    match crate::tools::find(program) {
        Some(_) => Ok(()),
        None => Err(format!("{program} is not installed")),
    }
}

/// Whether this user may mount and trace.
fn needs_root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err("this needs the rights of root".to_owned())
    }
}
