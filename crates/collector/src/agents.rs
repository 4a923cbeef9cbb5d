//! The agents a collector knows: the state of each behind its lock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use lapwing_delivery::{
    Agent, Snapshots,
    journal::{Record, SnapshotRecord},
};
use tokio::sync::watch;

/// An agent's state, its lock, and word of its progress.
#[derive(Debug, Default)]
pub struct Entry {
    /// Held from the admission of a batch until it is durable.
    pub state: Arc<tokio::sync::Mutex<Agent>>,
    /// Epoch and sequence of the newest durable batch.
    pub durable: watch::Sender<(u64, u64)>,
}

/// All agents.
#[derive(Debug, Default)]
pub struct Agents {
    entries: Mutex<HashMap<String, Arc<Entry>>>,
}

impl Agents {
    /// The entry of an agent, made when missing.
    pub fn entry(&self, agent_id: &str) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(agent_id) {
            return Arc::clone(entry);
        }
        Arc::clone(entries.entry(agent_id.to_owned()).or_default())
    }

    /// The entries of all agents, and of all clients that keep no numbers.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// Applies a record of the journal, at start.
    pub async fn replay(&self, record: &Record) {
        for (sender, moved) in record.moves() {
            self.entry(sender).state.lock().await.replay(moved);
        }
    }

    /// All agents as journal records. No batch may be under way meanwhile.
    pub async fn snapshot(&self) -> Vec<SnapshotRecord> {
        let entries: Vec<(String, Arc<Entry>)> = {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.iter().map(|(id, entry)| (id.clone(), Arc::clone(entry))).collect()
        };
        let mut snapshots = Snapshots::default();
        for (id, entry) in entries {
            snapshots.add(entry.state.lock().await.record(&id));
        }
        snapshots.finish()
    }
}

#[cfg(test)]
mod tests {
    use lapwing::v1::{Batch, Origin};

    use super::*;

    #[tokio::test]
    async fn a_snapshot_holds_all_of_the_state() {
        let agents = Agents::default();
        let mut state = Agent::default();
        state.lease(7);
        state.lease(8);
        let origin = Origin { agent_id: "a".to_owned(), epoch: 8, sequence: 1 };
        state.apply(&Batch { origin: Some(origin), digest: "x".into(), ..Batch::default() }, &[], 0);
        state.apply(&Batch { idempotency_key: "k".to_owned(), ..Batch::default() }, &[], 5);
        *agents.entry("a").state.lock().await = state.clone();
        let again = Agents::default();
        for snapshot in agents.snapshot().await {
            let record = Record::decode(&Record::Snapshot(snapshot).encode()).unwrap();
            again.replay(&record).await;
        }
        assert_eq!(*again.entry("a").state.lock().await, state);
    }
}
