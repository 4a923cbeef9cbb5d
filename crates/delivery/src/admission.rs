//! What each agent has delivered: which of its runs is live, up to which sequence, and up to where each source was read.
//!
//! The state moves only when the record that moves it is durable: a batch is admitted, journaled and applied under its agent's
//! lock. So what the collector holds of an agent is one number and one position per source, and both can be rebuilt by
//! applying the journal's records in order.

use std::collections::VecDeque;

use bytes::Bytes;
use lapwing::{
    status::Kind,
    v1::{Batch, Origin, SourcePosition},
};

use crate::{
    accounts::{Accounts, Booking, SourceRows},
    bounds::{MAX_POSITIONS, MAX_POSITIONS_BYTES},
    journal::{AgentRecord, LeftOutRecord, Move},
    keys::{KEY_AGE, Keys},
    planted::{self, Bug},
    positions::Positions,
    retention::{Item, Parts},
    sender::is_restored,
};

/// A batch may be this many numbers ahead of the next one.
pub const WINDOW: u64 = 16;
/// Digests remembered, to tell a duplicate from a conflict.
const DIGESTS: usize = 64;
/// Epochs remembered, to tell a fenced run from an unknown one.
const EPOCHS: usize = 16;
/// Journal records remembered whose rows are left out: a start may meet them, and the word of it, once more.
const LEFT_OUT: usize = 1024;

/// What is to be done with a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is the next one.
    Append,
    /// It is durable already.
    Duplicate,
    /// Batches before it are missing.
    Early,
    /// It is refused.
    Refused(Kind, String),
}

/// An agent's state.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Agent {
    /// The live epoch last.
    epochs: VecDeque<u64>,
    durable: u64,
    digests: VecDeque<Bytes>,
    positions: Positions,
    keys: Keys,
    /// When it last delivered something or took a lease, nanoseconds since the Unix epoch; 0 is unknown.
    seen: u64,
    /// What a snapshot says of it, of which parts are missing.
    parts: Option<Box<Agent>>,
    accounts: Accounts,
    has_delivered: bool,
    previous: Run,
    /// Number of the live lease; 0 when it has none.
    lease: u64,
    /// Journal records whose rows are booked as left out, the newest last.
    left_out: VecDeque<u64>,
}

/// A run of an agent, and up to which of its batches is durable.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The run; 0 for none.
    pub epoch: u64,
    /// Its highest durable sequence.
    pub durable: u64,
}

/// Checks that a run was acknowledged no more than is held of it: `acknowledged` is what a batch says its sender knew to be durable,
/// `durable` what the collector holds of the same run. A collector that was restored from an older copy holds less. What it lost never
/// comes by itself, since the run sends nothing again that was acknowledged; with a new lease it reads that again.
///
/// # Errors
/// The refusal, which has the run take a new lease.
pub fn check_held(acknowledged: u64, durable: u64) -> Result<(), (Kind, String)> {
    if !is_restored(acknowledged, durable) {
        return Ok(());
    }
    let text = format!(
        "the collector holds batches of this run up to {durable} and had acknowledged {acknowledged}: it was restored from an \
         older copy, and what it lost is to be read again"
    );
    Err((Kind::ResumeFirst, text))
}

impl Agent {
    /// What is to be done with a numbered batch.
    pub fn admit(&self, origin: &Origin, digest: &Bytes) -> Admission {
        let over = self.epochs.back() != Some(&origin.epoch) && self.epochs.contains(&origin.epoch);
        if over && planted::is(Bug::LeaseDoesNotFence) {
            return Admission::Append;
        }
        if let Err((kind, text)) = self.check_lease(origin) {
            return Admission::Refused(kind, text);
        }
        if origin.sequence > self.durable + 1 && !planted::is(Bug::WatermarkJumpsGap) {
            return Admission::Early;
        }
        if origin.sequence > self.durable {
            return Admission::Append;
        }
        let back = (self.durable - origin.sequence) as usize;
        let known = self.digests.len().checked_sub(back + 1).and_then(|place| self.digests.get(place));
        match known {
            Some(known) if known != digest && !planted::is(Bug::DigestIgnored) => {
                let number = origin.sequence;
                let text =
                    format!("batch {number} of this run is durable with other content; take a new lease");
                Admission::Refused(Kind::Conflict, text)
            }
            _ => Admission::Duplicate,
        }
    }

    /// Checks that a run has the lease, and reads under it.
    ///
    /// # Errors
    /// The refusal: another run took over, the run never had it, or it reads from what a collector told that was then restored from an
    /// older copy.
    pub fn check_lease(&self, origin: &Origin) -> Result<(), (Kind, String)> {
        if self.epochs.back() == Some(&origin.epoch) {
            return self.check_number(origin.lease);
        }
        if self.epochs.contains(&origin.epoch) {
            return Err((Kind::Fenced, format!("another run of agent {:?} took over", origin.agent_id)));
        }
        let text = format!("this run of agent {:?} has no lease; call Resume first", origin.agent_id);
        Err((Kind::ResumeFirst, text))
    }

    /// A restored collector that does not know of a lease gives it again, when `Resume` comes late or once more, and with other positions
    /// than those from which the run reads.
    fn check_number(&self, lease: u64) -> Result<(), (Kind, String)> {
        // A run that gets back a lease it lost is caught by the number, too.
        let is_ignored = planted::is(Bug::LeaseGivenAgain) || planted::is(Bug::LeaseComesBack);
        if lease == 0 || self.lease == 0 || lease == self.lease || is_ignored {
            return Ok(());
        }
        let text = "the collector does not know of the lease under which this was read: it was restored from an older copy, and what \
                    it lost is to be read again";
        Err((Kind::ResumeFirst, text.to_owned()))
    }

    /// Whether a batch with this idempotency key became durable within the last day.
    pub fn knows_key(&self, key: &str, now: u64) -> bool {
        self.keys.knows(key, now)
    }

    /// Whether a run may take the lease. One that was taken over from may not: it would begin with number 1 again, and what it sent
    /// then and is still on its way would be taken twice.
    ///
    /// # Errors
    /// The refusal.
    pub fn may_lease(&self, epoch: u64) -> Result<(), (Kind, &'static str)> {
        let over = self.epochs.contains(&epoch) && self.epoch() != Some(epoch);
        if over && !planted::is(Bug::LeaseComesBack) {
            return Err((Kind::Fenced, "another run of this agent took over from this one"));
        }
        Ok(())
    }

    /// The number of the lease that a run has; `None` when it has none, or one without a number.
    pub fn lease_number(&self, epoch: u64) -> Option<u64> {
        Some(self.lease).filter(|number| *number != 0 && self.epoch() == Some(epoch))
    }

    /// A lease is durable, with its number, or 0 when nothing tells it.
    pub fn lease(&mut self, epoch: u64, number: u64) {
        if self.epochs.back() == Some(&epoch) {
            self.lease = if number == 0 { self.lease } else { number };
            return;
        }
        self.lease = number;
        self.previous = Run { epoch: self.epoch().unwrap_or_default(), durable: self.durable };
        self.epochs.retain(|known| *known != epoch);
        self.epochs.push_back(epoch);
        if self.epochs.len() > EPOCHS {
            self.epochs.pop_front();
        }
        // The answer to a lease tells the agent what is durable.
        self.accounts.confirm(u64::MAX);
        self.durable = 0;
        self.digests.clear();
    }

    /// What a batch will book when it is durable, with so many rows of each source. Asked before the batch is journaled: what is
    /// journaled can be applied, now and at each start.
    ///
    /// # Errors
    /// The refusal, when its counts can't be true, or when more would be remembered of the sender than is.
    pub fn booking(
        &self,
        batch: &Batch,
        rows: &[SourceRows],
        received: u64,
    ) -> Result<Booking, (Kind, String)> {
        self.check_room(batch)?;
        let booking = Booking::new(batch, rows, |source| self.positions.get(source), received);
        match booking.check() {
            Ok(()) => Ok(booking),
            Err(text) => Err((Kind::InvalidArgument, text.to_owned())),
        }
    }

    /// Whether the positions of a batch can be remembered beside those that are.
    fn check_room(&self, batch: &Batch) -> Result<(), (Kind, String)> {
        let mut count = 0;
        let mut bytes = 0;
        for position in batch.positions.iter().filter(|position| !position.closed) {
            let before = self.positions.size(&position.source);
            count += usize::from(before.is_none());
            bytes += Positions::cost(position).saturating_sub(before.unwrap_or(0));
        }
        let fits = self.positions.len() + count <= MAX_POSITIONS
            && self.positions.bytes() + bytes <= MAX_POSITIONS_BYTES;
        if bytes == 0 || fits {
            return Ok(());
        }
        let text = format!(
            "positions: {} sources of this sender are remembered, at most {MAX_POSITIONS} with \
             {MAX_POSITIONS_BYTES} bytes can be; let the agent follow fewer files",
            self.positions.len()
        );
        Err((Kind::Overloaded, text))
    }

    /// A batch is durable, with so many rows of each source.
    pub fn apply(&mut self, batch: &Batch, rows: &[SourceRows], received: u64) {
        let booking = Booking::new(batch, rows, |source| self.positions.get(source), received);
        self.deliver(batch, booking);
    }

    /// A batch is durable, and books what was computed before it was.
    pub fn deliver(&mut self, batch: &Batch, booking: Booking) {
        let origin = batch.origin.clone().unwrap_or_default();
        let received = booking.received();
        self.seen(received);
        if origin.epoch != 0 {
            self.lease(origin.epoch, origin.lease);
        }
        self.accounts.book(booking);
        if origin.epoch != 0 {
            self.has_delivered = true;
            self.durable = origin.sequence;
            self.digests.push_back(own(&batch.digest));
            if self.digests.len() > DIGESTS {
                self.digests.pop_front();
            }
            for position in &batch.positions {
                self.positions.moved(position);
            }
        }
        // Numbers tell what was there before better than keys do: nobody asks for those of a numbered batch.
        if !batch.idempotency_key.is_empty() && origin.epoch == 0 {
            self.keys.remember(&batch.idempotency_key, received);
        }
    }

    /// Applies what a record of the journal says of this sender.
    pub fn replay(&mut self, moved: Move<'_>) {
        match moved {
            Move::Batch(record) => {
                if let Some(batch) = &record.batch {
                    self.apply(batch, &record.rows, record.received_unix_nano);
                }
                if planted::is(Bug::ReplayForgetsNumbers) {
                    self.durable = 0;
                    self.digests.clear();
                }
            }
            Move::Lease(lease) => {
                self.seen(lease.received_unix_nano);
                self.lease(lease.epoch, lease.number);
            }
            Move::Whole(part) => self.take_part(part),
            Move::Forget => *self = Self::default(),
            Move::LeftOut(record) => self.leave_out(record),
        }
    }

    /// Whether the rows of this journal record are booked as left out.
    pub fn has_left_out(&self, index: u64) -> bool {
        self.left_out.contains(&index)
    }

    /// The rows of a batch that was applied could not be made. It is booked once, however often it is said.
    pub fn leave_out(&mut self, record: &LeftOutRecord) {
        if self.has_left_out(record.index) {
            return;
        }
        self.left_out.push_back(record.index);
        if self.left_out.len() > LEFT_OUT {
            self.left_out.pop_front();
        }
        self.accounts.leave_out(&record.agent_id, &record.rows);
    }

    /// Takes a part of a snapshot. It replaces what was known when it is whole, not before: a collector may end between two parts.
    fn take_part(&mut self, part: &AgentRecord) {
        let mut whole = match self.parts.take().filter(|_| part.continues) {
            Some(parts) => parts,
            None => Box::new(Self::begun(part)),
        };
        whole.extend(part);
        if part.has_more {
            self.parts = Some(whole);
        } else {
            *self = *whole;
        }
    }

    /// What the first part of a snapshot says, without what there may be much of.
    fn begun(part: &AgentRecord) -> Self {
        Self {
            has_delivered: part.has_delivered || part.durable > 0,
            previous: Run { epoch: part.previous_epoch, durable: part.previous_durable },
            epochs: part.epochs.iter().copied().collect(),
            durable: part.durable,
            lease: part.lease,
            left_out: part.left_out.iter().copied().collect(),
            digests: part.digests.iter().map(own).collect(),
            seen: part.last_seen_unix_nano,
            ..Self::default()
        }
    }

    /// Takes positions, keys and books of a part of a snapshot.
    fn extend(&mut self, part: &AgentRecord) {
        part.positions.iter().for_each(|position| self.positions.moved(position));
        part.keys.iter().for_each(|key| self.keys.take(key));
        if let Some(books) = &part.accounts {
            self.accounts.extend(books);
            self.has_delivered |= !books.accounts.is_empty();
        }
        self.has_delivered |= !part.positions.is_empty();
    }

    /// It delivered something, or took a lease.
    pub fn seen(&mut self, now: u64) {
        self.seen = self.seen.max(now);
    }

    /// When it last delivered something or took a lease, nanoseconds since the Unix epoch; 0 is unknown.
    pub fn last_seen(&self) -> u64 {
        self.seen
    }

    /// Whether nothing is remembered.
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it was away for longer than `keep` (nanoseconds), or, without numbers, for longer than its idempotency keys are kept.
    pub fn is_gone(&self, now: u64, keep: u64) -> bool {
        let keep = if self.epochs.is_empty() { KEY_AGE.min(keep) } else { keep };
        now.saturating_sub(self.seen) > keep
    }

    /// Highest durable sequence of the live epoch.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// The live epoch.
    pub fn epoch(&self) -> Option<u64> {
        self.epochs.back().copied()
    }

    /// The run that had the lease before the live one.
    pub fn previous(&self) -> Run {
        self.previous
    }

    /// Whether a numbered batch was ever durable. A lease alone says nothing: its answer may have been lost, or its run may have died
    /// before it read anything.
    pub fn has_delivered(&self) -> bool {
        self.has_delivered
    }

    /// Positions of all sources.
    pub fn positions(&self) -> Vec<SourcePosition> {
        self.positions.iter().collect()
    }

    /// Positions of all sources, as messages that are encoded.
    pub fn encoded_positions(&self) -> impl Iterator<Item = &[u8]> {
        self.positions.encoded()
    }

    /// Bytes that the positions take in memory, which is more than they take encoded.
    pub fn positions_bytes(&self) -> usize {
        self.positions.bytes()
    }

    /// What became of the events of each source.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// All of it, as parts of a snapshot. Each is made when it is asked for.
    pub fn parts(&self, agent_id: &str) -> impl Iterator<Item = AgentRecord> {
        let first = AgentRecord {
            agent_id: agent_id.to_owned(),
            epochs: self.epochs.iter().copied().collect(),
            durable: self.durable,
            digests: self.digests.iter().cloned().collect(),
            has_delivered: self.has_delivered,
            previous_epoch: self.previous.epoch,
            previous_durable: self.previous.durable,
            lease: self.lease,
            left_out: self.left_out.iter().copied().collect(),
            last_seen_unix_nano: self.seen,
            ..AgentRecord::default()
        };
        let positions = self.positions.iter().filter(|_| !planted::is(Bug::SnapshotWithoutPositions));
        let positions = positions.map(Item::Position);
        let items = positions.chain(self.keys.records().map(Item::Key)).chain(self.accounts.items());
        Parts::new(first, items)
    }
}

/// Bytes of its own: a slice would keep the whole message that it came in.
fn own(digest: &Bytes) -> Bytes {
    Bytes::copy_from_slice(digest)
}

#[cfg(test)]
mod tests {
    use lapwing::v1::{FilePosition, source_position::Position};

    use super::*;
    use crate::journal::Record;

    fn origin(epoch: u64, sequence: u64) -> Origin {
        Origin { agent_id: "a".to_owned(), epoch, sequence, ..Origin::default() }
    }

    fn batch(epoch: u64, sequence: u64, digest: &'static str) -> Batch {
        Batch { origin: Some(origin(epoch, sequence)), digest: digest.into(), ..Batch::default() }
    }

    /// As a start makes it of a snapshot.
    fn started_again(agent: &Agent) -> Agent {
        let mut again = Agent::default();
        agent.parts("a").for_each(|part| again.replay(Move::Whole(&part)));
        again
    }

    fn refused(admission: &Admission) -> Option<Kind> {
        match admission {
            Admission::Refused(kind, _) => Some(*kind),
            _ => None,
        }
    }

    #[test]
    fn a_digest_that_is_remembered_does_not_keep_the_message_it_came_in() {
        let message = Bytes::from(vec![7; 1 << 20]);
        let mut agent = Agent::default();
        agent.lease(7, 0);
        let digest = message.slice(..16);
        agent.apply(&Batch { digest, ..batch(7, 1, "") }, &[], 0);
        assert_eq!(agent.admit(&origin(7, 1), &message.slice(..16)), Admission::Duplicate);
        assert!(message.try_into_mut().is_ok(), "something still refers to the message");
    }

    #[test]
    fn what_was_read_under_a_lease_that_a_restored_collector_does_not_know_is_sent_back() {
        let read_under = |lease| Origin { lease, ..origin(7, 1) };
        let mut agent = Agent::default();
        // The run was leased under 3. A collector that does not know of it gives it a lease again when `Resume` comes twice.
        agent.lease(7, 4);
        assert_eq!(refused(&agent.admit(&read_under(3), &"x".into())), Some(Kind::ResumeFirst));
        assert_eq!(agent.check_lease(&read_under(3)).map_err(|(kind, _)| kind), Err(Kind::ResumeFirst));
        assert_eq!(agent.admit(&read_under(4), &"x".into()), Admission::Append);
        assert_eq!(agent.admit(&read_under(0), &"x".into()), Admission::Append, "older agents do not tell");
        assert_eq!((agent.lease_number(7), agent.lease_number(6)), (Some(4), None));
        // It is remembered over snapshots, and when the same run asks again.
        let mut again = started_again(&agent);
        assert_eq!(again, agent);
        again.lease(7, 4);
        assert_eq!(again, agent);
        again.lease(8, 0);
        assert_eq!(again.lease_number(8), None, "the lease of an older collector has none");
    }

    #[test]
    fn rows_that_are_left_out_are_dropped_once_however_often_it_is_said() {
        let rows = vec![SourceRows { source: "a.log".to_owned(), rows: 3 }];
        let position = SourcePosition {
            source: "file:1".to_owned(),
            display_name: "a.log".to_owned(),
            events_read: 3,
            ..SourcePosition::default()
        };
        let mut agent = Agent::default();
        agent.apply(&Batch { positions: vec![position], ..batch(7, 1, "x") }, &rows, 9);
        let record = LeftOutRecord { sender: "a".to_owned(), agent_id: "a".to_owned(), index: 5, rows };
        let record = Record::decode(&Record::LeftOut(record).encode()).unwrap();
        for _ in 0..2 {
            record.moves().into_iter().for_each(|(_, moved)| agent.replay(moved));
            // Also when a snapshot stands for the word of it.
            agent = started_again(&agent);
            let account = agent.accounts().iter().0.next().unwrap();
            assert_eq!((account.read, account.journaled, account.missing), (3, 0, 0));
            assert_eq!(account.dropped[lapwing::batch::UNREADABLE], 3);
        }
        assert!(agent.has_left_out(5) && !agent.has_left_out(6));
    }

    #[test]
    fn batches_are_taken_in_sequence_and_once() {
        let mut agent = Agent::default();
        agent.lease(7, 0);
        assert_eq!(agent.admit(&origin(7, 1), &"x".into()), Admission::Append);
        assert_eq!(agent.admit(&origin(7, 2), &"y".into()), Admission::Early);
        agent.apply(&batch(7, 1, "x"), &[], 0);
        assert_eq!(agent.admit(&origin(7, 1), &"x".into()), Admission::Duplicate);
        assert_eq!(refused(&agent.admit(&origin(7, 1), &"other".into())), Some(Kind::Conflict));
        assert_eq!(agent.admit(&origin(7, 2), &"y".into()), Admission::Append);
    }

    #[test]
    fn a_run_without_a_lease_is_told_to_resume_and_an_earlier_run_is_fenced() {
        let mut agent = Agent::default();
        assert_eq!(refused(&agent.admit(&origin(7, 1), &"x".into())), Some(Kind::ResumeFirst));
        agent.lease(7, 0);
        agent.lease(8, 0);
        assert_eq!(refused(&agent.admit(&origin(7, 1), &"x".into())), Some(Kind::Fenced));
        assert_eq!(agent.admit(&origin(8, 1), &"x".into()), Admission::Append);
        for epoch in 100..120 {
            agent.lease(epoch, 0);
        }
        assert_eq!(refused(&agent.admit(&origin(7, 1), &"x".into())), Some(Kind::ResumeFirst));
    }

    #[test]
    fn a_run_that_was_taken_over_from_gets_no_lease_again() {
        let mut agent = Agent::default();
        assert_eq!(agent.may_lease(7), Ok(()));
        agent.lease(7, 0);
        agent.apply(&batch(7, 1, "x"), &[], 0);
        assert_eq!(agent.may_lease(7), Ok(()), "its own lease is asked for again when the answer was lost");
        agent.lease(8, 0);
        assert_eq!(agent.may_lease(7).map_err(|(kind, _)| kind), Err(Kind::Fenced));
        assert_eq!(agent.may_lease(9), Ok(()));
    }

    #[test]
    fn an_agent_is_known_by_what_it_delivered_and_not_by_its_lease() {
        let mut agent = Agent::default();
        agent.lease(7, 0);
        assert!(!agent.has_delivered(), "the answer to its lease may have been lost");
        agent.apply(&batch(7, 1, "x"), &[], 0);
        agent.lease(8, 0);
        assert!(agent.has_delivered());
        assert_eq!(agent.previous(), Run { epoch: 7, durable: 1 });
        assert_eq!(started_again(&agent), agent);
        let snapshot = agent.parts("a").next().unwrap();
        let older = AgentRecord { has_delivered: false, durable: 1, ..snapshot };
        let mut again = Agent::default();
        again.replay(Move::Whole(&older));
        assert!(again.has_delivered(), "a snapshot of an older program");
    }

    #[test]
    fn a_run_that_was_acknowledged_more_than_is_held_is_sent_back() {
        assert_eq!(check_held(3, 3), Ok(()));
        let (kind, text) = check_held(7, 3).unwrap_err();
        assert_eq!(kind, Kind::ResumeFirst);
        assert!(text.contains("up to 3") && text.contains("acknowledged 7"), "{text}");
    }

    #[test]
    fn an_old_duplicate_is_known_by_its_number_alone() {
        let mut agent = Agent::default();
        agent.lease(7, 0);
        (1..=200).for_each(|sequence| agent.apply(&batch(7, sequence, "x"), &[], 0));
        assert_eq!(agent.admit(&origin(7, 3), &"whatever".into()), Admission::Duplicate);
        assert_eq!(refused(&agent.admit(&origin(7, 137), &"other".into())), Some(Kind::Conflict));
    }

    #[test]
    fn a_closed_source_is_forgotten() {
        let mut agent = Agent::default();
        let position = |offset, closed| SourcePosition {
            source: "file:1".to_owned(),
            position: Some(Position::File(FilePosition { offset, ..FilePosition::default() })),
            closed,
            ..SourcePosition::default()
        };
        let with = |sequence, position| Batch { positions: vec![position], ..batch(7, sequence, "x") };
        agent.lease(7, 0);
        agent.apply(&with(1, position(10, false)), &[], 0);
        agent.apply(&with(2, position(20, false)), &[], 0);
        assert_eq!(agent.positions(), [position(20, false)]);
        agent.apply(&with(3, position(20, true)), &[], 0);
        assert_eq!(agent.positions(), []);
    }
}
