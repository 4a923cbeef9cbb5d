//! What an attack came to, and the table of all of them.

use std::{fmt::Write, time::Duration};

use serde_json::{Value, json};

use super::{Attack, HELD_UP, LATER, NOISE, SLACK, SPEED, good::Pace};
use crate::{Verdict, chaos::Form};

/// The verdict over a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All promises hold.
    Holds,
    /// A promise is broken, or the run itself failed.
    Failed(String),
}

/// The figures of a run.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Name of the attack.
    pub attack: &'static str,
    /// What it does, for the table.
    pub what: &'static str,
    /// Whose credentials it needs.
    pub who: &'static str,
    /// How much it did.
    pub form: Form,
    /// The well-behaved agent without the attack.
    pub alone: Pace,
    /// The same beside it.
    pub beside: Pace,
    /// Resident bytes of the collector before, at most, and after.
    pub before: u64,
    /// At most.
    pub peak: u64,
    /// After.
    pub after: u64,
    /// The slowest answer of `/healthz`.
    pub health: Duration,
    /// Until the collector answered after `kill -9`.
    pub restart: Duration,
    /// The well-behaved agent's lines.
    pub verdict: Verdict,
    /// What the attacker saw.
    pub note: String,
    /// The verdict over all of it.
    pub outcome: Outcome,
}

/// Head of the table.
pub const HEAD: &str = "\
| attack | who can | memory before, at most, after | agent's speed | its p99 alone, beside | health | verdict |
|---|---|---:|---:|---:|---:|---|";

impl Figures {
    /// Of a run that has not begun.
    pub(super) fn new(attack: &Attack, form: Form) -> Self {
        Self {
            attack: attack.name,
            what: attack.what,
            who: attack.who,
            form,
            alone: Pace::default(),
            beside: Pace::default(),
            before: 0,
            peak: 0,
            after: 0,
            health: Duration::ZERO,
            restart: Duration::ZERO,
            verdict: Verdict::default(),
            note: String::new(),
            outcome: Outcome::Failed("it did not end".to_owned()),
        }
    }

    /// How fast the agent was beside the attack, as a share of its own speed.
    pub fn speed(&self) -> f64 {
        self.beside.rate / self.alone.rate.max(1.0)
    }

    pub(super) fn judge(&mut self) {
        let mut broken = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                broken.push(what);
            }
        };
        let grown = self.after.saturating_sub(self.before);
        check(grown <= SLACK, format!("{} MB more memory than before", grown >> 20));
        let Verdict { lost, doubled, altered, written, .. } = self.verdict;
        check(lost == 0, format!("{lost} acknowledged lines lost"));
        check(doubled == 0, format!("{doubled} lines doubled"));
        check(altered == 0, format!("{altered} lines altered"));
        check(written > 0, "the well-behaved agent got nothing through".to_owned());
        let speed = self.speed();
        check(speed >= HELD_UP, format!("the agent kept {:.0} % of its speed", speed * 100.0));
        if self.form != Form::Short {
            check(speed >= SPEED, format!("the agent kept {:.0} % of its speed", speed * 100.0));
            let bound = self.alone.p99().max(NOISE) * LATER;
            check(self.beside.p99() <= bound, format!("p99 {:?}, at most {bound:?}", self.beside.p99()));
        }
        self.outcome = if broken.is_empty() { Outcome::Holds } else { Outcome::Failed(broken.join("; ")) };
    }

    /// A row of the table.
    pub fn row(&self) -> String {
        let mb = |bytes: u64| bytes / 1_000_000;
        let ms = |time: Duration| time.as_millis();
        let verdict = match &self.outcome {
            Outcome::Holds => "holds".to_owned(),
            Outcome::Failed(reason) => {
                format!("**FAILED**: {}", reason.lines().next().unwrap_or_default())
            }
        };
        let mut row = format!("| {}: {} | {} | ", self.what, self.note, self.who);
        let _ = write!(row, "{}, {}, {} MB | ", mb(self.before), mb(self.peak), mb(self.after));
        let _ = write!(row, "{:.0} % | ", self.speed() * 100.0);
        let _ = write!(row, "{}, {} ms | ", ms(self.alone.p99()), ms(self.beside.p99()));
        let _ = write!(row, "{} ms | {verdict} |", ms(self.health));
        row
    }

    /// One line of JSON.
    pub fn json(&self) -> Value {
        json!({
            "attack": self.attack,
            "form": self.form.name(),
            "outcome": match &self.outcome { Outcome::Holds => "holds", Outcome::Failed(reason) => reason },
            "memory_before": self.before,
            "memory_peak": self.peak,
            "memory_after": self.after,
            "speed": self.speed(),
            "p99_alone_ms": self.alone.p99().as_millis() as u64,
            "p99_beside_ms": self.beside.p99().as_millis() as u64,
            "answers_beside": self.beside.answers.shown(),
            "slowest_health_ms": self.health.as_millis() as u64,
            "restart_ms": self.restart.as_millis() as u64,
            "note": self.note,
        })
    }
}

const MARKS: [&str; 2] = ["<!-- hostile table begins -->\n", "<!-- hostile table ends -->"];

/// The page with this table in the place of the old one; `None` when it has no marks.
pub fn page(old: &str, all: &[Figures]) -> Option<String> {
    let (before, rest) = old.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    let rows: Vec<String> = all.iter().map(Figures::row).collect();
    Some(format!("{before}{}{HEAD}\n{}\n{}{after}", MARKS[0], rows.join("\n"), MARKS[1]))
}
