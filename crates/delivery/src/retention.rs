//! What of the journal must stay, and what stands for the rest.

use bytes::Bytes;
use lapwing::v1::SourcePosition;
use prost::Message;

use crate::{
    Agent,
    accounts::{Account, AccountsRecord, Unconfirmed},
    journal::{AgentRecord, KeyRecord, Record, SnapshotRecord},
    planted::{self, Bug},
};

/// Bytes at which a snapshot record is followed by another: whatever a sender leaves behind fits into the journal.
const SNAPSHOT_BYTES: usize = 1 << 20;

/// The journal record from which a start goes on: the oldest one there is, or the first that the store has not committed.
pub fn replay_from(oldest: u64, uncommitted: u64) -> u64 {
    if planted::is(Bug::ReplayFromCommitted) {
        return uncommitted;
    }
    oldest.max(1).min(uncommitted)
}

/// Up to where the journal may be trimmed: behind what the store has committed, and behind a snapshot whose first record this is.
pub fn trim_through(committed: u64, snapshot: Option<u64>) -> u64 {
    let committed = if planted::is(Bug::TrimBeforeCommit) { u64::MAX } else { committed };
    snapshot.map_or(committed, |first| committed.min(first.saturating_sub(1)))
}

/// The states of agents, as encoded records of bounded size. Of a large agent one part at a time is copied.
#[derive(Debug, Default)]
pub struct Snapshots {
    records: Vec<Bytes>,
    part: SnapshotRecord,
    bytes: usize,
}

impl Snapshots {
    /// Adds an agent. One that is larger than a record goes into several.
    pub fn add(&mut self, agent_id: &str, agent: &Agent) {
        for part in agent.parts(agent_id) {
            self.bytes += part.encoded_len();
            self.part.agents.push(part);
            if self.bytes >= SNAPSHOT_BYTES {
                self.next();
            }
        }
    }

    fn next(&mut self) {
        self.records.push(Record::Snapshot(std::mem::take(&mut self.part)).encode());
        self.bytes = 0;
    }

    /// Bytes of what was added, about.
    pub fn bytes(&self) -> usize {
        self.records.len() * SNAPSHOT_BYTES + self.bytes
    }

    /// All records, at least one.
    pub fn finish(mut self) -> Vec<Bytes> {
        if !self.part.agents.is_empty() || self.records.is_empty() {
            self.next();
        }
        self.records
    }
}

/// One of the many things that an agent's record holds.
pub(crate) enum Item {
    Position(SourcePosition),
    Key(KeyRecord),
    Account(Account),
    Gap(Account),
    Unconfirmed(Unconfirmed),
}

impl Item {
    fn add_to(self, part: &mut AgentRecord) -> usize {
        let bytes = self.bytes();
        match self {
            Self::Position(position) => part.positions.push(position),
            Self::Key(key) => part.keys.push(key),
            Self::Account(account) => books(part).accounts.push(account),
            Self::Gap(gap) => books(part).gaps.push(gap),
            Self::Unconfirmed(batch) => books(part).unconfirmed.push(batch),
        }
        bytes
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Position(position) => position.encoded_len(),
            Self::Key(key) => key.encoded_len(),
            Self::Account(account) | Self::Gap(account) => account.encoded_len(),
            Self::Unconfirmed(batch) => batch.encoded_len(),
        }
    }
}

fn books(part: &mut AgentRecord) -> &mut AccountsRecord {
    part.accounts.get_or_insert_default()
}

/// An agent's record, in parts of about [`SNAPSHOT_BYTES`].
pub(crate) struct Parts<I> {
    next: Option<AgentRecord>,
    items: I,
}

impl<I: Iterator<Item = Item>> Parts<I> {
    /// `first` holds all but the items.
    pub(crate) fn new(first: AgentRecord, items: I) -> Self {
        Self { next: Some(first), items }
    }
}

impl<I: Iterator<Item = Item>> Iterator for Parts<I> {
    type Item = AgentRecord;

    fn next(&mut self) -> Option<AgentRecord> {
        let mut part = self.next.take()?;
        let mut bytes = part.encoded_len();
        for item in self.items.by_ref() {
            bytes += item.add_to(&mut part);
            if bytes >= SNAPSHOT_BYTES {
                part.has_more = true;
                let agent_id = part.agent_id.clone();
                self.next = Some(AgentRecord { agent_id, continues: true, ..AgentRecord::default() });
                break;
            }
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use lapwing::v1::{Batch, Origin};

    use super::*;
    use crate::journal::Move;

    fn large() -> Agent {
        let mut agent = Agent::default();
        agent.lease(7, 0);
        for sequence in 1..=4 {
            let position = |n: usize| SourcePosition {
                source: format!("file:{sequence}:{n}"),
                display_name: "x".repeat(400),
                events_read: 1,
                ..SourcePosition::default()
            };
            let origin = Origin { agent_id: "a".to_owned(), epoch: 7, sequence, ..Origin::default() };
            let positions = (0..2_000).map(position).collect();
            let batch = Batch { origin: Some(origin), positions, ..Batch::default() };
            agent.apply(&batch, &[], 9);
        }
        agent
    }

    fn records(agent: &Agent) -> Vec<Record> {
        let mut snapshots = Snapshots::default();
        snapshots.add("a", agent);
        snapshots.finish().iter().map(|record| Record::decode(record).unwrap()).collect()
    }

    fn replay(agent: &mut Agent, record: &Record) {
        record.moves().into_iter().for_each(|(_, moved)| agent.replay(moved));
    }

    #[test]
    fn a_large_agent_goes_into_records_that_are_small_and_comes_back_whole() {
        let agent = large();
        let records = records(&agent);
        assert!(records.len() >= 3, "{} records", records.len());
        assert!(records.iter().all(|record| record.encode().len() < 2 * SNAPSHOT_BYTES));
        let mut again = Agent::default();
        records.iter().for_each(|record| replay(&mut again, record));
        assert_eq!(again, agent);
    }

    #[test]
    fn a_snapshot_of_which_a_part_is_missing_replaces_nothing() {
        let mut agent = large();
        let snapshot = records(&agent);
        let before = agent.positions();
        replay(&mut agent, &snapshot[0]);
        assert_eq!(agent.positions(), before);
        let origin = Origin { agent_id: "a".to_owned(), epoch: 7, sequence: 5, ..Origin::default() };
        agent.apply(&Batch { origin: Some(origin), ..Batch::default() }, &[], 9);
        // The next one stands for itself.
        records(&agent).iter().for_each(|record| replay(&mut agent, record));
        assert_eq!((agent.durable(), agent.positions()), (5, before));
    }

    #[test]
    fn who_is_away_for_long_is_forgotten_and_clients_sooner_than_agents() {
        const DAY: u64 = 86_400_000_000_000;
        let mut agent = Agent::default();
        agent.lease(7, 0);
        agent.seen(DAY);
        let mut client = Agent::default();
        client.seen(DAY);
        assert!(!agent.is_gone(31 * DAY, 30 * DAY) && agent.is_gone(31 * DAY + 1, 30 * DAY));
        assert!(!client.is_gone(2 * DAY, 30 * DAY) && client.is_gone(2 * DAY + 1, 30 * DAY));
        agent.replay(Move::Forget);
        assert!(agent.is_new());
    }
}
