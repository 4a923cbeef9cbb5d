//! Questions to query processes: one at a time for each, with a deadline and a share of the memory.

use std::{collections::VecDeque, fmt, io, sync::Arc, time::Duration};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

pub use super::worker::Program;
use super::{
    wire::{self, End, Frame, Joined, Question},
    worker::{Taken, Workers},
};
use crate::{
    Newest, QueryLimits, View,
    engine::{MAX_QUERY_BYTES, Need, QueryError},
    export::ArrowPieces,
};

/// Memory is shared out in these units.
const UNIT: usize = 64 << 10;
/// Least memory of a query.
const MIN_SHARE: usize = 16 << 20;
/// An answer is read ahead so far, so that one that ends within it is known whole before its first byte leaves.
const READ_AHEAD: usize = 256 << 10;

/// How questions are answered.
#[derive(Debug, Clone)]
pub struct AskerOptions {
    /// Bounds.
    pub limits: QueryLimits,
    /// Starts a query process.
    pub program: Program,
}

/// Answers SQL, by query processes.
///
/// A query gets its share of the memory, `max_memory / concurrency`. One for which that is not enough is tried once more, alone and with all
/// of it. So all queries together never have more, and one may still use everything. The first attempt of a query that gathers rows (sorts,
/// groups, joins) keeps its answer until it is whole: it never fails behind its first rows.
pub struct Asker {
    newest: Newest,
    limits: QueryLimits,
    workers: Arc<Workers>,
    /// Units of the memory of all queries.
    memory: Arc<Semaphore>,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Asker {
    /// Starts the first query process.
    ///
    /// # Errors
    /// When the folder for what queries spill can't be made.
    pub fn start(newest: Newest, options: AskerOptions) -> io::Result<Self> {
        let AskerOptions { limits, program } = options;
        let workers = Workers::start(program)?;
        let memory = Arc::new(Semaphore::new(units(limits.max_memory) as usize));
        Ok(Self { newest, limits, workers, memory })
    }

    /// Asks for at most `max_rows` rows, and no more than the limit. Returns when the first rows are there.
    ///
    /// # Errors
    /// When it is not a query, is wrong, or runs into a limit.
    pub async fn ask(&self, query: &str, max_rows: Option<usize>) -> Result<Rows, QueryError> {
        if query.len() > MAX_QUERY_BYTES {
            let (actual, limit) = (query.len(), MAX_QUERY_BYTES);
            let text = format!("the query is {actual} bytes long, at most {limit} are accepted");
            return Err(QueryError::Invalid(text));
        }
        let max_rows = max_rows.map_or(self.limits.max_rows, |rows| rows.min(self.limits.max_rows));
        let deadline = Instant::now() + self.limits.max_time;
        let all = self.limits.max_memory;
        let share = (all / self.limits.concurrency.max(1)).max(MIN_SHARE).min(all);

        match self.attempt(query, max_rows, share, deadline).await {
            Err(QueryError::Memory { .. }) if share < all => {
                self.attempt(query, max_rows, all, deadline).await
            }
            answer => answer,
        }
    }

    async fn attempt(
        &self,
        query: &str,
        max_rows: usize,
        memory: usize,
        deadline: Instant,
    ) -> Result<Rows, QueryError> {
        let answer = timeout_at(deadline, self.begin(query, max_rows, memory, deadline)).await;
        answer.unwrap_or(Err(QueryError::Timeout(self.limits.max_time)))
    }

    async fn begin(
        &self,
        query: &str,
        max_rows: usize,
        memory: usize,
        deadline: Instant,
    ) -> Result<Rows, QueryError> {
        let slot = Arc::clone(&self.memory).acquire_many_owned(units(memory)).await;
        let slot = slot.map_err(|error| QueryError::Failed(error.to_string()))?;
        let view = self.newest.view();
        let question = Question {
            query: query.to_owned(),
            max_rows,
            lake: view.lake.lake.clone(),
            memory,
            may_be_repeated: memory < self.limits.max_memory,
        };
        let mut taken = self.workers.take().await?;
        let mut needs = needs_of(&mut taken, &question).await;
        while needs.is_err() && taken.ended_while_it_waited() {
            // No fault of this query's.
            taken = self.workers.take().await?;
            needs = needs_of(&mut taken, &question).await;
        }

        let mut running = Running {
            taken,
            joined: Joined::default(),
            left: Duration::ZERO,
            limits: (self.limits.max_time, memory),
        };

        let handed_over = match needs {
            Ok(needs) => self.hand_over(&mut running, &needs, view).await,
            Err(error) => Err(error),
        };
        if let Err(error) = handed_over {
            return Err(running.failed(error));
        }

        let mut rows = Rows {
            schema: Arc::new(arrow::datatypes::Schema::empty()),
            read: VecDeque::new(),
            running: Some(running),
            truncated: None,
            slot: Some(Slot { _memory: slot }),
        };
        rows.read_ahead(deadline).await?;
        Ok(rows)
    }

    /// Sends the rows that only the collector has.
    async fn hand_over(&self, running: &mut Running, needs: &[Need], view: View) -> Result<(), QueryError> {
        let worker = running.taken.worker()?;
        for need in needs {
            let rows = self.newest.rows(&view, need).await?;
            let mut pieces: Option<ArrowPieces> = None;
            for batch in rows {
                if pieces.is_none() {
                    let (begun, first) = ArrowPieces::begin(&batch.schema()).map_err(failed)?;
                    worker.send(wire::ROWS, &first).await;
                    pieces = Some(begun);
                }
                if let Some(pieces) = &mut pieces {
                    worker.send(wire::ROWS, &pieces.batch(&batch).map_err(failed)?).await;
                }
            }
            // Rows without columns, as `count(*)` needs them, have no bytes of their own: a decoder gives them out at the
            // next byte.
            if let Some(pieces) = pieces {
                worker.send(wire::ROWS, &pieces.end().map_err(failed)?).await;
            }
            worker.send(wire::ROWS_END, &[]).await;
        }
        Ok(())
    }
}

/// Asks; returns what the query reads of the rows that only the collector has.
async fn needs_of(taken: &mut Taken, question: &Question) -> Result<Vec<Need>, QueryError> {
    let worker = taken.worker()?;
    worker.send(wire::ASK, &wire::json(question)).await;
    let needs = worker.receive().await?;
    if needs.kind != wire::NEEDS {
        return Err(unexpected(&needs));
    }
    wire::parse(&needs.payload)
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1)
}

fn failed(error: arrow::error::ArrowError) -> QueryError {
    QueryError::Failed(error.to_string())
}

fn unexpected(frame: &Frame) -> QueryError {
    QueryError::Failed(format!("its process sent an unexpected frame of kind {}", frame.kind))
}

/// A part of the memory of all queries. Whoever has taken over the last rows of an answer keeps it until they have left.
#[derive(Debug)]
pub struct Slot {
    _memory: OwnedSemaphorePermit,
}

/// A query that a process works on.
struct Running {
    taken: Taken,
    joined: Joined,
    /// Time that is left to it; what a reader takes does not count.
    left: Duration,
    /// Its time and its memory.
    limits: (Duration, usize),
}

impl Running {
    /// Ends it with an error. A process that has only found the query wrong can go on.
    fn failed(self, error: QueryError) -> QueryError {
        match error {
            QueryError::Memory { reason, .. } => QueryError::Memory { limit: self.limits.1, reason },
            QueryError::NotAQuery(_) | QueryError::Invalid(_) => {
                self.taken.give_back();
                error
            }
            other => other,
        }
    }

    async fn next(&mut self) -> Result<Part, QueryError> {
        let begun = Instant::now();
        let frame = timeout(self.left, self.taken.worker()?.receive()).await;
        let frame = frame.unwrap_or(Err(QueryError::Timeout(self.limits.0)))?;
        self.left = self.left.saturating_sub(begun.elapsed());
        match frame.kind {
            wire::ANSWER => self.joined.read(frame.payload).map(Part::Rows).map_err(failed),
            wire::END => wire::parse(&frame.payload).map(Part::End),
            _ => Err(unexpected(&frame)),
        }
    }
}

enum Part {
    Rows(Vec<RecordBatch>),
    End(End),
}

/// The rows of an answer, as they are found. The process stops while nobody reads them, and is killed when this is dropped.
pub struct Rows {
    schema: SchemaRef,
    read: VecDeque<RecordBatch>,
    running: Option<Running>,
    truncated: Option<bool>,
    slot: Option<Slot>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("truncated", &self.truncated).finish_non_exhaustive()
    }
}

impl Rows {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Whether the row limit cut the answer; known when its end was read, that of a small one from the start.
    pub fn truncated(&self) -> Option<bool> {
        self.truncated
    }

    /// The share of the memory, to be kept until the last row has left. Without it, it is free with the last row.
    pub fn take_slot(&mut self) -> Option<Slot> {
        self.slot.take()
    }

    /// The next rows, of a bounded size; `None` when there are no more.
    ///
    /// # Errors
    /// When the query fails or runs into a limit: what was returned so far is not the whole answer.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        while self.read.is_empty() && self.running.is_some() {
            self.read_on().await?;
        }
        Ok(self.read.pop_front())
    }

    async fn read_ahead(&mut self, deadline: Instant) -> Result<(), QueryError> {
        let mut bytes = 0;
        while bytes < READ_AHEAD && self.running.is_some() {
            if let Some(running) = &mut self.running {
                running.left = deadline.saturating_duration_since(Instant::now());
            }
            let known = self.read.len();
            self.read_on().await?;
            bytes += self.read.iter().skip(known).map(RecordBatch::get_array_memory_size).sum::<usize>();
        }
        Ok(())
    }

    async fn read_on(&mut self) -> Result<(), QueryError> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        match running.next().await {
            Ok(Part::Rows(batches)) => {
                if let Some(schema) = running.joined.schema() {
                    self.schema = schema;
                }
                self.read.extend(batches);
                self.running = Some(running);
            }
            Ok(Part::End(end)) => {
                self.truncated = Some(end.truncated);
                running.taken.give_back();
            }
            Err(error) => return Err(running.failed(error)),
        }
        Ok(())
    }
}
