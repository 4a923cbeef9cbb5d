//! What is kept in memory of one source's books. A host has many thousand sources, so names are kept once and nothing is kept with room to grow.

use std::sync::Arc;

use super::{Account, OTHERS, booking::Counts};

/// Causes of one source; events dropped for further ones are booked together.
const MAX_CAUSES: usize = 16;
/// What is missing of a source whose sums do not fit any more.
const UNKNOWN: i64 = i64::MAX;
/// Bytes of a cause beside its text: its place, its count, and what the allocator adds.
const CAUSE_BYTES: usize = 48;

/// The name of a source and of its agent. Its copies share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// Both, the agent first.
    text: Arc<str>,
    /// Bytes of the agent.
    agent: usize,
}

impl Name {
    pub(super) fn new(agent: &str, source: &str) -> Self {
        Self { text: [agent, source].concat().into(), agent: agent.len() }
    }

    pub(super) fn agent(&self) -> &str {
        self.text.get(..self.agent).unwrap_or_default()
    }

    pub(super) fn source(&self) -> &str {
        self.text.get(self.agent..).unwrap_or_default()
    }

    /// Bytes of the books under this name: the text, the books, and their places in a tree that is a half full.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + size_of::<Books>() + 3 * size_of::<Self>() + 48
    }
}

/// What is booked of one source, as in [`Account`].
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Books {
    pub(super) told: bool,
    read: u64,
    truncated: u64,
    spooled: u64,
    acknowledged: u64,
    /// By cause, in their order.
    dropped: Vec<(Box<str>, u64)>,
    journaled: u64,
    missing: i64,
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    pub(super) received: u64,
}

impl Books {
    /// Adds what a batch books. A sum that does not fit is not known any more: then the books never close again.
    ///
    /// Without room a new cause is booked together with others. Returns by how many bytes the books grew.
    pub(super) fn add(&mut self, counts: Counts, has_room: bool) -> usize {
        let mut exact = self.missing != UNKNOWN;
        exact &= add(&mut self.read, counts.read);
        exact &= add(&mut self.truncated, counts.truncated);
        exact &= add(&mut self.journaled, counts.journaled);
        let mut grown = 0;
        for (cause, events) in counts.dropped {
            let (dropped, bytes) = self.dropped_for(&cause, has_room);
            exact &= add(dropped, events);
            grown += bytes;
        }
        let missing = i64::try_from(i128::from(self.missing) + counts.missing);
        self.missing = missing.ok().filter(|_| exact).unwrap_or(UNKNOWN);
        // What is told by the way, and compared with nothing.
        add(&mut self.spooled, counts.spooled);
        grown
    }

    /// So many rows that were booked as journaled are dropped. Returns by how many bytes the books grew.
    pub(super) fn leave_out(&mut self, rows: u64, cause: &str) -> usize {
        let moved = self.journaled.min(rows);
        self.journaled -= moved;
        let (dropped, grown) = self.dropped_for(cause, true);
        *dropped = dropped.saturating_add(moved);
        grown
    }

    /// The agent knows that so many rows are durable.
    pub(super) fn acknowledge(&mut self, rows: u64) {
        self.acknowledged = self.acknowledged.saturating_add(rows);
    }

    /// Events dropped for a cause, and how many bytes it takes to note it.
    fn dropped_for(&mut self, cause: &str, has_room: bool) -> (&mut u64, usize) {
        let place = |cause: &str| self.dropped.binary_search_by(|(known, _)| (**known).cmp(cause));
        let is_full = !has_room || self.dropped.len() >= MAX_CAUSES;
        let (cause, place) = match place(cause) {
            Err(_) if is_full => (OTHERS, place(OTHERS)),
            place => (cause, place),
        };
        match place {
            Ok(place) => (&mut self.dropped[place].1, 0),
            Err(place) => {
                self.dropped.reserve_exact(1);
                self.dropped.insert(place, (cause.into(), 0));
                (&mut self.dropped[place].1, cause.len() + CAUSE_BYTES)
            }
        }
    }

    /// All of it, with its names.
    pub(super) fn account(&self, name: &Name) -> Account {
        Account {
            agent: name.agent().to_owned(),
            source: name.source().to_owned(),
            told: self.told,
            read: self.read,
            truncated: self.truncated,
            spooled: self.spooled,
            acknowledged: self.acknowledged,
            dropped: self.dropped.iter().map(|(cause, events)| (cause.to_string(), *events)).collect(),
            journaled: self.journaled,
            missing: self.missing,
            epoch: self.epoch,
            sequence: self.sequence,
            received_unix_nano: self.received,
        }
    }

    /// Bytes of the causes.
    pub(super) fn cause_bytes(&self) -> usize {
        self.dropped.iter().map(|(cause, _)| cause.len() + CAUSE_BYTES).sum()
    }
}

impl From<&Account> for Books {
    fn from(account: &Account) -> Self {
        let dropped = account.dropped.iter().map(|(cause, events)| (cause.as_str().into(), *events));
        Self {
            told: account.told,
            read: account.read,
            truncated: account.truncated,
            spooled: account.spooled,
            acknowledged: account.acknowledged,
            dropped: dropped.collect::<Box<[_]>>().into_vec(),
            journaled: account.journaled,
            missing: account.missing,
            epoch: account.epoch,
            sequence: account.sequence,
            received: account.received_unix_nano,
        }
    }
}

/// Moves a sum, to the nearest number that there is; tells whether the sum is exact.
fn add(sum: &mut u64, change: i128) -> bool {
    let exact = i128::from(*sum).saturating_add(change);
    let nearest = u64::try_from(exact.max(0)).unwrap_or(u64::MAX);
    *sum = nearest;
    i128::from(nearest) == exact
}
