//! What a run came to.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Form, Scenario};
use crate::Verdict;

/// Longest time from the end of a fault until a fresh line can be asked for.
const RECOVERY: Duration = Duration::from_secs(10);

/// The verdict over a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All promises hold.
    Kept,
    /// A promise is broken, or the run itself failed.
    Failed(String),
    /// Too little happened to show anything.
    Vacuous(String),
    /// It can't run here.
    Skipped(String),
}

/// The figures of a run.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// What was broken.
    pub fault: &'static str,
    /// How much it did.
    pub form: Form,
    /// What chance began with.
    pub seed: u64,
    /// What the line-by-line reader found.
    pub verdict: Verdict,
    /// Lines that were destroyed after they were acknowledged: the ledger misses the very number.
    pub missing: u64,
    /// From the end of the fault until a fresh line could be asked for.
    pub recovery: Option<Duration>,
    /// Peak resident memory of agent and collector, over all their lives.
    pub peaks: [u64; 2],
    /// Why memory was not capped; `None` when it was.
    pub uncapped: Option<String>,
    /// Why DuckDB did not count; `None` when it did, and agreed.
    pub unread: Option<String>,
    /// What happened, and at least how often it had to.
    pub proofs: Vec<(String, u64, u64)>,
    /// What was done, and when.
    pub schedule: Vec<String>,
    /// How long the run took.
    pub seconds: f64,
    /// The verdict over it.
    pub outcome: Outcome,
}

impl Figures {
    /// Of a run that has not begun.
    pub fn new(scenario: &Scenario, form: Form, seed: u64) -> Self {
        Self {
            scenario: scenario.name,
            fault: scenario.fault,
            form,
            seed,
            verdict: Verdict::default(),
            missing: 0,
            recovery: None,
            peaks: [0; 2],
            uncapped: None,
            unread: None,
            proofs: Vec::new(),
            schedule: Vec::new(),
            seconds: 0.0,
            outcome: Outcome::Failed("it did not end".to_owned()),
        }
    }

    /// Whether everything promised holds.
    pub fn judge(&mut self, scenario: &Scenario) {
        let Verdict { lost, doubled, altered, foreign, out_of_order, .. } = self.verdict;
        let mut broken = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                broken.push(what)
            }
        };
        check(lost == self.missing, format!("{lost} lines lost, the ledger misses {}", self.missing));
        check(doubled == 0, format!("{doubled} lines doubled"));
        check(altered == 0, format!("{altered} lines altered"));
        check(foreign == 0, format!("{foreign} rows that nobody wrote"));
        check(out_of_order == 0 || scenario.reorders, format!("{out_of_order} lines out of order"));
        let slow = self.recovery.is_none_or(|recovery| recovery > RECOVERY);
        check(!slow, format!("recovery took {:?}, at most {RECOVERY:?}", self.recovery));
        let idle: Vec<String> = self
            .proofs
            .iter()
            .filter(|(_, times, least)| times < least)
            .map(|(what, times, least)| format!("{what}: {times}, at least {least} wanted"))
            .collect();
        self.outcome = match (broken.is_empty(), idle.is_empty()) {
            (false, _) => Outcome::Failed(broken.join("; ")),
            (true, false) => Outcome::Vacuous(idle.join("; ")),
            (true, true) => Outcome::Kept,
        };
    }

    /// One line of JSON.
    pub fn json(&self) -> Value {
        let Verdict { written, stored, lost, doubled, altered, foreign, out_of_order, .. } = self.verdict;
        let (outcome, reason) = match &self.outcome {
            Outcome::Kept => ("kept", None),
            Outcome::Failed(reason) => ("failed", Some(reason)),
            Outcome::Vacuous(reason) => ("vacuous", Some(reason)),
            Outcome::Skipped(reason) => ("skipped", Some(reason)),
        };
        json!({
            "scenario": self.scenario,
            "form": self.form.name(),
            "seed": self.seed,
            "outcome": outcome,
            "reason": reason,
            "written": written,
            "stored": stored,
            "lost": lost,
            "missing": self.missing,
            "doubled": doubled,
            "altered": altered,
            "foreign": foreign,
            "out_of_order": out_of_order,
            "recovery_seconds": self.recovery.map(|recovery| recovery.as_secs_f64()),
            "agent_peak_bytes": self.peaks[0],
            "collector_peak_bytes": self.peaks[1],
            "memory_uncapped": self.uncapped,
            "duckdb_skipped": self.unread,
            "proofs": self.proofs,
            "seconds": self.seconds,
            "schedule": self.schedule,
        })
    }
}
