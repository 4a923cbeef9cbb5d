//! The newest rows in memory, and the store behind them, as one.
//!
//! - Rows are visible to queries and tails as soon as [`Tables::append`] returns.
//! - They are flushed when they are many or old. While a flush is under way its rows are still read from memory; when it is
//!   committed they leave memory in the same moment as the view's snapshot of the store moves on. So a [`View`] holds each
//!   row exactly once.
//! - Nothing is kept for a tail: it remembers up to which row it has read ([`Tables::after`]), and what left memory before that is told as missed.
//! - When the store is slower than the rows come, `append` waits: the pressure goes back to the agents.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arrow::record_batch::RecordBatch;
use tokio::sync::{Notify, watch};

use crate::{Flush, LakeSnapshot, Store, StoreError, Table};

/// Longest pause between two tries of a flush.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// When rows leave memory.
#[derive(Debug, Clone)]
pub struct TablesOptions {
    /// Flush when this many bytes of rows are in memory.
    pub flush_bytes: usize,
    /// Flush when the oldest row is in memory for this long.
    pub flush_age: Duration,
    /// Appends wait while more than this many bytes are in memory.
    pub max_bytes: usize,
}

impl Default for TablesOptions {
    fn default() -> Self {
        Self { flush_bytes: 32 << 20, flush_age: Duration::from_secs(10), max_bytes: 64 << 20 }
    }
}

/// The rows of one moment, each exactly once.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Rows in memory, in order of arrival.
    pub memory: Vec<(Table, RecordBatch)>,
    /// Rows in the store.
    pub lake: LakeSnapshot,
}

/// Rows of a table behind a position in it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The rows.
    pub rows: RecordBatch,
    /// The position of the first of them: how many rows of the table came before it.
    pub position: u64,
}

/// Figures.
#[derive(Debug, Clone, Default)]
pub struct TablesStats {
    /// Bytes of rows in memory.
    pub memory_bytes: usize,
    /// Flushes committed.
    pub flushes: u64,
    /// Why the last flush failed; `None` when it did not.
    pub flush_error: Option<String>,
}

/// The tables of a collector.
pub struct Tables {
    store: Arc<dyn Store>,
    options: TablesOptions,
    state: Mutex<State>,
    /// Rows came, or went.
    changed: Notify,
    room: Notify,
    /// Journal position that the store has committed.
    committed: watch::Sender<u64>,
    /// Journal position up to which rows are visible.
    visible: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    fresh: Vec<(Table, RecordBatch)>,
    fresh_bytes: usize,
    oldest: Option<Instant>,
    /// Rows of the flush under way.
    flushing: Vec<(Table, RecordBatch)>,
    flushing_bytes: usize,
    lake: LakeSnapshot,
    /// Every journal record up to this one was appended.
    through: u64,
    closing: bool,
    /// Rows that ever came, by table.
    arrived: [u64; Table::ALL.len()],
    stats: TablesStats,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Tables {
    /// Opens the tables over `store`.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn open(store: Arc<dyn Store>, options: TablesOptions) -> Result<Arc<Self>, StoreError> {
        let through = store.committed().await?;
        let lake = store.snapshot().await?;
        Ok(Arc::new(Self {
            store,
            options,
            state: Mutex::new(State { lake, through, ..State::default() }),
            changed: Notify::new(),
            room: Notify::new(),
            committed: watch::Sender::new(through),
            visible: watch::Sender::new(through),
        }))
    }

    /// Adds the rows of journal record `index`; records come in order, and one that came before is left out. A record without rows only moves the position.
    pub async fn append(&self, index: u64, rows: Option<(Table, RecordBatch)>) {
        loop {
            let room = self.room.notified();
            if self.has_room() {
                break;
            }
            room.await;
        }
        let has_rows = rows.is_some();
        let full = {
            let mut state = self.state();
            if index <= state.through {
                // A replay brought it again: it is here, or in the store.
                return;
            }
            state.through = index;
            if let Some((table, batch)) = rows.filter(|(_, batch)| batch.num_rows() > 0) {
                state.arrived[table as usize] += batch.num_rows() as u64;
                state.fresh_bytes += batch.get_array_memory_size();
                state.oldest.get_or_insert_with(Instant::now);
                state.fresh.push((table, batch));
            }
            state.fresh_bytes >= self.options.flush_bytes || state.fresh.len() == 1
        };
        if full {
            self.changed.notify_one();
        }
        if has_rows {
            self.visible.send_replace(index);
        }
    }

    /// The rows of this moment.
    pub fn view(&self) -> View {
        let state = self.state();
        let memory = state.flushing.iter().chain(&state.fresh).cloned().collect();
        View { memory, lake: state.lake.clone() }
    }

    /// The journal position up to which rows are visible, and its changes.
    pub fn visible(&self) -> watch::Receiver<u64> {
        self.visible.subscribe()
    }

    /// How many rows of `table` have come so far: the position of the next one.
    pub fn position(&self, table: Table) -> u64 {
        self.state().arrived[table as usize]
    }

    /// The first rows of `table` from `position` on that are in memory, of one batch; `None` when none came after it. Their own position is
    /// a later one when rows in between have left memory.
    pub fn after(&self, table: Table, position: u64) -> Option<Arrival> {
        let state = self.state();
        let in_memory = || state.flushing.iter().chain(&state.fresh).filter(|(of, _)| *of == table);
        let rows: u64 = in_memory().map(|(_, batch)| batch.num_rows() as u64).sum();
        let mut first = state.arrived[table as usize].saturating_sub(rows);
        for (_, batch) in in_memory() {
            let end = first + batch.num_rows() as u64;
            if end > position {
                let read = position.saturating_sub(first) as usize;
                let rows = batch.slice(read, batch.num_rows() - read);
                return Some(Arrival { rows, position: first + read as u64 });
            }
            first = end;
        }
        None
    }

    /// The journal position that the store has committed, and its changes.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// Figures.
    pub fn stats(&self) -> TablesStats {
        let state = self.state();
        TablesStats { memory_bytes: state.fresh_bytes + state.flushing_bytes, ..state.stats.clone() }
    }

    /// Flushes as rows come, until [`Tables::close`]; then once more.
    pub async fn run(&self) {
        loop {
            let changed = self.changed.notified();
            let (due, closing) = self.due();
            match due {
                Some(Duration::ZERO) => {
                    if !self.flush().await {
                        return;
                    }
                }
                _ if closing => return,
                Some(wait) => {
                    let _ = tokio::time::timeout(wait, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// Lets [`Tables::run`] flush what is there, and end.
    pub fn close(&self) {
        self.state().closing = true;
        self.changed.notify_one();
        self.room.notify_waiters();
    }

    /// Once the tables are closed nothing may leave memory any more, and no one waits for it: the journal has the rows.
    fn has_room(&self) -> bool {
        let state = self.state();
        state.closing || state.fresh_bytes + state.flushing_bytes <= self.options.max_bytes
    }

    /// How long until the next flush is due; `None` while there is nothing to flush.
    fn due(&self) -> (Option<Duration>, bool) {
        let state = self.state();
        let behind = state.through > *self.committed.borrow();
        let due = match state.oldest {
            Some(_) if state.closing || state.fresh_bytes >= self.options.flush_bytes => Some(Duration::ZERO),
            Some(oldest) => Some(self.options.flush_age.saturating_sub(oldest.elapsed())),
            None => (behind && state.closing).then_some(Duration::ZERO),
        };
        (due, state.closing)
    }

    /// Commits what is in memory, trying until it is done or the tables are closing. When that leaves it undone, nothing
    /// later may be committed: its position would cover rows that are not in the store.
    async fn flush(&self) -> bool {
        let flush = self.begin_flush();
        let mut pause = Duration::from_millis(200);
        loop {
            match self.commit(&flush).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::error!("flush through journal record {}: {error}; trying again", flush.through);
                    let mut state = self.state();
                    state.stats.flush_error = Some(error.to_string());
                    if state.closing {
                        // The rows are in the journal: the next start brings them back.
                        return false;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn begin_flush(&self) -> Flush {
        let mut state = self.state();
        state.flushing = mem::take(&mut state.fresh);
        state.flushing_bytes = mem::take(&mut state.fresh_bytes);
        state.oldest = None;
        let of =
            |table| state.flushing.iter().filter(move |(t, _)| *t == table).map(|(_, batch)| batch.clone());
        let tables = Table::ALL.map(|table| (table, of(table).collect::<Vec<_>>()));
        let tables = tables.into_iter().filter(|(_, batches)| !batches.is_empty()).collect();
        Flush { through: state.through, tables }
    }

    async fn commit(&self, flush: &Flush) -> Result<(), StoreError> {
        self.store.commit(flush).await?;
        let lake = self.store.snapshot().await?;
        {
            let mut state = self.state();
            state.lake = lake;
            state.flushing = Vec::new();
            state.flushing_bytes = 0;
            state.stats.flushes += 1;
            state.stats.flush_error = None;
        }
        self.committed.send_replace(flush.through);
        self.room.notify_waiters();
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
