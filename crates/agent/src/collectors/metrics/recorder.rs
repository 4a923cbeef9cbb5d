//! Metric points through the agent's spool: what can't be observed twice must be readable twice.
//!
//! Each tick's points are one record. It stays in memory while the collector takes it; when it was not acknowledged by the next
//! tick, all that waits is made durable. What a crash takes from memory is counted by the numbers that are missing.

mod points;
mod tally;

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use lapwing::columns::MetricColumns;
use lapwing_delivery::{CRASHED, DAMAGED, FULL, Held, RESTORED};
use lapwing_service::{said::Said, watchdog::Beat};
use lapwing_spool::{Log, Record, SpoolError};
use tokio::sync::{Mutex, Notify, mpsc::Receiver, mpsc::Sender, watch};
use tokio_util::sync::CancellationToken;

use self::{
    points::{decode, encode},
    tally::Tally,
};
use crate::{
    counters::{Counters, Part},
    input::Input,
};

/// Bytes read from the spool at a time.
const READ_BYTES: usize = 256 << 10;
/// Pause before the spool is read again after it could not be.
const AGAIN: Duration = Duration::from_secs(5);

/// The spool of metrics, and word of what is appended.
#[derive(Debug)]
pub struct Recording {
    spool: Log,
    /// The index that was next when the spool was opened, until the first lease: records from it on are of this process.
    opened_next: AtomicU64,
    /// Points ever observed: the number of the next one.
    observed: AtomicU64,
    /// That number when the spool was opened.
    opened_observed: u64,
    /// Points that were observed and are in no record of the spool, as it was opened: those that are not held either are lost.
    unrecorded: Range<u64>,
    /// Records before this one were acknowledged to this process, and given up.
    given_up: AtomicU64,
    tally: Tally,
    /// Held over an append, and while records are moved to other indexes.
    appending: Mutex<()>,
    appended: Notify,
    /// What was reported of the spool.
    said: Said<&'static str>,
}

impl Recording {
    /// Over an opened spool and the tally in `state_dir`.
    ///
    /// # Errors
    /// When one of them can't be read.
    pub async fn new(spool: Log, state_dir: &Path) -> anyhow::Result<Self> {
        let next = spool.stats().next;
        let last = match spool.read(next.saturating_sub(1), READ_BYTES).await {
            Ok(records) => records.last().and_then(|record| decode(&record.payload)),
            // It is counted when its turn to be shipped comes.
            Err(SpoolError::Damaged { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let recorded = last.map_or(0, |points| points.first + points.rows());
        let (tally, observed) = Tally::open(state_dir)
            .with_context(|| format!("[agent] state_dir {}: the tally of points", state_dir.display()))?;
        let opened_observed = observed.max(recorded);
        Ok(Self {
            spool,
            opened_next: AtomicU64::new(next),
            observed: AtomicU64::new(opened_observed),
            opened_observed,
            unrecorded: recorded..opened_observed,
            given_up: AtomicU64::new(0),
            tally,
            appending: Mutex::default(),
            appended: Notify::new(),
            said: Said::default(),
        })
    }

    /// Why the spool takes nothing any more, when that is so.
    pub fn broken(&self) -> Option<String> {
        self.spool.broken()
    }

    /// Makes durable what is not acknowledged.
    pub async fn flush(&self) {
        self.complain("make what waits durable", self.spool.flush().await);
    }

    fn complain<T>(&self, action: &'static str, result: Result<T, impl std::fmt::Display>) {
        if let Err(error) = result
            && let Some(left_out) = self.said.again(&action)
        {
            tracing::error!("metrics: {action}: {error}{left_out}");
        }
    }
}

/// Appends the points of each tick to the spool, until no more come. Then makes durable what is not acknowledged.
pub async fn record(
    points: Arc<Mutex<Receiver<MetricColumns>>>,
    recording: Arc<Recording>,
    counters: Arc<Counters>,
    beat: Beat,
) {
    let mut points = points.lock().await;
    let spool = &recording.spool;
    let mut dropped = counters.records_dropped.get();
    while let Some(columns) = points.recv().await {
        let _working = beat.working();
        let rows = columns.time.rows() as u64;
        let flushed = if spool.stats().memory_records > 0 { spool.flush().await.map(drop) } else { Ok(()) };

        let appending = recording.appending.lock().await;
        let first = recording.observed.fetch_add(rows, Ordering::Relaxed);
        let noted = recording.tally.set(first + rows);
        let appended = spool.append(encode(first, columns)).await;
        drop(appending);
        if appended.is_ok() {
            counters.points_read.add(rows);
        }

        let problem = flushed.err().or(appended.err()).map(|error| error.to_string());
        let problem = problem.or(noted.err().map(|error| format!("the tally of points: {error}")));
        report(&counters, Part::Recording, problem);
        let stats = spool.stats();
        counters.records_dropped.add(stats.dropped_records.saturating_sub(dropped));
        dropped = stats.dropped_records;
        counters.spool_bytes.set(stats.bytes + stats.memory_bytes);
        recording.appended.notify_one();
    }
    recording.flush().await;
}

/// Makes sure that no record has an index below that which the collector wants. When one of this process has, since the state of an
/// earlier one was lost, all of this process get new ones, in their order; older ones are what the collector holds.
///
/// # Errors
/// As the spool's.
pub async fn carry_over(recording: &Recording, held: &Held) -> Result<(), SpoolError> {
    let Recording { spool, opened_next, observed, opened_observed, appending, .. } = recording;
    let _appending = appending.lock().await;
    // Later leases find what was shipped under its index already.
    let mut from = opened_next.swap(u64::MAX, Ordering::Relaxed);
    if from != u64::MAX {
        // With the state the numbers of points may be lost, too.
        observed.fetch_add(held.points().saturating_sub(*opened_observed), Ordering::Relaxed);
    }
    if from >= held.next {
        return spool.advance(held.next).await;
    }
    let mut own = Vec::new();
    loop {
        let records = spool.read(from, READ_BYTES).await?;
        let Some(last) = records.last() else { break };
        from = last.index + 1;
        own.extend(records.into_iter().map(|record| record.payload));
    }

    // They are gone from where they were, for good, before they are somewhere else: a collector that is set back to an older copy may want
    // the records of both places. Should the process end in between, they are missing and counted.
    spool.advance(held.next.max(spool.stats().next)).await?;
    for payload in own {
        spool.append(payload).await?;
    }
    spool.flush().await.map(drop)
}

/// Has health say what is wrong with a part, or that nothing is; the log hears of it when it is news.
fn report(counters: &Counters, part: Part, problem: Option<String>) {
    match problem {
        Some(problem) => {
            if counters.set_trouble_of(part, format!("metrics: {problem}")) {
                tracing::error!("metrics: {problem}");
            }
        }
        None => {
            if counters.clear_trouble(part) {
                tracing::info!("metrics: the spool works again");
            }
        }
    }
}

/// Hands records on to the pipeline, from the first one that the collector does not `hold`, until `stop`; none when the spool could not be
/// brought in line with it.
pub async fn replay(
    recording: Arc<Recording>,
    carried: Result<Held, SpoolError>,
    out: Sender<Vec<Input>>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    beat: Beat,
) {
    let held = match carried {
        Ok(held) => held,
        Err(error) => {
            let problem = format!("{error}; metrics are not shipped until the agent is restarted");
            report(&counters, Part::Replaying, Some(problem));
            return stop.cancelled().await;
        }
    };
    let mut replay = Replay::new(&recording, held, &counters);
    tokio::select! { () = replay.run(&out, &beat) => {}, () = stop.cancelled() => {} }
}

/// Records on their way from the spool to the pipeline.
struct Replay<'a> {
    recording: &'a Recording,
    counters: &'a Counters,
    held: Held,
    /// The next record to read.
    next: u64,
    /// The record before the next one can't be read.
    damaged: bool,
    /// The collector acknowledged more, and was restored from an older copy: what is missing at first was given up by then.
    restored: bool,
}

impl<'a> Replay<'a> {
    fn new(recording: &'a Recording, held: Held, counters: &'a Counters) -> Self {
        let next = held.next;
        let restored = next < recording.given_up.load(Ordering::Relaxed);
        Self { recording, counters, held, next, damaged: false, restored }
    }

    /// Hands on what there is and what comes, until nobody takes it any more.
    async fn run(&mut self, out: &Sender<Vec<Input>>, beat: &Beat) {
        loop {
            beat.work();
            let records = self.recording.spool.read(self.next, READ_BYTES).await;
            beat.rest();
            match records {
                Ok(records) if records.is_empty() => {
                    report(self.counters, Part::Replaying, None);
                    self.recording.appended.notified().await;
                }
                Ok(records) => {
                    report(self.counters, Part::Replaying, None);
                    for input in records.into_iter().filter_map(|record| self.take(&record)) {
                        if out.send(vec![input]).await.is_err() {
                            return;
                        }
                    }
                }
                Err(SpoolError::Damaged { index, .. }) => self.leave_out(index, "is damaged"),
                Err(error) => {
                    let problem =
                        format!("{error}; what is in the spool waits, and is read again in a few seconds");
                    report(self.counters, Part::Replaying, Some(problem));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// The points of a record, and what is missing before them.
    fn take(&mut self, record: &Record) -> Option<Input> {
        let Some(points) = decode(&record.payload) else {
            self.leave_out(record.index, "is not metrics");
            return None;
        };
        self.next = record.index + 1;
        let unrecorded = &self.recording.unrecorded;
        let cause = match std::mem::take(&mut self.damaged) {
            true => DAMAGED,
            false if std::mem::take(&mut self.restored) => RESTORED,
            false if !unrecorded.is_empty() && points.first == unrecorded.end => CRASHED,
            false => FULL,
        };
        let missing = self.held.take(self.next, &points.range(), cause);
        self.counters.points_dropped.add(missing);
        Some(Input::Metrics { columns: points.columns, position: self.held.position() })
    }

    fn leave_out(&mut self, index: u64, reason: &'static str) {
        if let Some(left_out) = self.recording.said.again(&reason) {
            tracing::error!("metrics: record {index} of the spool {reason} and left out{left_out}");
        }
        self.next = index + 1;
        self.damaged = true;
    }
}

/// Gives up what the collector holds.
pub async fn trim(recording: Arc<Recording>, mut durable: watch::Receiver<u64>, beat: Beat) {
    while durable.changed().await.is_ok() {
        let _working = beat.working();
        let next = *durable.borrow_and_update();
        recording.given_up.fetch_max(next, Ordering::Relaxed);
        recording.complain("trim", recording.spool.trim(next.saturating_sub(1)).await);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lapwing::{
        columns::{Attributes, Column},
        v1::MetricKind,
    };
    use lapwing_service::watchdog::Watchdog;
    use lapwing_spool::{Options, sim::SimDisk};

    use super::*;

    async fn recording(disk: &SimDisk) -> Recording {
        let options = Options { memory_bytes: 1 << 20, ..Options::default() };
        let spool = Log::on(Box::new(disk.clone()), "sim".as_ref(), options).unwrap().0;
        Recording::new(spool, tempfile::tempdir().unwrap().path()).await.unwrap()
    }

    fn beat() -> Beat {
        Watchdog::default().part("metrics", Duration::from_secs(60)).begin()
    }

    fn wants(next: u64) -> Held {
        Held::at(next)
    }

    async fn payloads(recording: &Recording, from: u64) -> Vec<(u64, Bytes)> {
        let records = recording.spool.read(from, 1 << 20).await.unwrap();
        records.into_iter().map(|record| (record.index, record.payload)).collect()
    }

    #[tokio::test]
    async fn points_recorded_before_the_lease_outlive_a_state_directory_that_is_behind() {
        let recording = recording(&SimDisk::default()).await;
        for payload in ["a", "b"] {
            recording.spool.append(payload.into()).await.unwrap();
        }
        carry_over(&recording, &wants(100)).await.unwrap();
        assert_eq!(payloads(&recording, 100).await, [(100, "a".into()), (101, "b".into())]);
        carry_over(&recording, &wants(101)).await.unwrap();
        assert_eq!(
            payloads(&recording, 101).await,
            [(101, "b".into())],
            "what the collector holds is not moved"
        );
    }

    #[tokio::test]
    async fn records_that_moved_are_in_one_place_also_after_a_crash() {
        let disk = SimDisk::default();
        let before = recording(&disk).await;
        for payload in ["a", "b"] {
            before.spool.append(payload.into()).await.unwrap();
        }
        before.flush().await;
        before.spool.append("c".into()).await.unwrap();
        // Some have an index below, some have not: their order is that in which they were observed.
        carry_over(&before, &wants(2)).await.unwrap();
        let moved = [(4, "a".into()), (5, "b".into()), (6, "c".into())];
        assert_eq!(payloads(&before, 1).await, moved);
        drop(before);
        disk.crash(|_| 0);
        // A collector that was set back to an older copy wants them from the first on.
        assert_eq!(payloads(&recording(&disk).await, 1).await, moved);
    }

    #[tokio::test]
    async fn records_of_an_earlier_process_that_the_collector_holds_do_not_come_back() {
        let disk = SimDisk::default();
        let earlier = recording(&disk).await;
        earlier.spool.append("old".into()).await.unwrap();
        earlier.flush().await;
        drop(earlier);
        let recording = recording(&disk).await;
        recording.spool.append("new".into()).await.unwrap();
        carry_over(&recording, &wants(2)).await.unwrap();
        assert_eq!(payloads(&recording, 1).await, [(2, "new".into())]);
    }

    fn a_point(time: u64) -> MetricColumns {
        MetricColumns {
            time: Column::constant(1, time),
            start_time: Column::constant(1, 0),
            name: Column::constant(1, "x".into()),
            unit: Column::constant(1, "1".into()),
            kind: Column::constant(1, MetricKind::Gauge as u8),
            attributes: Column::constant(1, Attributes::default()),
            value: Column::constant(1, 1.0),
            histogram: Column::constant(1, None),
        }
    }

    /// Replays from what the collector holds, and gives the first position that is handed on.
    async fn first_position(recording: &Arc<Recording>, held: Held, counters: &Arc<Counters>) -> Held {
        let (out, mut inputs) = tokio::sync::mpsc::channel(1);
        let stop = CancellationToken::new();
        let replaying = tokio::spawn(replay(
            Arc::clone(recording),
            Ok(held),
            out,
            Arc::clone(counters),
            stop.clone(),
            beat(),
        ));
        let input = inputs.recv().await.unwrap().remove(0);
        stop.cancel();
        replaying.await.unwrap();
        match input {
            Input::Metrics { position, .. } => Held::new(&[position]),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn points_that_a_restored_collector_lost_and_the_agent_gave_up_are_counted_by_that_cause() {
        let recording = Arc::new(recording(&SimDisk::default()).await);
        let counters = Arc::new(Counters::default());
        for time in 0..6 {
            recording.spool.append(encode(time, a_point(time))).await.unwrap();
        }
        let (durable, trimmed) = watch::channel(0);
        let trimming = tokio::spawn(trim(Arc::clone(&recording), trimmed, beat()));
        durable.send_replace(5);
        drop(durable);
        trimming.await.unwrap();

        // It held the first two records when it was copied.
        let mut held = Held::at(1);
        for point in 0..2 {
            held.take(point + 2, &(point..point + 1), FULL);
        }
        let first = first_position(&recording, held, &counters).await;
        assert_eq!(first.position().events_dropped.get(RESTORED), Some(&2), "{first:?}");
        assert_eq!((first.points(), counters.points_dropped.get()), (5, 2));
    }

    #[tokio::test]
    async fn a_spool_that_is_broken_is_reported_by_health_until_it_works() {
        let disk = SimDisk::default();
        let recording = Arc::new(recording(&disk).await);
        let counters = Arc::new(Counters::default());
        counters.set_shipping();
        let (points, observed) = tokio::sync::mpsc::channel(1);
        let observed = Arc::new(Mutex::new(observed));
        let recorder = tokio::spawn(record(observed, Arc::clone(&recording), Arc::clone(&counters), beat()));
        points.send(a_point(1)).await.unwrap();
        disk.fail_next_sync();
        // What waits is made durable with the next points.
        points.send(a_point(2)).await.unwrap();
        points.send(a_point(3)).await.unwrap();
        drop(points);
        recorder.await.unwrap();
        let told = counters.health().unwrap_err();
        assert!(told.contains("metrics: spool sim is poisoned") && told.contains("restart"), "{told}");
    }
}
