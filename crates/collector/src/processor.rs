//! Workers that turn journaled batches into rows, and a sequencer that hands these to the tables in the journal's order.
//!
//! Every journal record passes here exactly once, with rows or without: the tables' position moves with it. What is on its way is bounded by a
//! byte budget that [`Processor::reserve`] gives out before a batch is decoded.

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
    thread,
    time::{Duration, Instant},
};

use arrow::record_batch::RecordBatch;
use lapwing::columns::Columns;
use lapwing_store::{
    Table, Tables,
    rows::{About, record_batch},
};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, mpsc as async_mpsc};

use crate::{counters::Counters, left_out::LeftOut};

/// Bytes on their way from the wire to the tables, as they lie in memory.
const BUDGET: usize = 48 << 20;
/// What one batch may become: a half, so that there are always two under way.
const LARGEST: usize = BUDGET / 2;
/// Unit of the budget.
const UNIT: usize = 1 << 10;

/// Room for a batch on its way. It is given back when the rows are in the tables.
#[derive(Debug)]
pub struct Room {
    room: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Room {
    /// How many bytes.
    pub fn bytes(&self) -> usize {
        self.room.num_permits() * UNIT
    }
}

/// A sender's share of the room. Of each sender one batch waits at a time, so all are served in turn, and its batches have a half of the room
/// at most: whatever one sends, others come through.
#[derive(Debug)]
pub struct Share {
    waiting: AsyncMutex<()>,
    own: Arc<Semaphore>,
}

impl Default for Share {
    fn default() -> Self {
        Self { waiting: AsyncMutex::default(), own: Arc::new(Semaphore::new(LARGEST / UNIT)) }
    }
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
    budget: Arc<Semaphore>,
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

impl Processor {
    /// Starts `workers` threads and the sequencer; `next` is the first journal record that is to pass. `books` are told of rows that are
    /// left out.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        workers: usize,
        next: u64,
        tables: Arc<Tables>,
        books: LeftOut,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        // Unbounded, but every job in it holds room of the budget.
        let (done, finished) = async_mpsc::unbounded_channel();
        let (failed, left_out) = async_mpsc::unbounded_channel();
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..workers {
            let (inbox, counters) = (Arc::clone(&inbox), Arc::clone(&counters));
            let (done, failed) = (done.clone(), failed.clone());
            thread::Builder::new()
                .name("processor".to_owned())
                .spawn(move || work(&inbox, &done, &failed, &counters))?;
        }
        let progress = Arc::new(Progress {
            handed: AtomicU64::new(0),
            next: AtomicU64::new(next),
            waits_for_room: AtomicBool::new(false),
            seen: Mutex::new((next, Instant::now())),
        });
        tokio::spawn(sequence(finished, Arc::clone(&progress), tables));
        tokio::spawn(book(left_out, books, done.clone(), Arc::clone(&progress)));
        Ok(Self { jobs, done, budget: Arc::new(Semaphore::new(BUDGET / UNIT)), progress })
    }

    /// Most bytes that a batch may become.
    pub fn largest(&self) -> usize {
        LARGEST
    }

    /// Waits for room for a batch of a sender that becomes so many bytes, at most [`Processor::largest`]; senders have it in turn.
    pub async fn reserve(&self, share: &Share, bytes: usize) -> Option<Room> {
        let units = u32::try_from(bytes.div_ceil(UNIT).max(1)).ok()?;
        let _waiting = share.waiting.lock().await;
        let own = Arc::clone(&share.own).acquire_many_owned(units).await.ok()?;
        let room = Arc::clone(&self.budget).acquire_many_owned(units).await.ok()?;
        Some(Room { room, _own: own })
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

fn work(
    inbox: &Mutex<mpsc::Receiver<Job>>,
    done: &async_mpsc::UnboundedSender<Done>,
    failed: &async_mpsc::UnboundedSender<Failed>,
    counters: &Counters,
) {
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { index, columns, about, room }) = job else { return };
        let sent = match isolated(counters, || record_batch(&columns, &about)) {
            Ok(rows) => done.send((index, Some(rows), room)).is_ok(),
            Err(error) => {
                counters.unreadable_records.add(1);
                tracing::error!("journal record {index}: {error}; its rows are left out");
                failed.send((index, room)).is_ok()
            }
        };
        if !sent {
            return;
        }
    }
}

/// Has the books know of rows that are left out; then their record passes.
async fn book(
    mut failed: async_mpsc::UnboundedReceiver<Failed>,
    books: LeftOut,
    done: async_mpsc::UnboundedSender<Done>,
    progress: Arc<Progress>,
) {
    while let Some((index, room)) = failed.recv().await {
        if let Some(booked) = books.book(index).await {
            progress.handed.fetch_max(booked, Ordering::AcqRel);
            let _ = done.send((booked, None, None));
        }
        let _ = done.send((index, None, room));
    }
}

/// Runs `make`; a panic in it costs neither the thread nor the records behind, which wait for this one. It is tried once more: what
/// went wrong may have been the moment and not the record.
fn isolated<T, E: Display>(counters: &Counters, make: impl Fn() -> Result<T, E>) -> Result<T, String> {
    let mut reason = None;
    for _ in 0..2 {
        match catch_unwind(AssertUnwindSafe(&make)) {
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
) {
    let mut next = progress.next.load(Ordering::Acquire);
    let mut early = BTreeMap::new();
    while let Some((index, rows, room)) = finished.recv().await {
        // One that comes twice is here already.
        if index < next {
            continue;
        }
        early.insert(index, (rows, room));
        while let Some((rows, room)) = early.remove(&next) {
            progress.waits_for_room.store(true, Ordering::Release);
            tables.append(next, rows).await;
            progress.waits_for_room.store(false, Ordering::Release);
            drop(room);
            next += 1;
            progress.next.store(next, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

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
