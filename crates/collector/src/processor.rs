//! Workers that turn journaled batches into rows, and a sequencer that hands these to the tables in the journal's order.
//!
//! Every journal record passes here exactly once, with rows or without: the tables' position moves with it. What is on its way is bounded by a
//! byte budget that [`Processor::reserve`] gives out before a batch is decoded.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use arrow::record_batch::RecordBatch;
use lapwing::columns::Columns;
use lapwing_store::{
    Table, Tables,
    rows::{About, record_batch},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc as async_mpsc};

use crate::counters::Counters;

/// Bytes on their way from the wire to the tables, as they lie in memory. With the rows in the tables, a flush and a query it all stays
/// below 384 MB.
const BUDGET: usize = 24 << 20;
/// What a row takes in memory beside its own text: times, views of its columns, its number.
const ROW: usize = 160;
/// Unit of the budget.
const UNIT: usize = 1 << 10;

/// Room for a batch on its way. It is given back when the rows are in the tables.
#[derive(Debug)]
pub struct Room(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// A journaled record.
#[derive(Debug)]
struct Job {
    index: u64,
    columns: Columns,
    about: About,
    room: Option<Room>,
}

type Done = (u64, Option<(Table, RecordBatch)>, Option<Room>);

/// Handle to workers and sequencer.
#[derive(Debug, Clone)]
pub struct Processor {
    jobs: mpsc::Sender<Job>,
    done: async_mpsc::UnboundedSender<Done>,
    budget: Arc<Semaphore>,
}

impl Processor {
    /// Starts `workers` threads and the sequencer; `next` is the first journal record that is to pass.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        workers: usize,
        next: u64,
        tables: Arc<Tables>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        // Unbounded, but every job in it holds room of the budget.
        let (done, finished) = async_mpsc::unbounded_channel();
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..workers {
            let (inbox, done, counters) = (Arc::clone(&inbox), done.clone(), Arc::clone(&counters));
            thread::Builder::new()
                .name("processor".to_owned())
                .spawn(move || work(&inbox, &done, &counters))?;
        }
        tokio::spawn(sequence(finished, next, tables));
        Ok(Self { jobs, done, budget: Arc::new(Semaphore::new(BUDGET / UNIT)) })
    }

    /// Waits for room for a batch of `bytes` uncompressed bytes in so many `rows`; who came first has it first.
    pub async fn reserve(&self, bytes: usize, rows: usize) -> Option<Room> {
        let bytes = rows.saturating_mul(ROW).saturating_add(bytes);
        let units = (bytes.min(BUDGET) / UNIT).max(1) as u32;
        Arc::clone(&self.budget).acquire_many_owned(units).await.ok().map(Room)
    }

    /// Takes the batch of journal record `index`.
    pub fn rows(&self, index: u64, columns: Columns, about: About, room: Option<Room>) {
        // The threads live as long as this handle.
        let _ = self.jobs.send(Job { index, columns, about, room });
    }

    /// Takes journal record `index`, which has no rows.
    pub fn nothing(&self, index: u64) {
        let _ = self.done.send((index, None, None));
    }
}

fn work(inbox: &Mutex<mpsc::Receiver<Job>>, done: &async_mpsc::UnboundedSender<Done>, counters: &Counters) {
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { index, columns, about, room }) = job else { return };
        let rows = isolated(counters, || record_batch(&columns, &about));
        if let Err(error) = &rows {
            counters.unreadable_records.add(1);
            tracing::error!("journal record {index}: {error}; its rows are left out");
        }
        let rows = rows.ok();
        if done.send((index, rows, room)).is_err() {
            return;
        }
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
async fn sequence(mut finished: async_mpsc::UnboundedReceiver<Done>, mut next: u64, tables: Arc<Tables>) {
    let mut early = BTreeMap::new();
    while let Some((index, rows, room)) = finished.recv().await {
        early.insert(index, (rows, room));
        while let Some((rows, room)) = early.remove(&next) {
            tables.append(next, rows).await;
            drop(room);
            next += 1;
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
