//! The agent's side: numbers, what is under way, and what an answer leads to.

use bytes::Bytes;
use lapwing::{
    batch,
    status::Kind,
    v1::{Batch, Origin, Packed, Resource, Signal, SourcePosition, batch::Payload},
};

use crate::{
    held::next_record,
    planted::{self, Bug},
};

/// Numbers the batches of one lease, and knows what of them is not acknowledged.
#[derive(Debug)]
pub struct Sender {
    agent: String,
    epoch: u64,
    lease: u64,
    resource: Resource,
    sequence: u64,
    /// Log events under way.
    held: usize,
    /// All batches up to this one are durable.
    acknowledged: u64,
}

/// What a refusal leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Another run of this agent has the lease: this one stops.
    Fenced,
    /// The lease is to be taken again.
    Renew,
    /// Nothing can stand for a batch without rows: it is sent again until the collector takes it.
    Hold,
    /// The batch is set aside, and another goes under its number: see [`Sender::replace`].
    SetAside,
}

impl Sender {
    /// Under a new lease, of this number.
    pub fn new(agent: String, epoch: u64, lease: u64, resource: Resource) -> Self {
        Self { agent, epoch, lease, resource, sequence: 0, held: 0, acknowledged: 0 }
    }

    /// Makes a batch, immutable from now on.
    pub fn number(&mut self, packed: Option<Packed>, positions: Vec<SourcePosition>) -> Batch {
        self.sequence += 1;
        let origin = self.origin(self.sequence);
        let batch = Batch {
            origin: Some(origin),
            digest: packed.as_ref().map(batch::digest).unwrap_or_default(),
            resource: Some(self.resource.clone()),
            positions,
            payload: packed.map(Payload::Packed),
            idempotency_key: String::new(),
            dropped_cause: String::new(),
            acknowledged_sequence: self.acknowledged,
        };
        self.held += log_rows(&batch);
        batch
    }

    /// Log events that are under way: only an acknowledgement lets go of them.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The number up to which all batches are known to be durable.
    pub fn known(&self) -> Origin {
        self.origin(self.acknowledged)
    }

    fn origin(&self, sequence: u64) -> Origin {
        Origin { agent_id: self.agent.clone(), epoch: self.epoch, sequence, lease: self.lease }
    }

    /// A batch is durable, and so is everything up to `durable`. Gives the record of the spool that is wanted next, when it moved.
    pub fn acknowledged(&mut self, batch: &Batch, durable: u64) -> Option<u64> {
        self.acknowledged = self.acknowledged.max(durable);
        self.held = self.held.saturating_sub(log_rows(batch));
        next_record(&batch.positions)
    }

    /// Whether a refusal is about the lease, and not about a batch. A batch that came too early comes again by itself; when it is
    /// handed back, its predecessors never come (see [`is_restored`]).
    pub fn ends_lease(kind: Kind) -> bool {
        matches!(kind, Kind::Fenced | Kind::ResumeFirst | Kind::Conflict | Kind::OutOfOrder)
    }

    /// What a refusal for good leads to.
    pub fn refused(batch: &Batch, kind: Kind) -> Outcome {
        match kind {
            Kind::Fenced => Outcome::Fenced,
            _ if Self::ends_lease(kind) => Outcome::Renew,
            _ if batch.payload.is_none() => Outcome::Hold,
            _ => Outcome::SetAside,
        }
    }

    /// What goes under the number of a batch that was set aside. It must not stay empty: what comes behind it waits for it.
    pub fn replace(&mut self, batch: &Batch) -> Batch {
        self.held = self.held.saturating_sub(log_rows(batch));
        let mut origin = batch.origin.clone();
        if planted::is(Bug::ReplacementUnderNextNumber) {
            self.sequence += 1;
            origin = origin.map(|origin| Origin { sequence: self.sequence, ..origin });
        }
        Batch {
            origin,
            payload: None,
            digest: Bytes::new(),
            dropped_cause: batch::DEAD_LETTER.to_owned(),
            ..batch.clone()
        }
    }
}

/// Whether a collector that holds batches of a run up to `durable` lost what it had acknowledged before: it was restored from an older
/// copy. `acknowledged` is what the run knew when it sent what this answers; an answer that was overtaken by an acknowledgement proves
/// nothing.
pub fn is_restored(acknowledged: u64, durable: u64) -> bool {
    durable < acknowledged && !planted::is(Bug::RestoreUnnoticed)
}

/// The packed columns of a batch.
pub fn packed(batch: &Batch) -> Option<&Packed> {
    match &batch.payload {
        Some(Payload::Packed(packed)) => Some(packed),
        _ => None,
    }
}

fn log_rows(batch: &Batch) -> usize {
    packed(batch).filter(|packed| packed.signal() == Signal::Logs).map_or(0, |packed| packed.rows as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(sender: &mut Sender) -> Batch {
        let packed = Packed { rows: 3, signal: Signal::Logs as i32, ..Packed::default() };
        sender.number(Some(packed), Vec::new())
    }

    #[test]
    fn numbers_have_no_gap_and_what_is_acknowledged_is_let_go_of() {
        let mut sender = Sender::new("a".to_owned(), 7, 9, Resource::default());
        let (one, two) = (logs(&mut sender), logs(&mut sender));
        assert_eq!(two.origin.map(|origin| (origin.epoch, origin.sequence)), Some((7, 2)));
        assert_eq!(sender.held(), 6);
        assert_eq!(sender.acknowledged(&one, 2), None);
        assert_eq!((sender.held(), logs(&mut sender).acknowledged_sequence), (3, 2));
    }

    #[test]
    fn a_batch_that_is_refused_for_good_is_replaced_under_its_number() {
        let mut sender = Sender::new("a".to_owned(), 7, 9, Resource::default());
        let batch = logs(&mut sender);
        assert_eq!(Sender::refused(&batch, Kind::TooLarge), Outcome::SetAside);
        let empty = sender.replace(&batch);
        assert_eq!((&empty.origin, sender.held(), empty.payload.is_none()), (&batch.origin, 0, true));
        assert_eq!(Sender::refused(&empty, Kind::TooLarge), Outcome::Hold);
        assert_eq!(Sender::refused(&batch, Kind::Conflict), Outcome::Renew);
    }
}
