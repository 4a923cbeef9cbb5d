//! A spool on a thread of its own, with group commit.
//!
//! All appends that wait when the thread gets to them are written together and share one fsync: alone an append waits for
//! its own fsync only, under load the groups grow by themselves. There is no timer. Reads and trims that come meanwhile are
//! served between two groups.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    disk::{Disk, RealDisk},
    error::SpoolError,
    options::Options,
    record::{self, Record},
    recover::Recovery,
    spool::{Spool, Stats},
};

/// Bytes written as one group.
const GROUP_BYTES: u64 = 32 << 20;
/// Requests taken before the next group is written: a flood of them must not keep appends from the disk.
const GROUP_REQUESTS: usize = 4096;

type Reply<T> = oneshot::Sender<Result<T, SpoolError>>;

enum Request {
    Append(Bytes, Reply<u64>),
    Read { from: u64, max_bytes: usize, reply: Reply<Vec<Record>> },
    Trim { through: u64, reply: Reply<()> },
    Flush(Reply<u64>),
    Advance { next: u64, reply: Reply<()> },
}

/// Handle to a spool that runs on its own thread. Clones are the same spool.
///
/// It closes when the last one is dropped: that drop waits until everything in memory is on the disk.
#[derive(Debug, Clone)]
pub struct Log(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    /// Gone when the handle is dropped: that ends the thread.
    requests: Option<mpsc::Sender<Request>>,
    stats: Arc<Mutex<Stats>>,
    at_disk: Arc<AtDisk>,
    poison: Arc<Poison>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Since when the disk has a group that it has not answered for.
type AtDisk = Mutex<Option<Instant>>;

/// Why the spool is poisoned.
type Poison = Mutex<Option<String>>;

impl Drop for Handle {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Log {
    /// Opens the spool in `path`, made when missing.
    ///
    /// # Errors
    /// [`SpoolError::Locked`] when another process has it; others as [`Spool::open`].
    pub fn open(path: &Path, options: Options) -> Result<(Self, Recovery), SpoolError> {
        let disk = RealDisk::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => SpoolError::Locked { path: path.to_owned() },
            _ => SpoolError::disk(path, "open", source),
        })?;
        Self::on(Box::new(disk), path, options)
    }

    /// Opens the spool on another disk.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn on(disk: Box<dyn Disk>, path: &Path, options: Options) -> Result<(Self, Recovery), SpoolError> {
        let (spool, recovery) = Spool::open(disk, path.to_owned(), options)?;
        let (requests, inbox) = mpsc::channel();
        let stats = Arc::new(Mutex::new(spool.stats()));
        let at_disk = Arc::<AtDisk>::default();
        let poison = Arc::<Poison>::default();
        let worker = Worker {
            spool,
            inbox,
            waiting: VecDeque::new(),
            stats: Arc::clone(&stats),
            at_disk: Arc::clone(&at_disk),
            poison: Arc::clone(&poison),
        };
        let thread = thread::Builder::new().name("spool".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(|source| SpoolError::disk(path, "start thread", source))?;
        let handle = Handle { requests: Some(requests), stats, at_disk, poison, thread: Some(thread) };
        Ok((Self(Arc::new(handle)), recovery))
    }

    /// Appends a record; the future gives its index when it is durable or, with `memory_bytes`, when it is in memory. The order
    /// is the order of calls, not of polls, and a future that is dropped does not take its record back.
    pub fn append(&self, payload: Bytes) -> impl Future<Output = Result<u64, SpoolError>> + Send + use<> {
        let answer = self.ask(|reply| Request::Append(payload, reply));
        async { answer.await.unwrap_or(Err(SpoolError::Closed)) }
    }

    /// Records from index `from` on, about `max_bytes` of them; empty when there are none.
    ///
    /// # Errors
    /// As [`Spool::read`].
    pub async fn read(&self, from: u64, max_bytes: usize) -> Result<Vec<Record>, SpoolError> {
        self.ask(|reply| Request::Read { from, max_bytes, reply }).await.unwrap_or(Err(SpoolError::Closed))
    }

    /// Gives up all records up to `through`.
    ///
    /// # Errors
    /// As [`Spool::trim`].
    pub async fn trim(&self, through: u64) -> Result<(), SpoolError> {
        self.ask(|reply| Request::Trim { through, reply }).await.unwrap_or(Err(SpoolError::Closed))
    }

    /// Makes every record durable whose append was called before and that has room, and gives the last durable index.
    ///
    /// # Errors
    /// As [`Spool::flush`].
    pub async fn flush(&self) -> Result<u64, SpoolError> {
        self.ask(Request::Flush).await.unwrap_or(Err(SpoolError::Closed))
    }

    /// Gives up all records before index `next`, and gives no index before it from now on.
    ///
    /// # Errors
    /// As [`Spool::advance`].
    pub async fn advance(&self, next: u64) -> Result<(), SpoolError> {
        self.ask(|reply| Request::Advance { next, reply }).await.unwrap_or(Err(SpoolError::Closed))
    }

    /// Figures. Whoever got an answer sees what it was for in them.
    pub fn stats(&self) -> Stats {
        *self.0.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it takes nothing any more: an fsync failed, or its thread is gone. Only opening it anew finds out what is on the disk.
    pub fn broken(&self) -> Option<String> {
        if self.0.thread.as_ref().is_none_or(thread::JoinHandle::is_finished) {
            return Some("its thread has ended".to_owned());
        }
        self.0.poison.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long the disk has not answered for the group that it has; zero when it has none.
    pub fn stalled(&self) -> Duration {
        let since = *self.0.at_disk.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// When the thread is gone the reply is dropped with the request, and the answer is an error.
    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> oneshot::Receiver<Result<T, SpoolError>> {
        let (reply, answer) = oneshot::channel();
        if let Some(requests) = &self.0.requests {
            let _ = requests.send(request(reply));
        }
        answer
    }
}

struct Worker {
    spool: Spool,
    inbox: mpsc::Receiver<Request>,
    /// Appends not yet written: the next group, or those that wait for room.
    waiting: VecDeque<(Bytes, Reply<u64>)>,
    stats: Arc<Mutex<Stats>>,
    at_disk: Arc<AtDisk>,
    poison: Arc<Poison>,
}

impl Worker {
    fn run(mut self) {
        while let Ok(request) = self.inbox.recv() {
            self.take(request);
            self.gather();
            while self.commit_group() {
                self.gather();
            }
        }
        self.close();
    }

    /// Takes what has come meanwhile.
    fn gather(&mut self) {
        for _ in 0..GROUP_REQUESTS {
            let Ok(request) = self.inbox.try_recv() else { return };
            self.take(request);
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Append(payload, reply) => self.waiting.push_back((payload, reply)),
            Request::Read { from, max_bytes, reply } => {
                let records = self.spool.read(from, max_bytes);
                self.answer(reply, records);
            }
            Request::Trim { through, reply } => {
                let trimmed = self.spool.trim(through);
                self.answer(reply, trimmed);
            }
            Request::Flush(reply) => {
                while self.commit_group() {}
                let flushed = self.spool.flush();
                self.answer(reply, flushed);
            }
            Request::Advance { next, reply } => {
                while self.commit_group() {}
                let advanced = self.spool.advance(next);
                self.answer(reply, advanced);
            }
        }
    }

    /// Writes, syncs and answers one group; `false` when there is nothing to do or no room.
    fn commit_group(&mut self) -> bool {
        let group = self.next_group();
        if group.is_empty() {
            return false;
        }
        self.set_at_disk(Some(Instant::now()));
        let first = self.spool.append(&group).and_then(|first| self.spool.sync().map(|_| first));
        self.set_at_disk(None);
        if matches!(first, Err(SpoolError::Full { .. })) {
            return false;
        }
        self.publish();
        for ((_, reply), place) in self.waiting.drain(..group.len()).zip(0..) {
            let _ = reply.send(first.clone().map(|first| first + place));
        }
        true
    }

    fn set_at_disk(&self, since: Option<Instant>) {
        *self.at_disk.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// The payloads that go together: as many as surely have room, and one at least. So one that is too large for the spool is
    /// refused alone.
    fn next_group(&self) -> Vec<Bytes> {
        let room = self.spool.room().min(GROUP_BYTES);
        let mut bytes = 0;
        let fits = |payload: &&Bytes| {
            bytes += record::size(payload);
            bytes <= room
        };
        let payloads = || self.waiting.iter().map(|(payload, _)| payload);
        payloads().take(payloads().take_while(fits).count().max(1)).cloned().collect()
    }

    /// Sends an answer. A reply that nobody waits for is dropped.
    fn answer<T>(&self, reply: Reply<T>, answer: Result<T, SpoolError>) {
        self.publish();
        let _ = reply.send(answer);
    }

    /// Before an answer, so that whoever has it sees in the figures what it was for.
    fn publish(&self) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.spool.stats();
        if let Some(reason) = self.spool.poisoned() {
            self.poison
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(|| reason.to_owned());
        }
    }

    /// Nobody is left to be told, so the log is.
    fn close(mut self) {
        if let Err(error) = self.spool.close() {
            let lost = self.spool.stats().memory_records;
            tracing::error!("closing: {error}; {lost} records that were in memory are lost");
        }
    }
}
