//! What of the journal must stay, and what stands for the rest.

use prost::Message;

use crate::journal::{AgentRecord, SnapshotRecord};

/// Bytes at which a snapshot record is followed by another: a journal record has a limit.
const SNAPSHOT_BYTES: usize = 4 << 20;

/// The journal record from which a start goes on: the oldest one there is, or the first that the store has not committed.
pub fn replay_from(oldest: u64, uncommitted: u64) -> u64 {
    oldest.max(1).min(uncommitted)
}

/// Up to where the journal may be trimmed: behind what the store has committed, and behind a snapshot whose first record this is.
pub fn trim_through(committed: u64, snapshot: Option<u64>) -> u64 {
    snapshot.map_or(committed, |first| committed.min(first.saturating_sub(1)))
}

/// The states of all agents, as records of bounded size.
#[derive(Debug, Default)]
pub struct Snapshots {
    records: Vec<SnapshotRecord>,
    part: SnapshotRecord,
    bytes: usize,
}

impl Snapshots {
    /// Adds an agent.
    pub fn add(&mut self, agent: AgentRecord) {
        self.bytes += agent.encoded_len();
        self.part.agents.push(agent);
        if self.bytes >= SNAPSHOT_BYTES {
            self.records.push(std::mem::take(&mut self.part));
            self.bytes = 0;
        }
    }

    /// All records, at least one.
    pub fn finish(mut self) -> Vec<SnapshotRecord> {
        self.records.push(self.part);
        self.records
    }
}
