//! The agents a collector knows: the state of each behind its lock.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use lapwing::{status::Kind, v1::Origin};
use lapwing_delivery::{
    Admission, Agent, Snapshots, check_held,
    journal::{ForgetRecord, Move, Record},
};
use lapwing_service::said::LeftOut;
use tokio::sync::{OwnedMutexGuard, watch};

/// One part in this many of the journal's room is for those that don't fill it.
const RESERVED: u64 = 8;
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
    /// The journal record that holds its whole state, 0 when it moved since.
    snapshot: AtomicU64,
    /// Bytes that the journal took from it since it was trimmed last.
    journaled: AtomicU64,
}

impl Entry {
    /// Locks the state; of one that is busy only when nobody else is locked, who would wait for the turn at one with a queue of batches.
    async fn lock(&self, nobody_is_locked: bool) -> Option<OwnedMutexGuard<Agent>> {
        let state = Arc::clone(&self.state);
        if nobody_is_locked { Some(state.lock_owned().await) } else { state.try_lock_owned().ok() }
    }

    /// Notes that the journal took so many bytes from it.
    pub fn journaled(&self, bytes: u64) {
        self.journaled.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How full the journal may be, of `room` bytes, for a batch of it. The last part of the room is for those that put less than that
    /// into it: one that sends more than the store takes does not stop the others.
    pub fn journal_room(&self, room: u64) -> u64 {
        let reserved = room / RESERVED;
        let is_small = self.journaled.load(Ordering::Relaxed) < reserved;
        if is_small { room } else { room - reserved }
    }

    /// The state moved: the last snapshot of it is no longer the whole of it.
    pub fn moved(&self) {
        self.snapshot.store(0, Ordering::Relaxed);
    }

    /// The whole state stands in a journal record.
    fn written(&self, index: u64) {
        self.snapshot.store(index, Ordering::Relaxed);
    }

    /// The journal record that holds the whole state, when there is one.
    fn unchanged_since(&self) -> Option<u64> {
        Some(self.snapshot.load(Ordering::Relaxed)).filter(|index| *index != 0)
    }

    /// Notes that the agent called.
    pub fn see(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn was_seen_within(&self, time: Duration) -> bool {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_some_and(|seen| seen.elapsed() < time)
    }

    /// Checks that what is held of a run is no less than its sender knows to be durable.
    ///
    /// # Errors
    /// As [`lapwing_delivery::check_held`].
    pub fn check_held(&self, origin: &Origin, acknowledged: u64) -> Result<(), (Kind, String)> {
        let (live, durable) = *self.durable.borrow();
        if live != origin.epoch || origin.epoch == 0 {
            return Ok(());
        }
        check_held(acknowledged, durable)
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

/// Senders that are known at a time; beyond that a new one waits until some are forgotten.
const MAX_SENDERS: usize = 20_000;
/// Senders that are locked together for a snapshot.
const LOCKED: usize = 64;
/// Bytes of their states at which a snapshot record is written.
const SNAPSHOT_BYTES: usize = 1 << 20;

/// All agents.
#[derive(Debug, Default)]
pub struct Agents {
    entries: Mutex<HashMap<String, Arc<Entry>>>,
}

/// What is written of some senders, which stay locked until it is durable.
#[derive(Debug, Default)]
pub struct Part {
    /// The records, encoded, in their order.
    pub records: Vec<Bytes>,
    changed: Vec<(Arc<Entry>, OwnedMutexGuard<Agent>)>,
    gone: Vec<(String, Arc<Entry>, OwnedMutexGuard<Agent>)>,
}

impl Part {
    /// Senders that are locked.
    fn locked(&self) -> usize {
        self.changed.len() + self.gone.len()
    }
}

impl Agents {
    /// The entry of a sender, made when missing; `None` when there are too many.
    pub fn entry(&self, sender: &str) -> Option<Arc<Entry>> {
        let mut entries = self.entries();
        if let Some(entry) = entries.get(sender) {
            return Some(Arc::clone(entry));
        }
        if entries.len() >= MAX_SENDERS {
            return None;
        }
        Some(Arc::clone(entries.entry(sender.to_owned()).or_default()))
    }

    /// How many agents called lately, one at least. Clients without numbers and agents that are gone are none of them.
    pub fn active(&self) -> usize {
        let entries = self.entries();
        entries.values().filter(|entry| entry.was_seen_within(LATELY)).count().max(1)
    }

    /// The entries of all agents, and of all clients that keep no numbers.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.entries().values().map(Arc::clone).collect()
    }

    /// Applies record `index` of the journal, at start.
    pub async fn replay(&self, index: u64, record: &Record) {
        for (sender, moved) in record.moves() {
            // What was journaled was taken: it is remembered, however many there are.
            let entry = Arc::clone(self.entries().entry(sender.to_owned()).or_default());
            let mut state = entry.state.lock().await;
            state.replay(moved);
            match moved {
                Move::Whole(part) if !part.continues => entry.written(index),
                Move::Whole(_) => {}
                _ => entry.moved(),
            }
            entry.durable.send_replace((state.epoch().unwrap_or_default(), state.durable()));
            if state.is_new() {
                drop(state);
                self.entries().remove(sender);
            }
        }
    }

    /// All senders, to be written in parts.
    pub fn list(&self) -> Vec<(String, Arc<Entry>)> {
        self.entries().iter().map(|(id, entry)| (id.clone(), Arc::clone(entry))).collect()
    }

    /// Takes senders from the end of `rest` and locks them, until there is enough for a record. Who did not change since a record after
    /// `fresh` is left out; `oldest` becomes the oldest record that stands for one of these. Who is gone for `keep` is forgotten.
    pub async fn part(
        &self,
        rest: &mut Vec<(String, Arc<Entry>)>,
        fresh: u64,
        oldest: &mut u64,
        (now, keep): (u64, u64),
    ) -> Part {
        let mut part = Part::default();
        let mut snapshots = Snapshots::default();
        while part.locked() < LOCKED
            && snapshots.bytes() < SNAPSHOT_BYTES
            && let Some((id, entry)) = rest.pop()
        {
            let Some(mut state) = entry.lock(part.locked() == 0).await else {
                rest.push((id, entry));
                break;
            };
            if state.is_new() {
                // A sender of which nothing was ever taken. Whoever is about to send as one has the entry in hand.
                self.remove_unused(&id, entry);
                continue;
            }
            if state.last_seen() == 0 {
                // Written by an earlier version, which did not note it.
                state.seen(now);
                entry.moved();
            }
            if state.is_gone(now, keep) {
                part.gone.push((id, entry, state));
                continue;
            }
            // The others are locked until all of its records are durable: a large one goes alone.
            if state.positions_bytes() >= SNAPSHOT_BYTES && part.locked() > 0 {
                rest.push((id, entry));
                break;
            }
            match entry.unchanged_since() {
                Some(index) if index > fresh => *oldest = (*oldest).min(index),
                _ => {
                    snapshots.add(&id, &state);
                    part.changed.push((entry, state));
                }
            }
        }
        if !part.changed.is_empty() {
            part.records.extend(snapshots.finish());
        }
        if !part.gone.is_empty() {
            let senders = part.gone.iter().map(|(id, ..)| id.clone()).collect();
            part.records.push(Record::Forget(ForgetRecord { senders }).encode());
        }
        part
    }

    /// The journal was trimmed.
    pub fn trimmed(&self) {
        self.all().into_iter().for_each(|entry| entry.journaled.store(0, Ordering::Relaxed));
    }

    /// The records of a part are durable, from index `first` on.
    pub fn written(&self, part: Part, first: u64) {
        part.changed.iter().for_each(|(entry, _)| entry.written(first));
        if let Some((sender, ..)) = part.gone.first() {
            let more = LeftOut(part.gone.len() as u64 - 1);
            tracing::info!(sender, "forgotten: it was away for too long{more}");
        }
        for (id, entry, mut state) in part.gone {
            *state = Agent::default();
            entry.durable.send_replace((0, 0));
            drop(state);
            self.remove_unused(&id, entry);
        }
    }

    /// Removes an entry that nobody else has in hand.
    fn remove_unused(&self, id: &str, entry: Arc<Entry>) {
        let mut entries = self.entries();
        // One is in the map, and one here.
        if Arc::strong_count(&entry) == 2 {
            entries.remove(id);
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use lapwing::v1::{Batch, Origin, SourcePosition};

    use super::*;

    #[tokio::test]
    async fn a_snapshot_holds_all_of_the_state() {
        let mut state = Agent::default();
        state.lease(7, 0);
        state.lease(8, 0);
        let origin = Origin { agent_id: "a".to_owned(), epoch: 8, sequence: 1, ..Origin::default() };
        state.apply(&Batch { origin: Some(origin), digest: "x".into(), ..Batch::default() }, &[], 0);
        state.apply(&Batch { idempotency_key: "k".to_owned(), ..Batch::default() }, &[], 5);
        let agents = Agents::default();
        state.seen(NOW);
        *agents.entry("a").unwrap().state.lock().await = state.clone();
        let again = Agents::default();
        let part = agents.part(&mut agents.list(), 0, &mut 100, (NOW, KEEP)).await;
        for record in &part.records {
            again.replay(7, &Record::decode(record).unwrap()).await;
        }
        assert_eq!(*again.entry("a").unwrap().state.lock().await, state);
    }

    const NOW: u64 = 100;
    const KEEP: u64 = 10;

    async fn write(agents: &Agents, fresh: u64, now: u64, index: u64) -> (usize, u64) {
        let mut oldest = index;
        let part = agents.part(&mut agents.list(), fresh, &mut oldest, (now, KEEP)).await;
        let records = part.records.len();
        agents.written(part, index);
        (records, oldest)
    }

    async fn deliver(agents: &Agents, sender: &str, now: u64) {
        let entry = agents.entry(sender).unwrap();
        let mut state = entry.state.lock().await;
        state.lease(7, 0);
        state.seen(now);
        entry.moved();
    }

    #[tokio::test]
    async fn only_what_changed_is_written_again_and_the_rest_keeps_its_record() {
        let agents = Agents::default();
        deliver(&agents, "a", NOW).await;
        deliver(&agents, "b", NOW).await;
        assert_eq!(write(&agents, 0, NOW, 50).await, (1, 50));
        assert_eq!(
            write(&agents, 0, NOW, 60).await,
            (0, 50),
            "nothing changed: the journal must keep record 50"
        );
        deliver(&agents, "a", NOW).await;
        assert_eq!(write(&agents, 0, NOW, 70).await, (1, 50));
        assert_eq!(
            write(&agents, 60, NOW, 80).await,
            (1, 70),
            "what stands in an old record is written anew"
        );
    }

    #[test]
    fn one_that_fills_the_journal_leaves_room_to_the_others() {
        let agents = Agents::default();
        let (full, others) = (agents.entry("full").unwrap(), agents.entry("others").unwrap());
        full.journaled(99);
        assert_eq!((full.journal_room(800), others.journal_room(800)), (800, 800));
        full.journaled(1);
        assert_eq!((full.journal_room(800), others.journal_room(800)), (700, 800));
        agents.trimmed();
        assert_eq!(full.journal_room(800), 800);
    }

    #[tokio::test]
    async fn nobody_waits_for_the_records_of_one_with_many_positions() {
        let agents = Agents::default();
        for sender in ["a", "b", "c", "d"] {
            deliver(&agents, sender, NOW).await;
        }
        let positions = (0..4_000)
            .map(|n| SourcePosition { source: format!("{n:0300}"), ..SourcePosition::default() })
            .collect();
        let origin =
            Some(Origin { agent_id: "large".to_owned(), epoch: 7, sequence: 1, ..Origin::default() });
        let batch = Batch { origin, positions, ..Batch::default() };
        agents.entry("large").unwrap().state.lock().await.apply(&batch, &[], NOW);

        let mut rest = agents.list();
        let mut written = 0;
        while !rest.is_empty() {
            let part = agents.part(&mut rest, 0, &mut 100, (NOW, KEEP)).await;
            assert!(part.records.len() == 1 || part.changed.len() == 1, "others are locked for many records");
            written += part.changed.len();
        }
        assert_eq!(written, 5);
    }

    #[tokio::test]
    async fn nobody_waits_for_the_turn_at_one_that_is_busy() {
        let agents = Agents::default();
        for sender in ["a", "b", "c", "d", "busy"] {
            deliver(&agents, sender, NOW).await;
        }
        let entry = agents.entry("busy").unwrap();
        let busy = Arc::clone(&entry.state).lock_owned().await;
        let mut rest = agents.list();
        // Whatever the order is.
        rest.sort_by_key(|(id, _)| id != "busy");

        let mut oldest = 100;
        let part = agents.part(&mut rest, 0, &mut oldest, (NOW, KEEP)).now_or_never().unwrap();
        assert_eq!(part.changed.len(), 4);
        drop(part);
        let mut last = Box::pin(agents.part(&mut rest, 0, &mut oldest, (NOW, KEEP)));
        assert!(last.as_mut().now_or_never().is_none(), "with nobody locked it waits");
        drop(busy);
        assert_eq!(last.await.changed.len(), 1);
    }

    #[tokio::test]
    async fn who_is_gone_is_forgotten_and_who_never_sent_leaves_nothing() {
        let agents = Agents::default();
        deliver(&agents, "gone", NOW).await;
        deliver(&agents, "here", NOW + 2 * KEEP).await;
        agents.entry("never");
        assert_eq!(write(&agents, 0, NOW + 2 * KEEP, 50).await.0, 2);
        assert_eq!(agents.list().into_iter().map(|(id, _)| id).collect::<Vec<_>>(), ["here"]);
    }

    #[test]
    fn senders_have_a_bound() {
        let agents = Agents::default();
        assert!((0..MAX_SENDERS).all(|n| agents.entry(&n.to_string()).is_some()));
        assert!(agents.entry("one more").is_none() && agents.entry("7").is_some());
    }

    fn origin(epoch: u64, sequence: u64) -> Origin {
        Origin { epoch, sequence, ..Origin::default() }
    }

    #[test]
    fn only_agents_that_called_lately_share_what_is_under_way() {
        let agents = Agents::default();
        assert_eq!(agents.active(), 1, "nobody divides by zero");
        (0..100).for_each(|user| drop(agents.entry(&format!("user/{user}"))));
        agents.entry("a").unwrap().see();
        agents.entry("b").unwrap().see();
        assert_eq!(agents.active(), 2);
        let gone = Instant::now().checked_sub(LATELY).unwrap();
        *agents.entry("b").unwrap().seen.lock().unwrap() = Some(gone);
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
