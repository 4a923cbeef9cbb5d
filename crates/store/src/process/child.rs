//! The query process.

use std::{
    io,
    path::PathBuf,
    process::ExitCode,
    sync::mpsc::{self, Receiver},
    thread,
};

use arrow::record_batch::RecordBatch;

use super::{
    confine::{self, Memory},
    held::Outlet,
    wire::{self, End, Frame, Joined, Question},
};
use crate::{
    engine::{Engine, Prepared, QueryError, Running, bytes, compact},
    export::ArrowPieces,
};

/// Threads that work on a query; as many parts the engine makes of it.
const WORKERS: usize = 2;
/// Threads that read files.
const MAX_READERS: usize = 4;
/// Stack of the thread that plans, in bytes; it grows beyond that where a query is deep.
const STACK: usize = 4 << 20;
/// Frames that are read ahead of what is asked for.
const READ_AHEAD: usize = 2;
/// A piece of an answer has about this size.
const PIECE_BYTES: usize = 256 << 10;
/// Largest row of an answer.
const MAX_ROW_BYTES: usize = 8 << 20;
/// What the engine may use of the memory by its own account; the rest is for what it does not count.
const COUNTED: (usize, usize) = (5, 8);
/// What a query may put on the disk, as multiples of its memory: what it works on, and what is held of its answer.
const SPILL_FACTOR: u64 = 6;
const HELD_FACTOR: u64 = 2;

/// How a query process is started.
#[derive(Debug)]
pub struct ChildOptions {
    /// The lake's folder, when there is one.
    pub lake: Option<PathBuf>,
    /// A folder of its own for what its memory can't hold.
    pub spill: PathBuf,
    /// Memory of all queries, in bytes.
    pub max_memory: usize,
}

/// Answers questions from the standard input until it ends.
#[must_use]
pub fn run(options: &ChildOptions) -> ExitCode {
    match Child::start(options).and_then(Child::serve_on_a_thread) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the collector reads it, and logs what it makes of it")]
fn complain(text: &dyn std::fmt::Display) {
    eprintln!("{text}");
}

struct Child {
    engine: Engine,
    runtime: tokio::runtime::Runtime,
    memory: Memory,
    frames: Receiver<Frame>,
    out: Outlet,
    /// A folder for what its memory can't hold.
    spill: PathBuf,
    /// So much of an answer is held there.
    held_bytes: u64,
}

impl Child {
    fn start(options: &ChildOptions) -> io::Result<Self> {
        let memory = Memory::open()?;
        // Before there is a second thread: rights are given away by each thread for itself and those it starts.
        for kept in confine::give_rights_away(options.lake.as_deref(), &options.spill) {
            complain(&format_args!("a query process keeps rights: {kept}"));
        }

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(MAX_READERS)
            .enable_time()
            .build()?;
        let times = |factor| (options.max_memory as u64).saturating_mul(factor);
        let (spill_bytes, held_bytes) = (times(SPILL_FACTOR), times(HELD_FACTOR));
        let engine = Engine::new(&options.spill, spill_bytes).map_err(io::Error::other)?;
        let (sender, frames) = mpsc::sync_channel(READ_AHEAD);
        thread::Builder::new().name("questions".to_owned()).spawn(move || read_frames(&sender))?;
        let (out, spill) = (Outlet::new(io::stdout()), options.spill.clone());
        Ok(Self { engine, runtime, memory, frames, out, spill, held_bytes })
    }

    /// Serves beside the first thread: how large that one's stack is stands in `/proc`, where this process may not look any more, and the
    /// planner makes itself a new stack at each of its steps when it does not know.
    fn serve_on_a_thread(self) -> io::Result<()> {
        let thread = thread::Builder::new().name("query".to_owned()).stack_size(STACK);
        let serving = thread.spawn(move || self.serve())?;
        serving.join().unwrap_or_else(|_| Err(io::Error::other("a query process panicked")))
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            self.out.write(wire::READY, &[])?;
            let Ok(frame) = self.frames.recv() else { return Ok(()) };
            if frame.kind != wire::ASK {
                return Err(io::Error::other(format!(
                    "expected a question, got a frame of kind {}",
                    frame.kind
                )));
            }
            match self.answer(&frame.payload) {
                Ok(end) => self.out.write(wire::END, &wire::json(&end))?,
                Err(Stopped::Query(error)) => self.out.write(wire::FAILED, &wire::json(&error))?,
                Err(Stopped::Pipe(error)) => return Err(error),
            }
        }
    }

    fn answer(&mut self, payload: &[u8]) -> Result<End, Stopped> {
        let question: Question = wire::parse(payload)?;
        self.memory.allow(question.memory)?;
        let counted = question.memory / COUNTED.1 * COUNTED.0;

        let mut prepared = {
            let prepared = self.engine.prepare(&question.query, question.lake.as_ref(), counted);
            self.runtime.block_on(prepared)?
        };
        let needs = prepared.optimize(question.max_rows)?;
        self.out.write(wire::NEEDS, &wire::json(&needs))?;
        for need in &needs {
            let rows = self.rows()?;
            prepared.hand_over(need, rows);
        }

        let mut running = self.begin(prepared, question.max_rows)?;
        if question.may_be_repeated && running.gathers {
            self.out.hold(self.spill.join("answer"), self.held_bytes);
        }
        if let Err(stopped) = self.stream(&mut running) {
            self.out.forget();
            return Err(stopped);
        }
        let end = End { truncated: running.truncated() };
        // A slow reader holds the answer, not what was kept to find it.
        drop(running);
        self.out.let_go()?;
        Ok(end)
    }

    /// The rows of one need.
    fn rows(&self) -> Result<Vec<RecordBatch>, Stopped> {
        let mut joined = Joined::default();
        let mut rows = Vec::new();
        loop {
            let frame = self.frames.recv().map_err(io::Error::other)?;
            match frame.kind {
                wire::ROWS => rows.extend(joined.read(frame.payload).map_err(failed)?),
                wire::ROWS_END => return Ok(rows),
                other => {
                    let error = format!("expected rows, got a frame of kind {other}");
                    return Err(Stopped::Pipe(io::Error::other(error)));
                }
            }
        }
    }

    fn begin(&self, prepared: Prepared, max_rows: usize) -> Result<Running, Stopped> {
        Ok(self.runtime.block_on(prepared.run(max_rows))?)
    }

    /// Writes the answer. A pipe that is full holds the query up: nothing is found that nobody reads.
    fn stream(&mut self, running: &mut Running) -> Result<(), Stopped> {
        let (mut pieces, first) = ArrowPieces::begin(&running.schema).map_err(failed)?;
        self.out.write(wire::ANSWER, &first)?;
        while let Some(batch) = self.runtime.block_on(running.next())? {
            for part in parts(&batch)? {
                let piece = pieces.batch(&part).map_err(failed)?;
                self.out.write(wire::ANSWER, &piece)?;
            }
        }
        // A decoder gives out rows without bytes, such as those of `SELECT NULL`, at the next byte.
        self.out.write(wire::ANSWER, &pieces.end().map_err(failed)?)?;
        Ok(())
    }
}

/// Parts of a batch of about [`PIECE_BYTES`] each, that share no memory.
fn parts(batch: &RecordBatch) -> Result<Vec<RecordBatch>, QueryError> {
    let bytes = bytes(batch);
    if bytes > PIECE_BYTES && batch.num_rows() > 1 {
        // Halves, and so on: rows differ in size.
        let half = batch.num_rows() / 2;
        let mut first = parts(&batch.slice(0, half))?;
        first.extend(parts(&batch.slice(half, batch.num_rows() - half))?);
        return Ok(first);
    }
    if bytes > MAX_ROW_BYTES {
        let reason =
            format!("a row of the answer has {} MiB, at most {} are sent", bytes >> 20, MAX_ROW_BYTES >> 20);
        return Err(QueryError::Invalid(reason));
    }
    Ok(vec![compact(batch).map_err(failed)?])
}

/// Reads what the collector sends. When that ends, the collector is gone or wants no answer any more, whatever the other
/// threads are at.
fn read_frames(sender: &mpsc::SyncSender<Frame>) {
    let mut input = io::stdin().lock();
    loop {
        let frame = match wire::read(&mut input, wire::MAX_TO_CHILD) {
            Ok(Some(frame)) => frame,
            Ok(None) => std::process::exit(0),
            Err(error) => {
                complain(&error);
                std::process::exit(1);
            }
        };
        if sender.send(frame).is_err() {
            std::process::exit(0);
        }
    }
}

/// Why there is no answer.
enum Stopped {
    /// The query is at fault, or ran into a limit; the process goes on.
    Query(QueryError),
    /// The collector can't be reached.
    Pipe(io::Error),
}

impl From<QueryError> for Stopped {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Pipe(error)
    }
}

fn failed(error: arrow::error::ArrowError) -> QueryError {
    QueryError::Failed(error.to_string())
}
