//! What of the journal must stay, and what stands for the rest.

use prost::Message;

use crate::{
    accounts::AccountsRecord,
    journal::{AgentRecord, SnapshotRecord},
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

/// The states of agents, as records of bounded size.
#[derive(Debug, Default)]
pub struct Snapshots {
    records: Vec<SnapshotRecord>,
    part: SnapshotRecord,
    bytes: usize,
}

impl Snapshots {
    /// Adds an agent. One that is larger than a record goes into several.
    pub fn add(&mut self, agent: AgentRecord) {
        for part in Parts::of(agent) {
            self.bytes += part.encoded_len();
            self.part.agents.push(part);
            if self.bytes >= SNAPSHOT_BYTES {
                self.records.push(std::mem::take(&mut self.part));
                self.bytes = 0;
            }
        }
    }

    /// Bytes of what was added, about.
    pub fn bytes(&self) -> usize {
        self.records.len() * SNAPSHOT_BYTES + self.bytes
    }

    /// All records, at least one.
    pub fn finish(mut self) -> Vec<SnapshotRecord> {
        if !self.part.agents.is_empty() || self.records.is_empty() {
            self.records.push(self.part);
        }
        self.records
    }
}

/// An agent's record, in parts of about [`SNAPSHOT_BYTES`].
struct Parts {
    done: Vec<AgentRecord>,
    part: AgentRecord,
    bytes: usize,
}

impl Parts {
    fn of(mut agent: AgentRecord) -> Vec<AgentRecord> {
        if agent.encoded_len() < SNAPSHOT_BYTES {
            return vec![agent];
        }
        let positions = std::mem::take(&mut agent.positions);
        let keys = std::mem::take(&mut agent.keys);
        let accounts = agent.accounts.take().unwrap_or_default();
        let mut parts = Self { done: Vec::new(), part: agent, bytes: 0 };
        parts.fill(positions, |part, position| part.positions.push(position));
        parts.fill(keys, |part, key| part.keys.push(key));
        parts.fill(accounts.accounts, |part, account| books(part).accounts.push(account));
        parts.fill(accounts.gaps, |part, gap| books(part).gaps.push(gap));
        parts.fill(accounts.unconfirmed, |part, batch| books(part).unconfirmed.push(batch));
        parts.done.push(parts.part);
        parts.done
    }

    fn fill<T: Message>(&mut self, items: Vec<T>, add: impl Fn(&mut AgentRecord, T)) {
        for item in items {
            self.bytes += item.encoded_len();
            if self.bytes >= SNAPSHOT_BYTES {
                self.next();
            }
            add(&mut self.part, item);
        }
    }

    fn next(&mut self) {
        let next =
            AgentRecord { agent_id: self.part.agent_id.clone(), continues: true, ..AgentRecord::default() };
        let mut full = std::mem::replace(&mut self.part, next);
        full.has_more = true;
        self.done.push(full);
        self.bytes = 0;
    }
}

fn books(part: &mut AgentRecord) -> &mut AccountsRecord {
    part.accounts.get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use lapwing::v1::{Batch, Origin, SourcePosition};

    use super::*;
    use crate::{
        Agent,
        journal::{Move, Record},
    };

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
        snapshots.add(agent.record("a"));
        snapshots.finish().into_iter().map(Record::Snapshot).collect()
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
