//! A spool on a thread of its own, with group commit.
//!
//! All appends that wait when the thread gets to them are written together and share one fsync: alone an append waits for
//! its own fsync only, under load the groups grow by themselves. There is no timer.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    disk::{Disk, RealDisk},
    error::SpoolError,
    record::Record,
    recover::Recovery,
    spool::{Options, Spool, Stats},
};

/// Payload bytes written as one group.
const GROUP_BYTES: usize = 32 << 20;

type Reply<T> = oneshot::Sender<Result<T, SpoolError>>;

enum Request {
    Append(Bytes, Reply<u64>),
    Read { from: u64, max_bytes: usize, reply: Reply<Vec<Record>> },
    Trim { through: u64, reply: Reply<()> },
}

/// Handle to a spool that runs on its own thread. Clones are the same spool; it closes when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Log {
    requests: mpsc::Sender<Request>,
    stats: Arc<Mutex<Stats>>,
}

impl Log {
    /// Opens the spool in `path`, made when missing.
    ///
    /// # Errors
    /// [`SpoolError::Locked`] when another process has it; [`SpoolError::Disk`] when the disk refuses.
    pub fn open(path: &Path, options: Options) -> Result<(Self, Recovery), SpoolError> {
        let disk = RealDisk::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => SpoolError::Locked { path: path.to_owned() },
            _ => SpoolError::Disk { path: path.to_owned(), action: "open", source: Arc::new(source) },
        })?;
        Self::on(Box::new(disk), path, options)
    }

    /// Opens the spool on another disk.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn on(disk: Box<dyn Disk>, path: &Path, options: Options) -> Result<(Self, Recovery), SpoolError> {
        let (spool, recovery) = Spool::open(disk, path.to_owned(), options)?;
        let (requests, inbox) = mpsc::channel();
        let stats = Arc::new(Mutex::new(spool.stats()));
        let worker = Worker { spool, inbox, waiting: VecDeque::new(), stats: Arc::clone(&stats) };
        thread::Builder::new().name("spool".to_owned()).spawn(move || worker.run()).map_err(|source| {
            SpoolError::Disk { path: path.to_owned(), action: "start thread", source: Arc::new(source) }
        })?;
        Ok((Self { requests, stats }, recovery))
    }

    /// Appends a record; the future gives its index when it is durable. The order is the order of calls, not of polls.
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

    /// Figures, as of the last group.
    pub fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the thread is gone the reply is dropped with the request, and the answer is an error.
    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> oneshot::Receiver<Result<T, SpoolError>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.requests.send(request(reply));
        answer
    }
}

struct Worker {
    spool: Spool,
    inbox: mpsc::Receiver<Request>,
    /// Appends not yet written: the next group, or those that wait for room.
    waiting: VecDeque<(Bytes, Reply<u64>)>,
    stats: Arc<Mutex<Stats>>,
}

impl Worker {
    fn run(mut self) {
        while let Ok(request) = self.inbox.recv() {
            self.take(request);
            while let Ok(request) = self.inbox.try_recv() {
                self.take(request);
            }
            while self.commit_group() {}
            *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.spool.stats();
        }
    }

    fn take(&mut self, request: Request) {
        // A reply that nobody waits for any more is dropped.
        match request {
            Request::Append(payload, reply) => self.waiting.push_back((payload, reply)),
            Request::Read { from, max_bytes, reply } => {
                let _ = reply.send(self.spool.read(from, max_bytes));
            }
            Request::Trim { through, reply } => {
                let _ = reply.send(self.spool.trim(through));
            }
        }
    }

    /// Writes, syncs and answers one group; `false` when there is nothing to do or no room.
    fn commit_group(&mut self) -> bool {
        let mut bytes = 0;
        let fits = |(payload, _): &&(Bytes, Reply<u64>)| {
            bytes += payload.len();
            bytes <= GROUP_BYTES
        };
        let count = self.waiting.iter().take_while(fits).count().max(1).min(self.waiting.len());
        if count == 0 {
            return false;
        }
        let payloads: Vec<Bytes> =
            self.waiting.iter().take(count).map(|(payload, _)| payload.clone()).collect();
        let first = match self.spool.append(&payloads) {
            Ok(first) => first,
            Err(SpoolError::Full { .. }) if count == 1 => return false,
            // All together have no room: one may.
            Err(SpoolError::Full { .. }) => return self.commit_first(),
            Err(error) => return self.refuse(count, &error),
        };
        self.finish(count, first)
    }

    fn commit_first(&mut self) -> bool {
        let payload =
            self.waiting.front().map(|(payload, _)| payload.clone()).into_iter().collect::<Vec<_>>();
        match self.spool.append(&payload) {
            Ok(first) => self.finish(1, first),
            Err(SpoolError::Full { .. }) => false,
            Err(error) => self.refuse(1, &error),
        }
    }

    fn finish(&mut self, count: usize, first: u64) -> bool {
        if let Err(error) = self.spool.sync() {
            return self.refuse(count, &error);
        }
        // Whoever reads the figures after an append sees the append in them.
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.spool.stats();
        for ((_, reply), index) in self.waiting.drain(..count).zip(first..) {
            let _ = reply.send(Ok(index));
        }
        true
    }

    fn refuse(&mut self, count: usize, error: &SpoolError) -> bool {
        for (_, reply) in self.waiting.drain(..count) {
            let _ = reply.send(Err(error.clone()));
        }
        true
    }
}
