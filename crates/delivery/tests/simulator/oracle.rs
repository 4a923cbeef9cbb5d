//! What must hold, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

/// A promise that was broken.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) detail: String,
}

pub(crate) type Checked = Result<(), Violation>;

pub(crate) fn broken(invariant: &'static str, detail: impl Into<String>) -> Violation {
    Violation { invariant, detail: detail.into() }
}

/// Everything that was ever issued, and what became of it.
#[derive(Default)]
pub(crate) struct Oracle {
    /// Lines and points by id, as they were issued.
    issued: Vec<String>,
    /// Ids of lines: they can be read again, so none may be missing at the end.
    pub(crate) lines: BTreeSet<usize>,
    /// Ids of points.
    pub(crate) points: BTreeSet<usize>,
    /// Ids that an acknowledgement vouched for.
    acknowledged: BTreeSet<usize>,
    /// Ids that the agent set aside, since they were refused for good.
    pub(crate) aside: BTreeSet<usize>,
    /// Ids of points that were set aside before a collector was set back. It may have lost what stood for them: they are counted once
    /// more then, as lost.
    aside_before: BTreeSet<usize>,
    /// Ids of lines that a collector lost when it was set back, and whose file was gone by then.
    gone: BTreeSet<usize>,
    /// Digests of what is journaled, by sender, epoch and sequence.
    pub(crate) journaled: BTreeMap<(String, u64, u64), Vec<u8>>,
    /// An agent's process ended and took the count of some points with it.
    pub(crate) count_lost: bool,
    /// A state directory was lost with the numbers of points: counts tell less then, and may tell of a point that comes later.
    pub(crate) numbers_lost: bool,
    /// Points that a spool said it gave up, or that it did not take.
    pub(crate) losses: u64,
}

impl Oracle {
    pub(crate) fn issue_line(&mut self, filler: usize) -> String {
        let id = self.issue(filler);
        self.lines.insert(id);
        self.issued[id].clone()
    }

    pub(crate) fn issue_point(&mut self, filler: usize) -> String {
        let id = self.issue(filler);
        self.points.insert(id);
        self.issued[id].clone()
    }

    fn issue(&mut self, filler: usize) -> usize {
        let id = self.issued.len();
        self.issued
            .push(format!("{id:08} {}", "abcdefghijklmnopqrstuvwxyz".repeat(2).get(..filler).unwrap_or("")));
        id
    }

    /// The id of a row that is stored, which must be as it was issued.
    pub(crate) fn known(&self, row: &str) -> Result<usize, Violation> {
        let id = row.get(..8).and_then(|id| id.parse().ok());
        match id.filter(|id| self.issued.get(*id).is_some_and(|issued| issued == row)) {
            Some(id) => Ok(id),
            None => Err(broken("stored as issued", format!("{row:?} was never issued"))),
        }
    }

    /// An acknowledgement leaves for a batch of this number and digest.
    pub(crate) fn acknowledge(
        &mut self,
        number: (String, u64, u64),
        digest: &[u8],
        rows: &[String],
    ) -> Checked {
        match self.journaled.get(&number) {
            Some(held) if held == digest => {}
            Some(_) => {
                return Err(broken("acknowledged is journaled", format!("{number:?} with other content")));
            }
            None => return Err(broken("acknowledged is journaled", format!("{number:?} is not"))),
        }
        for row in rows {
            let id = self.known(row)?;
            self.acknowledged.insert(id);
        }
        Ok(())
    }

    /// A collector started: all that was acknowledged must be there.
    pub(crate) fn check_held(&self, held: &BTreeSet<usize>) -> Checked {
        match self.acknowledged.iter().find(|id| !held.contains(id)) {
            Some(id) => Err(broken("acknowledged is durable", format!("{} is gone", self.issued[*id]))),
            None => Ok(()),
        }
    }

    /// The collector was set back to when it held `held` and its journal `journaled`. `is_there` tells whether a line can still be read.
    /// What was acknowledged since is promised no more, and has to come again if it can.
    pub(crate) fn set_back(
        &mut self,
        before: &BTreeSet<usize>,
        held: &BTreeSet<usize>,
        journaled: &BTreeMap<(String, u64, u64), Vec<u8>>,
        is_there: impl Fn(&str) -> bool,
    ) {
        self.acknowledged.retain(|id| held.contains(id));
        self.journaled.clone_from(journaled);
        self.aside_before.extend(self.points.intersection(&self.aside));
        for id in before.difference(held) {
            if self.points.contains(id) {
                self.losses += 1;
            } else if !is_there(&self.issued[*id]) {
                self.gone.insert(*id);
            }
        }
    }

    /// What still has to arrive.
    pub(crate) fn missing(&self, held: &BTreeSet<usize>) -> Option<&str> {
        let due = |id: &&usize| !held.contains(id) && !self.aside.contains(id) && !self.gone.contains(id);
        self.lines.iter().find(due).map(|id| self.issued[*id].as_str())
    }

    /// Faults are over and everything is quiet.
    pub(crate) fn check_end(&self, held: &BTreeSet<usize>, counted: u64) -> Checked {
        if let Some(line) = self.missing(held) {
            return Err(broken("every line once", format!("{line} is not stored")));
        }
        let stored = self.points.intersection(held).count() as u64;
        let aside = self.points.intersection(&self.aside).filter(|id| !held.contains(id)).count() as u64;
        // What was set aside may be counted as lost, too: the agent died before it could say so, and the spool gave it up.
        let observed = self.points.len() as u64;
        let too_many = stored + counted > observed && !self.numbers_lost;
        if too_many || (stored + counted + aside < observed && !self.count_lost) {
            let text = format!("{stored} stored + {counted} counted + {aside} aside of {observed}");
            return Err(broken("points are stored or counted", text));
        }
        let causes = self.losses + self.aside_before.len() as u64;
        if counted > causes && !self.count_lost {
            let text = format!("{counted} points are counted as lost, {causes} were given up");
            return Err(broken("no loss without a cause", text));
        }
        Ok(())
    }
}
