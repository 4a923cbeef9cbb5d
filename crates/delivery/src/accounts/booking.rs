//! What a batch books, computed before the batch is journaled: nothing that a sender claims can make the journal and the books part.

use std::{borrow::Cow, collections::BTreeMap};

use lapwing::v1::{Batch, Origin, SourcePosition, source_position::Position};

use super::SourceRows;
use crate::planted::{self, Bug};

/// A count of a source moves by so much with a batch at most, beside the batch's own rows: far more than any host reads between two
/// batches, and far less than what could overflow a sum.
pub const MAX_JUMP: u64 = 1 << 40;

/// What a batch books.
#[derive(Debug, Clone, PartialEq)]
pub struct Booking {
    pub(super) origin: Origin,
    pub(super) sources: BTreeMap<String, Counts>,
    pub(super) rows: Vec<SourceRows>,
    pub(super) received: u64,
    /// The agent knows that everything up to this sequence is durable.
    pub(super) confirmed: u64,
    implausible: Option<String>,
}

/// By how much the books of one source move. Wide enough for any sum of the 64-bit numbers of one message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) read: i128,
    pub(super) truncated: i128,
    pub(super) spooled: i128,
    pub(super) dropped: BTreeMap<String, i128>,
    pub(super) journaled: i128,
    /// Events that were to come with the batch and did not.
    pub(super) missing: i128,
}

impl Booking {
    /// Computes what `batch` books, with so many `rows` of each source. `held` gives the position of a source that its own one replaces.
    pub fn new(
        batch: &Batch,
        rows: &[SourceRows],
        held: impl Fn(&str) -> Option<SourcePosition>,
        received: u64,
    ) -> Self {
        let mut booking = Self {
            origin: batch.origin.clone().unwrap_or_default(),
            sources: BTreeMap::new(),
            rows: rows.to_vec(),
            received,
            confirmed: batch.acknowledged_sequence,
            implausible: None,
        };
        booking.take_positions(batch, held);
        if !batch.dropped_cause.is_empty() {
            booking.drop_all(&batch.dropped_cause);
        }
        booking.take_rows();
        booking
    }

    /// Whether the counts can be true.
    ///
    /// # Errors
    /// Which count can't, and why.
    pub fn check(&self) -> Result<(), &str> {
        self.implausible.as_deref().map_or(Ok(()), Err)
    }

    /// When the batch came, nanoseconds since the Unix epoch.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the sender keeps numbers, and so says what it read.
    pub(super) fn told(&self) -> bool {
        self.origin.epoch != 0
    }

    fn take_positions(&mut self, batch: &Batch, held: impl Fn(&str) -> Option<SourcePosition>) {
        let rows: i128 = self.rows.iter().map(|rows| i128::from(rows.rows)).sum();
        let allowed = i128::from(MAX_JUMP) + rows;
        let none = SourcePosition::default();
        let mut moved: BTreeMap<&str, Option<Cow<'_, SourcePosition>>> = BTreeMap::new();
        for position in &batch.positions {
            let goes_on = !position.closed || planted::is(Bug::ClosedSourceBookedOn);
            let now = Some(Cow::Borrowed(position)).filter(|_| goes_on);
            let before = moved.insert(&position.source, now);
            let before = before.unwrap_or_else(|| held(&position.source).map(Cow::Owned));

            let moves = Moves::new(before.as_deref().unwrap_or(&none), position);
            if self.implausible.is_none() {
                self.implausible = moves.implausible(&position.source, allowed);
            }
            self.counts(&position.display_name).add(&moves);
        }
    }

    /// Everything that the positions went past is dropped for one cause.
    fn drop_all(&mut self, cause: &str) {
        for counts in self.sources.values_mut() {
            let events = counts.missing.max(0);
            *counts.dropped.entry(cause.to_owned()).or_default() += events;
            counts.missing -= events;
        }
    }

    fn take_rows(&mut self) {
        let told = self.told();
        for SourceRows { source, rows } in std::mem::take(&mut self.rows) {
            let counts = self.counts(&source);
            counts.journaled += i128::from(rows);
            if told {
                counts.missing -= i128::from(rows);
            }
            self.rows.push(SourceRows { source, rows });
        }
    }

    fn counts(&mut self, source: &str) -> &mut Counts {
        self.sources.entry(source.to_owned()).or_default()
    }
}

/// By how much a position's counts differ from the ones before.
struct Moves<'a> {
    read: i128,
    truncated: i128,
    dropped: Vec<(&'a str, i128)>,
    through_spool: bool,
}

impl<'a> Moves<'a> {
    fn new(before: &SourcePosition, now: &'a SourcePosition) -> Self {
        let more = |cause: &'a String, events: &u64| {
            let known = before.events_dropped.get(cause).copied().unwrap_or(0);
            (cause.as_str(), i128::from(events.saturating_sub(known)))
        };
        Self {
            // It may be negative: with a state directory that is behind an agent counts again from less.
            read: i128::from(now.events_read) - i128::from(before.events_read),
            truncated: i128::from(now.events_truncated.saturating_sub(before.events_truncated)),
            dropped: now.events_dropped.iter().map(|(cause, events)| more(cause, events)).collect(),
            through_spool: matches!(now.position, Some(Position::SpoolIndex(_))),
        }
    }

    fn implausible(&self, source: &str, allowed: i128) -> Option<String> {
        let dropped = self.dropped.iter().map(|(_, events)| ("events_dropped", *events));
        let counts = [("events_read", self.read), ("events_truncated", self.truncated)];
        let (name, jump) = counts.into_iter().chain(dropped).find(|(_, jump)| jump.abs() > allowed)?;
        Some(format!(
            "positions: {name} of source {source:?} moved by {jump} in one batch; at most {allowed} can be true"
        ))
    }
}

impl Counts {
    fn add(&mut self, moves: &Moves<'_>) {
        self.read += moves.read;
        self.truncated += moves.truncated;
        let mut arriving = moves.read;
        for (cause, events) in &moves.dropped {
            *self.dropped.entry((*cause).to_owned()).or_default() += events;
            arriving -= events;
        }
        if moves.through_spool {
            self.spooled += arriving;
        }
        self.missing += arriving;
    }
}
