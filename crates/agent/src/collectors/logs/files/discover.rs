//! Finding files: a thread of its own walks the directories that patterns lead into, and watches them.
//!
//! - **Names are bytes.** Any name is matched, and read or reported.
//! - **A walk ends**, whatever links lead back; excluded trees and those that no pattern leads into are not entered; each directory is listed once.
//! - **A new file** is found by an event at once, and by the next walk when no event came: walks begin at least once in the rescan interval.
//! - **Nobody waits for a walk.** A step that does not answer for [`DEADLINE`] (a network mount that is gone) is reported and left out until it
//!   does; the thread that hangs there is given up for another.
//! - **Links** are followed as the kernel's `protected_symlinks` and `protected_hardlinks` would (docs/security.md).

mod entry;
mod folders;
mod listings;
mod name;
mod pattern;
mod progress;
mod route;
mod search;
#[cfg(test)]
mod tests;
mod walk;
mod worker;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
    time::Duration,
};

use lapwing_service::{
    said::Said,
    watchdog::{Fault, Part, Running},
};

pub use self::pattern::Pattern;
pub(super) use self::search::{Found, Wanted};
use self::{
    progress::Progress,
    route::Routes,
    worker::{Out, Worker},
};
use super::{FilesConfig, identity::About, names, watch::Waker};
use crate::counters::Counters;

/// Longest time that a look at one directory or name may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Threads given up at file systems that hang, from which on nothing new is looked for until one answers.
const MAX_HUNG: usize = 16;
/// News that wait for the reader.
const QUEUE: usize = 16;

/// What to read and what not.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    /// Files that match one of these are read ...
    pub include: Vec<Pattern>,
    /// ... when they match none of these.
    pub exclude: Vec<Pattern>,
}

/// A file that is to be read.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    pub(super) about: About,
    /// Its path without links, when its name is a link.
    pub(super) target: Option<PathBuf>,
}

/// What the reader is told.
#[derive(Debug)]
pub(super) enum News {
    /// These are there.
    Files(Vec<FoundFile>),
    /// A walk came to its end: what it did not find is gone, except below what it could not look at.
    Walked { left_out: Vec<PathBuf> },
    /// Where files are that were searched for.
    Located(Vec<(String, Found)>),
}

/// The thread that finds files, as the reader sees it.
#[derive(Debug)]
pub(super) struct Discovery {
    globs: Globs,
    routes: Arc<Routes>,
    interval: Duration,
    deadline: Duration,
    worker: Handle,
    /// Threads that were given up, and where they hang.
    hung: Vec<(PathBuf, Running)>,
    generation: u64,
    news: Receiver<(u64, News)>,
    to_reader: SyncSender<(u64, News)>,
    reader: Waker,
    counters: Arc<Counters>,
    part: Part,
    reader_stops: Arc<AtomicBool>,
    /// That a path does not answer (`false`), or does again, was reported.
    said: Said<(PathBuf, bool)>,
}

/// Tells a worker to end: it was given up, or the reader was told to stop. A reader that hangs can't say so itself.
#[derive(Debug, Clone)]
struct Stop {
    worker: Arc<AtomicBool>,
    reader: Arc<AtomicBool>,
}

impl Stop {
    fn is_set(&self) -> bool {
        self.worker.load(Ordering::Relaxed) || self.reader.load(Ordering::Relaxed)
    }
}

/// A running worker.
#[derive(Debug)]
struct Handle {
    running: Running,
    progress: Arc<Progress>,
    stop: Stop,
    waker: Waker,
    requests: Sender<Vec<Wanted>>,
}

/// Checks patterns; `problem` is told of each that is wrong.
pub(super) fn patterns(globs: &[String], problem: impl Fn(String)) -> Vec<Pattern> {
    globs.iter().filter_map(|glob| Pattern::parse(glob).map_err(&problem).ok()).collect()
}

impl Globs {
    /// Whether a file of this name is to be read.
    pub fn matches(&self, path: &Path) -> bool {
        Routes::new(&self.include, &self.exclude).matches(path)
    }

    /// A line for each pattern that matches no file now, with what may be wrong with it. Takes at most ten seconds, whatever the file systems do.
    pub fn check(&self) -> Vec<String> {
        let (done, walked) = mpsc::channel();
        let globs = self.clone();
        let walk = move || {
            let routes = Routes::new(&globs.include, &globs.exclude);
            let walked =
                walk::Walk::new(&routes, &Progress::default(), &HashSet::new()).all(&mut walk::Nothing);
            let matched = walked.map(|walked| walked.matched).unwrap_or_default();
            // Nobody waits any more when it took too long.
            let _ = done.send(globs.unmatched(&matched));
        };
        let begun = thread::Builder::new().name("check".to_owned()).spawn(walk);
        match begun.ok().and_then(|_| walked.recv_timeout(DEADLINE).ok()) {
            Some(lines) => lines,
            None => vec![format!("not all directories could be looked at within {} s", DEADLINE.as_secs())],
        }
    }

    /// A line for each pattern that is not among those that matched.
    fn unmatched(&self, matched: &HashSet<usize>) -> Vec<String> {
        let unmatched = self.include.iter().enumerate().filter(|(index, _)| !matched.contains(index));
        unmatched.map(|(_, pattern)| pattern.why_nothing()).collect()
    }
}

impl Discovery {
    /// Starts walking, on a thread of `part`, until `reader_stops`. `reader` is woken when there is news.
    pub(super) fn start(
        config: &FilesConfig,
        reader: Waker,
        counters: Arc<Counters>,
        part: &Part,
        reader_stops: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        Self::with_deadline(config, reader, counters, part, reader_stops, DEADLINE)
    }

    fn with_deadline(
        config: &FilesConfig,
        reader: Waker,
        counters: Arc<Counters>,
        part: &Part,
        reader_stops: Arc<AtomicBool>,
        deadline: Duration,
    ) -> io::Result<Self> {
        let globs = config.globs.clone();
        let routes = Arc::new(Routes::new(&globs.include, &globs.exclude));
        let (to_reader, news) = mpsc::sync_channel(QUEUE);
        let start = Start {
            globs: &globs,
            routes: &routes,
            interval: config.rescan_interval,
            hung: HashSet::new(),
            generation: 0,
            to_reader: &to_reader,
            reader: &reader,
            counters: &counters,
            part,
            reader_stops: &reader_stops,
        };
        let worker = start.start()?;
        let interval = config.rescan_interval;
        let hung = Vec::new();
        Ok(Self {
            globs,
            routes,
            interval,
            deadline,
            worker,
            hung,
            generation: 0,
            news,
            to_reader,
            reader,
            counters,
            part: part.clone(),
            reader_stops,
            said: Said::default(),
        })
    }

    /// Whether a file of this name is to be read.
    pub(super) fn matches(&self, path: &Path) -> bool {
        self.routes.matches(path)
    }

    /// The next news, if there is any.
    pub(super) fn news(&self) -> Option<News> {
        loop {
            match self.news.try_recv() {
                Ok((generation, news)) if generation == self.generation => return Some(news),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Asks where files are that lost their names.
    pub(super) fn search(&self, wanted: Vec<Wanted>) {
        // A worker that ended is started again, and asked again after its first walk.
        let _ = self.worker.requests.send(wanted);
        self.worker.waker.wake();
    }

    /// Looks after the worker: one that hangs is given up, one that ended is started again. Whether there is a new one.
    pub(super) fn oversee(&mut self) -> io::Result<bool> {
        let before = self.hung.len();
        self.hung.retain_mut(|(path, thread)| {
            let hangs = thread.ended().is_none();
            if !hangs && let Some(left_out) = self.said.again(&(path.clone(), true)) {
                tracing::info!("{}: answers again{left_out}", names::display(path));
            }
            hangs
        });
        let answered = before != self.hung.len();
        self.counters.folders_hung.set(self.hung.len() as u64);

        let ended = self.worker.running.ended();
        let hangs_at = self.worker.progress.hangs_at(self.deadline).filter(|_| ended.is_none());
        let hangs = if hangs_at.is_none() { self.worker.running.hangs_now() } else { None };
        let fault = ended.or(hangs);
        if hangs_at.is_none() && fault.is_none() && !answered || self.hung.len() >= MAX_HUNG {
            return Ok(false);
        }
        if let Some(fault) = fault {
            self.counters.file_errors.add(1);
            self.part.fail(&fault);
            if matches!(fault, Fault::Hangs(_)) && self.part.is_used_up() {
                return Ok(false);
            }
        }
        if let Some(path) = &hangs_at {
            self.counters.file_errors.add(1);
            if let Some(left_out) = self.said.again(&(path.clone(), false)) {
                tracing::warn!(
                    "{}: did not answer within {} s (a network mount that is gone?); left out until it does{left_out}",
                    names::display(path),
                    self.deadline.as_secs()
                );
            }
        }
        self.restart(hangs_at)?;
        Ok(true)
    }

    fn restart(&mut self, hangs_at: Option<PathBuf>) -> io::Result<()> {
        let hung = self.hung.iter().map(|(path, _)| path.clone()).chain(hangs_at.clone()).collect();
        let start = Start {
            globs: &self.globs,
            routes: &self.routes,
            interval: self.interval,
            hung,
            generation: self.generation + 1,
            to_reader: &self.to_reader,
            reader: &self.reader,
            counters: &self.counters,
            part: &self.part,
            reader_stops: &self.reader_stops,
        };
        let worker = start.start()?;
        self.generation += 1;

        let given_up = std::mem::replace(&mut self.worker, worker);
        given_up.stop();
        self.hung.extend(hangs_at.map(|path| (path, given_up.running)));
        self.counters.folders_hung.set(self.hung.len() as u64);
        Ok(())
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.worker.stop();
    }
}

impl Handle {
    fn stop(&self) {
        self.stop.worker.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

/// What a worker is started with.
struct Start<'a> {
    globs: &'a Globs,
    routes: &'a Arc<Routes>,
    interval: Duration,
    hung: HashSet<PathBuf>,
    generation: u64,
    to_reader: &'a SyncSender<(u64, News)>,
    reader: &'a Waker,
    counters: &'a Arc<Counters>,
    part: &'a Part,
    reader_stops: &'a Arc<AtomicBool>,
}

impl Start<'_> {
    fn start(self) -> io::Result<Handle> {
        let waker = Waker::new()?;
        let stop = Stop { worker: Arc::default(), reader: Arc::clone(self.reader_stops) };
        let (requests, asked) = mpsc::channel();
        // Made here, so that a host without inotify instances is reported at the start.
        let folders = folders::Folders::new(waker.clone())?;
        let progress = Arc::new(Progress::default());
        let out = Out {
            files: Vec::new(),
            news: self.to_reader.clone(),
            generation: self.generation,
            reader: self.reader.clone(),
            progress: Arc::clone(&progress),
            stop: stop.clone(),
        };
        let worker = Worker {
            routes: Arc::clone(self.routes),
            globs: self.globs.clone(),
            interval: self.interval,
            progress: Arc::clone(&progress),
            hung: self.hung,
            stop: stop.clone(),
            requests: asked,
            out,
            counters: Arc::clone(self.counters),
            listings: listings::Listings::default(),
            is_first: self.generation == 0,
            said: Said::default(),
        };
        let running = self.part.start_thread(move |beat| worker.run(beat, folders))?;
        Ok(Handle { running, progress, stop, waker, requests })
    }
}
