//! The agents a collector knows: the state of each behind its lock.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use lapwing::{status::Kind, v1::Origin};
use lapwing_delivery::{
    Admission, Agent, Snapshots, check_held,
    journal::{Record, SnapshotRecord},
};
use tokio::sync::watch;

/// An agent that did not call for so long has no share of what agents send at a time.
const LATELY: Duration = Duration::from_secs(120);

/// An agent's state, its lock, and word of its progress.
#[derive(Debug, Default)]
pub struct Entry {
    /// Held from the admission of a batch until it is durable.
    pub state: Arc<tokio::sync::Mutex<Agent>>,
    /// Epoch and sequence of the newest durable batch.
    pub durable: watch::Sender<(u64, u64)>,
    /// Epoch and sequence of the newest batch that has room.
    roomy: watch::Sender<(u64, u64)>,
    /// When the agent last called.
    seen: Mutex<Option<Instant>>,
    /// The run that was last sent back because the collector was restored.
    sent_back: AtomicU64,
}

impl Entry {
    /// Notes that the agent called.
    pub fn see(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn was_seen_within(&self, time: Duration) -> bool {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_some_and(|seen| seen.elapsed() < time)
    }

    /// Checks that what is held of a run is no less than its sender knows to be durable. A run that is sent back is reported once.
    ///
    /// # Errors
    /// As [`lapwing_delivery::check_held`].
    pub fn check_held(&self, origin: &Origin, acknowledged: u64) -> Result<(), (Kind, String)> {
        let (live, durable) = *self.durable.borrow();
        if live != origin.epoch || origin.epoch == 0 {
            return Ok(());
        }
        let checked = check_held(acknowledged, durable);
        if let Err((_, text)) = &checked
            && self.sent_back.swap(live, Ordering::Relaxed) != live
        {
            tracing::warn!(agent = origin.agent_id, "{text}");
        }
        checked
    }

    /// Whether nothing has to become durable before a batch does.
    pub fn is_next(&self, origin: &Origin) -> bool {
        let (live, durable) = *self.durable.borrow();
        // What has no lease is refused later, with a reason.
        live != origin.epoch || durable + 1 >= origin.sequence
    }

    /// Up to where batches are durable, when this one is among them.
    pub async fn known(&self, origin: &Origin, digest: &Bytes) -> Option<u64> {
        let (epoch, durable) = *self.durable.borrow();
        if origin.epoch == 0 || origin.epoch != epoch || origin.sequence > durable {
            return None;
        }
        let state = self.state.lock().await;
        matches!(state.admit(origin, digest), Admission::Duplicate).then(|| state.durable())
    }

    /// Waits until all batches before this one have room or are durable. So none holds room that one before it needs, and of each
    /// agent one waits at a time, however many it sends.
    pub async fn turn(&self, origin: &Origin) {
        let mut roomy = self.roomy.subscribe();
        let may_ask = |(epoch, newest): &(u64, u64)| {
            self.is_next(origin) || (*epoch == origin.epoch && newest + 1 >= origin.sequence)
        };
        let _ = roomy.wait_for(may_ask).await;
    }

    /// Notes that a batch has room.
    pub fn has_room(&self, origin: &Origin) {
        let Origin { epoch, sequence, .. } = *origin;
        self.roomy.send_if_modified(|newest| {
            let is_newer = newest.0 != epoch || newest.1 < sequence;
            if is_newer {
                *newest = (epoch, sequence);
            }
            is_newer
        });
    }
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

    /// How many agents called lately, one at least. Clients without numbers and agents that are gone are none of them.
    pub fn active(&self) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values().filter(|entry| entry.was_seen_within(LATELY)).count().max(1)
    }

    /// The entries of all agents, and of all clients that keep no numbers.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// Applies a record of the journal, at start.
    pub async fn replay(&self, record: &Record) {
        for (sender, moved) in record.moves() {
            let entry = self.entry(sender);
            let mut state = entry.state.lock().await;
            state.replay(moved);
            entry.durable.send_replace((state.epoch().unwrap_or_default(), state.durable()));
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
    use futures::FutureExt;
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

    fn origin(epoch: u64, sequence: u64) -> Origin {
        Origin { epoch, sequence, ..Origin::default() }
    }

    #[test]
    fn only_agents_that_called_lately_share_what_is_under_way() {
        let agents = Agents::default();
        assert_eq!(agents.active(), 1, "nobody divides by zero");
        (0..100).for_each(|user| drop(agents.entry(&format!("user/{user}"))));
        agents.entry("a").see();
        agents.entry("b").see();
        assert_eq!(agents.active(), 2);
        let gone = Instant::now().checked_sub(LATELY).unwrap();
        *agents.entry("b").seen.lock().unwrap() = Some(gone);
        assert_eq!(agents.active(), 1);
    }

    #[test]
    fn a_run_that_knows_of_more_than_is_held_is_sent_back() {
        let entry = Entry::default();
        entry.durable.send_replace((7, 3));
        assert!(entry.check_held(&origin(7, 4), 3).is_ok());
        let (kind, _) = entry.check_held(&origin(7, 8), 7).unwrap_err();
        assert_eq!(kind, Kind::ResumeFirst);
        assert!(entry.check_held(&origin(6, 8), 7).is_ok(), "another run is judged by its epoch");
    }

    fn may_ask(entry: &Entry, epoch: u64, sequence: u64) -> bool {
        entry.turn(&origin(epoch, sequence)).now_or_never().is_some()
    }

    #[test]
    fn a_batch_asks_for_room_after_those_before_it() {
        let entry = Entry::default();
        entry.durable.send_replace((7, 10));
        assert!(may_ask(&entry, 7, 11) && !may_ask(&entry, 7, 12));
        entry.has_room(&origin(7, 11));
        assert!(may_ask(&entry, 7, 12) && !may_ask(&entry, 7, 13));
        // One that comes again takes nothing back.
        entry.has_room(&origin(7, 10));
        assert!(may_ask(&entry, 7, 12));
        assert!(may_ask(&entry, 6, 99), "what has no lease is refused, it does not wait");
        assert!(may_ask(&entry, 0, 0), "nor do clients that keep no numbers");
        entry.durable.send_replace((8, 0));
        assert!(
            may_ask(&entry, 8, 1) && !may_ask(&entry, 8, 2),
            "room of an earlier run is no room of this one"
        );
    }
}
