//! The fault machine: real programs, broken in every way that the table of [`scenarios`] names, judged by two readers.
//!
//! A run writes lines, makes its faults, heals them, and waits until a fresh line can be asked for. Then lapwing's own SQL is
//! judged line by line, DuckDB counts what is in the lake, and the ledger must close. What a run did follows from its seed, and
//! a run that did too little to show anything fails as vacuous.

mod figures;
pub(crate) mod group;
pub mod report;
pub mod scenarios;
pub mod stage;
mod tracer;
mod volume;
pub mod watchdog;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

pub use self::{
    figures::{Figures, Outcome},
    scenarios::Scenario,
    stage::Stage,
};
use crate::RigOptions;

/// How long a whole run may take before the watchdog undoes what it did.
const LIMIT: Duration = Duration::from_secs(900);

/// How much a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Seconds: a part of `make test`.
    Short,
    /// What `make chaos` does.
    Full,
    /// What `make chaos-long` does: as much, under three times the load.
    Long,
}

impl Form {
    /// One or the other.
    pub fn pick<T>(self, short: T, full: T) -> T {
        match self {
            Self::Short => short,
            Self::Full | Self::Long => full,
        }
    }

    /// Its name in results, and on the command line behind two dashes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Full => "full",
            Self::Long => "long",
        }
    }
}

/// Runs a scenario. What it came to, a failure of the run itself included, is in the figures.
pub fn run(scenario: &Scenario, form: Form, seed: u64) -> Figures {
    let started = Instant::now();
    let mut figures = Figures::new(scenario, form, seed);
    if let Err(reason) = (scenario.possible)() {
        figures.outcome = Outcome::Skipped(reason);
        return figures;
    }
    if let Err(error) = play(scenario, form, seed, &mut figures) {
        figures.outcome = Outcome::Failed(format!("{error:#}"));
    }
    figures.seconds = started.elapsed().as_secs_f64();
    figures
}

fn play(scenario: &Scenario, form: Form, seed: u64, figures: &mut Figures) -> Result<()> {
    let options = RigOptions { flush_interval_secs: 1, proxied: true, ..(scenario.options)(form) };
    let mut stage = Stage::new(options, form, seed, LIMIT)?;
    let played = (scenario.act)(&mut stage).and_then(|()| stage.settle(figures));
    figures.schedule.clone_from(&stage.schedule);
    // What the programs said is gone with the rig.
    played.map_err(|error| anyhow!("{error:#}\n{}", stage.last_words()))?;
    figures.judge(scenario);
    Ok(())
}
