//! Query processes, as the collector holds them.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};

use super::wire::{self, Frame};
use crate::engine::QueryError;

/// A process that comes back with more memory than this, in bytes, is not used again.
const MAX_IDLE_BYTES: u64 = 64 << 20;
/// A second idle process is kept this long.
const IDLE: Duration = Duration::from_secs(10);
/// How long a process that closed its pipes may take to end.
const ENDING: Duration = Duration::from_millis(500);
/// How long a process may take to start.
const STARTING: Duration = Duration::from_secs(10);
/// Most bytes of its complaints that are kept.
const MAX_COMPLAINTS: usize = 4 << 10;
/// What of the environment a process gets; there may be secrets in the rest.
const ENVIRONMENT: [&str; 2] = ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];

/// How query processes are started.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// Its arguments; the folder of its own for what its memory can't hold follows them.
    pub arguments: Vec<OsString>,
    /// Holds those folders.
    pub spill: PathBuf,
}

/// A query process.
pub(super) struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    complaints: JoinHandle<String>,
    spill: PathBuf,
}

impl Worker {
    fn start(program: &Program, number: u64) -> io::Result<Self> {
        let spill = program.spill.join(number.to_string());
        fs::create_dir_all(&spill)?;
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).arg(&spill).current_dir("/").env_clear();
        let kept: HashMap<_, _> =
            ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))).collect();
        command.envs(kept).env("TMPDIR", &spill).env("MALLOC_ARENA_MAX", "2");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);

        let mut child = command.spawn()?;
        let piped = |what: &str| io::Error::other(format!("no {what}"));
        let stdin = child.stdin.take().ok_or_else(|| piped("standard input"))?;
        let stdout = child.stdout.take().ok_or_else(|| piped("standard output"))?;
        let stderr = child.stderr.take().ok_or_else(|| piped("standard error"))?;
        let complaints = tokio::spawn(read_complaints(stderr));
        Ok(Self { child, stdin, stdout: BufReader::new(stdout), complaints, spill })
    }

    /// Sends a frame. When the process is gone, [`Worker::receive`] says why.
    pub(super) async fn send(&mut self, kind: u8, payload: &[u8]) {
        // A broken pipe is the end of the process, which is explained when it is read from.
        let _ = wire::send(&mut self.stdin, kind, payload).await;
    }

    /// The next frame.
    pub(super) async fn receive(&mut self) -> Result<Frame, QueryError> {
        match wire::receive(&mut self.stdout, wire::MAX_FROM_CHILD).await {
            Ok(frame) if frame.kind == wire::FAILED => Err(memory_or(wire::parse(&frame.payload)?)),
            Ok(frame) => Ok(frame),
            Err(error) => Err(self.ended(&error).await),
        }
    }

    /// Why the process ended.
    async fn ended(&mut self, error: &io::Error) -> QueryError {
        let status = tokio::time::timeout(ENDING, self.child.wait()).await;
        let _ = self.child.start_kill();
        let said = tokio::time::timeout(ENDING, &mut self.complaints).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        if OUT_OF_MEMORY.iter().any(|words| said.contains(words)) {
            return QueryError::Memory { limit: 0, reason: "it asked the system for more".to_owned() };
        }
        let how = match status {
            Ok(Ok(status)) => status.to_string(),
            _ => error.to_string(),
        };
        tracing::error!("a query process ended ({how}): {:?}", said.lines().last().unwrap_or_default());
        QueryError::Failed(format!("the process that ran it ended ({how}); the collector goes on"))
    }

    /// Private memory that it holds, in bytes.
    fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        self.complaints.abort();
        // What it had spilled. A file that is made at this very moment stays until the next start.
        let _ = fs::remove_dir_all(&self.spill);
    }
}

/// What a process says that could have no more memory; the last is what it hears when it asks for a thread's stack.
const OUT_OF_MEMORY: [&str; 5] = [
    "memory allocation of",
    "Cannot allocate memory",
    "capacity overflow",
    "out of memory",
    "Resource temporarily unavailable",
];

/// An error of a part that did not say that it lacked memory.
fn memory_or(error: QueryError) -> QueryError {
    match error {
        QueryError::Failed(reason) if OUT_OF_MEMORY.iter().any(|words| reason.contains(words)) => {
            QueryError::Memory { limit: 0, reason: "it asked the system for more".to_owned() }
        }
        other => other,
    }
}

/// The end of what a process complains of.
async fn read_complaints(mut from: tokio::process::ChildStderr) -> String {
    let mut said = Vec::new();
    let mut part = [0; 1024];
    while let Ok(length @ 1..) = from.read(&mut part).await {
        said.extend_from_slice(&part[..length]);
        let old = said.len().saturating_sub(MAX_COMPLAINTS);
        said.drain(..old);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// The processes that wait for a question. One is kept warm.
pub(super) struct Workers {
    program: Program,
    started: AtomicU64,
    idle: Mutex<Vec<(Worker, Instant)>>,
}

impl Workers {
    /// Makes the folder for what processes spill, and starts the first one.
    pub(super) fn start(program: Program) -> io::Result<Arc<Self>> {
        match fs::remove_dir_all(&program.spill) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        make_folder(&program.spill)?;
        let workers = Arc::new(Self { program, started: AtomicU64::new(0), idle: Mutex::new(Vec::new()) });
        workers.warm();
        Ok(workers)
    }

    /// A process that waits for a question.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Taken, QueryError> {
        while let Some((worker, _)) = { self.idle().pop() } {
            if let Ok(mut taken) = self.ready(worker).await {
                taken.waited = true;
                return Ok(taken);
            }
        }
        let worker = self.another();
        let worker = worker
            .map_err(|error| QueryError::Failed(format!("a process for it can't be started: {error}")))?;
        self.ready(worker).await
    }

    async fn ready(self: &Arc<Self>, mut worker: Worker) -> Result<Taken, QueryError> {
        let ready = tokio::time::timeout(STARTING, worker.receive()).await;
        match ready.unwrap_or_else(|_| Err(QueryError::Failed("its process does not start".to_owned())))? {
            Frame { kind: wire::READY, .. } => {
                Ok(Taken { worker: Some(worker), workers: Arc::clone(self), waited: false })
            }
            other => {
                let text = format!("its process began with a frame of kind {}", other.kind);
                Err(QueryError::Failed(text))
            }
        }
    }

    fn another(&self) -> io::Result<Worker> {
        Worker::start(&self.program, self.started.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts a process when none waits.
    fn warm(&self) {
        if !self.idle().is_empty() {
            return;
        }
        match self.another() {
            Ok(worker) => self.idle().push((worker, Instant::now())),
            Err(error) => tracing::warn!("a query process can't be started: {error}"),
        }
    }

    fn give_back(self: &Arc<Self>, worker: Worker) {
        if worker.memory().is_none_or(|bytes| bytes > MAX_IDLE_BYTES) {
            drop(worker);
            self.warm();
            return;
        }
        let idle = {
            let mut idle = self.idle();
            idle.push((worker, Instant::now()));
            idle.len()
        };
        if idle > 1 {
            let workers = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(IDLE + Duration::from_millis(100)).await;
                if let Some(workers) = workers.upgrade() {
                    workers.let_go();
                }
            });
        }
    }

    /// Ends what was not needed for a while, but for one.
    fn let_go(&self) {
        let mut idle = self.idle();
        let mut kept = idle.len();
        idle.retain(|(_, since)| {
            let keeps = kept == 1 || since.elapsed() < IDLE;
            kept -= usize::from(!keeps);
            keeps
        });
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Worker, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A process that works on a query. Unless it is given back it is killed, and another one started.
pub(super) struct Taken {
    worker: Option<Worker>,
    workers: Arc<Workers>,
    /// It may have ended before it was asked.
    waited: bool,
}

impl Taken {
    pub(super) fn worker(&mut self) -> Result<&mut Worker, QueryError> {
        self.worker.as_mut().ok_or_else(|| QueryError::Failed("its process is gone".to_owned()))
    }

    /// Whether it has ended, perhaps before this query came to it.
    pub(super) fn ended_while_it_waited(&mut self) -> bool {
        let worker = self.worker.as_mut().filter(|_| self.waited);
        worker.is_some_and(|worker| worker.child.try_wait().is_ok_and(|status| status.is_some()))
    }

    /// It waits for the next question.
    pub(super) fn give_back(mut self) {
        if let Some(worker) = self.worker.take() {
            self.workers.give_back(worker);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            drop(worker);
            self.workers.warm();
        }
    }
}
