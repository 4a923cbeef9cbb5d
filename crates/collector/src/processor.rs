//! Workers that turn journaled batches into rows, and a sequencer that hands these to the tables in the journal's order.
//!
//! Every journal record passes here exactly once, with rows or without: the tables' position moves with it. What is on its way is bounded by a
//! byte budget ([`Shares::decode`]) of which [`Processor::reserve`] gives a part before a batch is decoded.

pub mod stage;

mod recognise;

use std::{
    collections::BTreeMap,
    fmt::Display,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use arrow::record_batch::RecordBatch;
use lapwing::columns::Columns;
use lapwing_service::{
    said::Said,
    watchdog::{Beat, Fault, Watchdog, once},
};
use lapwing_store::{
    Table, Tables,
    rows::{About, record_batch},
};
use tokio::{sync::mpsc as async_mpsc, task::JoinSet};

use self::stage::Stages;
use crate::{
    counters::Counters,
    left_out::LeftOut,
    share::{Holder, Permit, Shares, UNIT},
};

/// How long the rows of one record may take to be made, and to be handed to tables that have room.
const HANGS: Duration = Duration::from_secs(30);

/// Room for a batch on its way. It is given back when the rows are in the tables.
#[derive(Debug)]
pub struct Room {
    permit: Permit,
    /// Bytes of it that stages may add.
    for_stages: usize,
}

impl Room {
    /// How many bytes.
    pub fn bytes(&self) -> usize {
        self.permit.units() * UNIT
    }

    /// Gives back what is not needed for a batch that becomes so many bytes, of which stages add some.
    #[must_use]
    pub fn fitted(mut self, bytes: usize, for_stages: usize) -> Self {
        self.permit.keep(units(bytes));
        self.for_stages = for_stages;
        self
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT).max(1)
}

/// A journaled record.
#[derive(Debug)]
struct Job {
    index: u64,
    columns: Columns,
    about: About,
    room: Option<Room>,
}

type Done = (u64, Option<(Table, RecordBatch)>, Option<Room>);
/// A record whose rows are left out.
type Failed = (u64, Option<Room>);

/// Handle to workers and sequencer.
#[derive(Debug, Clone)]
pub struct Processor {
    jobs: mpsc::Sender<Job>,
    done: async_mpsc::UnboundedSender<Done>,
    shares: Arc<Shares>,
    stages: Stages,
    progress: Arc<Progress>,
}

/// How far the sequencer is.
#[derive(Debug)]
struct Progress {
    /// Newest record that was handed over, and the one that passes next.
    handed: AtomicU64,
    next: AtomicU64,
    /// A record waits for the tables to have room: that is the store's doing.
    waits_for_room: AtomicBool,
    /// What `next` was when it was last seen to move, and when.
    seen: Mutex<(u64, Instant)>,
}

impl Progress {
    /// For how long records have been waiting behind one that does not come; nothing when none waits.
    fn stalled(&self) -> Duration {
        let next = self.next.load(Ordering::Acquire);
        let idle = self.handed.load(Ordering::Acquire) < next;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if idle || seen.0 != next || self.waits_for_room.load(Ordering::Acquire) {
            *seen = (next, Instant::now());
        }
        seen.1.elapsed()
    }
}

/// What a processor needs.
#[derive(Debug)]
pub struct ProcessorOptions<'a> {
    /// Threads.
    pub workers: usize,
    /// The first journal record that is to pass.
    pub next: u64,
    /// Where rows go.
    pub tables: Arc<Tables>,
    /// Are told of rows that are left out.
    pub books: LeftOut,
    /// Where room for batches comes from.
    pub shares: Arc<Shares>,
    /// What happens to rows on the way.
    pub stages: Stages,
    /// The collector's counts.
    pub counters: Arc<Counters>,
    /// Watches the threads and the sequencer. None of them can be started again: what it had in hand is gone, and the records behind wait for it.
    pub watchdog: &'a Watchdog,
    /// Holds what tells the watchdog of their end.
    pub background: &'a mut JoinSet<()>,
}

impl Processor {
    /// Starts the threads and the sequencer.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(options: ProcessorOptions<'_>) -> io::Result<Self> {
        let ProcessorOptions { workers, next, tables, books, shares, stages, counters, watchdog, background } =
            options;
        let (jobs, inbox) = mpsc::channel();
        // Unbounded, but every job in it holds room of the budget.
        let (done, finished) = async_mpsc::unbounded_channel();
        let (failed, left_out) = async_mpsc::unbounded_channel();
        let worker = Worker {
            inbox: Arc::new(Mutex::new(inbox)),
            done: done.clone(),
            failed,
            stages: stages.clone(),
            counters,
            said: Arc::default(),
        };
        for number in 1..=workers {
            let (part, worker) = (watchdog.vital_part(format!("worker-{number}"), HANGS), worker.clone());
            let mut running = part.start_thread(move |beat| worker.run(beat))?;
            background.spawn(async move { part.fail(&running.fault().await) });
        }

        let progress = Arc::new(Progress {
            handed: AtomicU64::new(0),
            next: AtomicU64::new(next),
            waits_for_room: AtomicBool::new(false),
            seen: Mutex::new((next, Instant::now())),
        });
        let (part, own) = (watchdog.vital_part("sequencer", HANGS), Arc::clone(&progress));
        background.spawn(async move {
            let ended = once(&part, move |beat| sequence(finished, own, tables, beat)).await;
            part.fail(&ended.err().unwrap_or(Fault::Ended));
        });
        let (part, booked) = (watchdog.vital_part("books", HANGS), (done.clone(), Arc::clone(&progress)));
        background.spawn(async move {
            let ended = once(&part, move |beat| book(left_out, books, booked, beat)).await;
            part.fail(&ended.err().unwrap_or(Fault::Ended));
        });
        Ok(Self { jobs, done, shares, stages, progress })
    }

    /// What happens to rows on the way.
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Most bytes that a batch may become.
    pub fn largest(&self) -> usize {
        self.shares.decode.most() * UNIT
    }

    /// Waits for room for a batch of `holder` that becomes so many bytes; `None` when they are more than [`Processor::largest`].
    pub async fn reserve(&self, holder: &Holder, bytes: usize) -> Option<Room> {
        let permit = self.shares.decode.take(holder, units(bytes))?.await;
        Some(Room { permit, for_stages: 0 })
    }

    /// Takes the batch of journal record `index`.
    pub fn rows(&self, index: u64, columns: Columns, about: About, room: Option<Room>) {
        self.handed(index);
        // The threads live as long as this handle.
        let _ = self.jobs.send(Job { index, columns, about, room });
    }

    /// Takes journal record `index`, which has no rows.
    pub fn nothing(&self, index: u64) {
        self.handed(index);
        let _ = self.done.send((index, None, None));
    }

    /// The record that passes next, and for how long others have been waiting behind it.
    pub fn stalled(&self) -> (u64, Duration) {
        (self.progress.next.load(Ordering::Acquire), self.progress.stalled())
    }

    fn handed(&self, index: u64) {
        self.progress.handed.fetch_max(index, Ordering::AcqRel);
    }
}

/// What a worker thread has.
#[derive(Clone)]
struct Worker {
    inbox: Arc<Mutex<mpsc::Receiver<Job>>>,
    done: async_mpsc::UnboundedSender<Done>,
    failed: async_mpsc::UnboundedSender<Failed>,
    stages: Stages,
    counters: Arc<Counters>,
    said: Arc<Said<&'static str>>,
}

impl Worker {
    fn run(&self, beat: &Beat) {
        loop {
            let job = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Job { index, mut columns, about, room }) = job else { return };
            let _working = beat.working();
            self.stages(&about, &mut columns, room.as_ref().map_or(0, |room| room.for_stages));
            let sent = match isolated(&self.counters, || record_batch(&columns, &about)) {
                Ok(rows) => self.done.send((index, Some(rows), room)).is_ok(),
                Err(error) => {
                    self.left_out(index, &error);
                    self.failed.send((index, room)).is_ok()
                }
            };
            if !sent {
                return;
            }
        }
    }

    fn left_out(&self, index: u64, error: &str) {
        self.counters.unreadable_records.add(1);
        if let Some(left_out) = self.said.again(&"rows") {
            tracing::error!("journal record {index}: {error}; its rows are left out{left_out}");
        }
    }
}

/// Has the books know of rows that are left out; then their record passes.
async fn book(
    mut failed: async_mpsc::UnboundedReceiver<Failed>,
    books: LeftOut,
    (done, progress): (async_mpsc::UnboundedSender<Done>, Arc<Progress>),
    beat: Beat,
) {
    while let Some((index, room)) = failed.recv().await {
        let _working = beat.working();
        if let Some(booked) = books.book(index).await {
            progress.handed.fetch_max(booked, Ordering::AcqRel);
            let _ = done.send((booked, None, None));
        }
        let _ = done.send((index, None, room));
    }
}

impl Worker {
    /// Runs the stages. The rows go on as they came to one that fails.
    fn stages(&self, about: &About, columns: &mut Columns, room: usize) {
        for stage in self.stages.iter() {
            let name = stage.name();
            if let Err(error) = isolated(&self.counters, || stage.run(columns, about, room))
                && let Some(left_out) = self.said.again(&name)
            {
                let index = about.journal_index;
                tracing::error!(
                    "journal record {index}: {name}: {error}; its rows stay as they came{left_out}"
                );
            }
        }
    }
}

/// Runs `make`; a panic in it costs neither the thread nor the records behind, which wait for this one. It is tried once more: what
/// went wrong may have been the moment and not the record.
fn isolated<T, E: Display>(counters: &Counters, mut make: impl FnMut() -> Result<T, E>) -> Result<T, String> {
    let mut reason = None;
    for _ in 0..2 {
        match catch_unwind(AssertUnwindSafe(&mut make)) {
            Ok(made) => return made.map_err(|error| error.to_string()),
            Err(panic) => {
                counters.panics.add(1);
                let text = panic.downcast_ref::<String>().map(String::as_str);
                reason = text.or_else(|| panic.downcast_ref::<&str>().copied()).map(str::to_owned);
            }
        }
    }
    Err(format!("a worker panicked: {}", reason.as_deref().unwrap_or("without a word")))
}

/// Puts what the workers finish back into the journal's order.
async fn sequence(
    mut finished: async_mpsc::UnboundedReceiver<Done>,
    progress: Arc<Progress>,
    tables: Arc<Tables>,
    beat: Beat,
) {
    let mut next = progress.next.load(Ordering::Acquire);
    let mut early = BTreeMap::new();
    while let Some((index, rows, room)) = finished.recv().await {
        let _working = beat.working();
        // One that comes twice is here already.
        if index < next {
            continue;
        }
        early.insert(index, (rows, room));
        while let Some((rows, room)) = early.remove(&next) {
            // The tables may have no room for as long as the store is behind.
            beat.rest();
            progress.waits_for_room.store(true, Ordering::Release);
            tables.append(next, rows).await;
            progress.waits_for_room.store(false, Ordering::Release);
            beat.work();
            drop(room);
            next += 1;
            progress.next.store(next, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use lapwing::columns::{Attributes, Encoded, LogColumns};

    use super::*;

    /// Panics or fails after it has begun.
    #[derive(Debug)]
    struct Broken(bool);

    impl stage::Stage for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }

        fn adds(&self, _: &Encoded) -> usize {
            0
        }

        fn adds_usually(&self, _: usize) -> usize {
            0
        }

        fn run(&self, _: &mut Columns, _: &About, _: usize) -> Result<(), stage::StageError> {
            assert!(!self.0, "for a test");
            Err(stage::StageError::Rows { rows: 1, expected: 2 })
        }
    }

    #[test]
    fn rows_go_on_as_they_came_to_a_stage_that_panics_or_fails() {
        let (_jobs, inbox) = mpsc::channel();
        let (done, _finished) = async_mpsc::unbounded_channel();
        let worker = Worker {
            inbox: Arc::new(Mutex::new(inbox)),
            done,
            failed: async_mpsc::unbounded_channel().0,
            stages: Stages::of(vec![Box::new(Broken(true)), Box::new(Broken(false))]),
            counters: Arc::default(),
            said: Arc::default(),
        };
        let before = Columns::Logs(LogColumns::lines("a".into(), 1, 1, "a\n".into()));
        let mut columns = before.clone();
        let resource = Attributes::default();
        let about = About { agent: String::new(), resource, time_zone: String::new(), journal_index: 1 };
        worker.stages(&about, &mut columns, usize::MAX);
        assert_eq!(columns, before);
        assert_eq!(worker.counters.panics.get(), 2);
    }

    #[test]
    fn a_panic_is_isolated_and_tried_once_more() {
        let (counters, calls) = (Counters::default(), Cell::new(0));
        let once = || {
            calls.set(calls.get() + 1);
            if calls.get() == 1 { panic!("for once") } else { Ok::<_, String>(calls.get()) }
        };
        assert_eq!(isolated(&counters, once), Ok(2));
        assert_eq!(counters.panics.get(), 1);
        let always = || -> Result<(), String> { panic!("{}", "always") };
        assert_eq!(isolated(&counters, always).unwrap_err(), "a worker panicked: always");
        assert_eq!(counters.panics.get(), 3);
        assert_eq!(isolated(&counters, || Err::<(), _>("wrong")).unwrap_err(), "wrong");
    }
}
