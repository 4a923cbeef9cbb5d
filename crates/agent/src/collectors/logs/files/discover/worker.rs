//! The thread that walks and watches.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError},
    },
    time::{Duration, Instant},
};

use lapwing_service::{said::Said, watchdog::Beat};

use super::{
    FoundFile, Globs, News, Stop,
    entry::NotFollowed,
    folders::{Changes, Folders},
    listings::Listings,
    progress::Progress,
    route::{Routes, Step},
    search::{Wanted, search},
    walk::{Findings, Folder, Stopped, Walk},
};
use crate::{
    collectors::logs::files::{names, watch::Waker},
    counters::Counters,
};

/// Files told of together.
const TOGETHER: usize = 256;
/// Shortest time between two walks, however many names go.
const PAUSE: Duration = Duration::from_millis(50);
/// A walk because of names that went may take one part in this many of the time.
const SHARE: u32 = 20;
/// Time between two looks at the queue while a walk goes on.
const LOOK: Duration = Duration::from_millis(20);
/// Time between two looks at a queue that the reader does not empty.
const FULL: Duration = Duration::from_millis(50);
/// Paths whose problem is remembered as reported.
const MAX_TOLD: usize = 10_000;

/// Everything the thread needs.
pub(super) struct Worker {
    pub(super) routes: Arc<Routes>,
    pub(super) globs: Globs,
    pub(super) interval: Duration,
    pub(super) progress: Arc<Progress>,
    /// Paths that did not answer.
    pub(super) hung: HashSet<PathBuf>,
    pub(super) stop: Stop,
    pub(super) requests: Receiver<Vec<Wanted>>,
    pub(super) out: Out,
    pub(super) counters: Arc<Counters>,
    pub(super) listings: Listings,
    /// No walk came to its end yet.
    pub(super) is_first: bool,
    /// What was reported of the events.
    pub(super) said: Said<&'static str>,
}

/// The way to the thread that reads.
pub(super) struct Out {
    pub(super) files: Vec<FoundFile>,
    pub(super) news: SyncSender<(u64, News)>,
    /// Which of several workers this is: what one that was given up still finds is of no use.
    pub(super) generation: u64,
    pub(super) reader: Waker,
    pub(super) progress: Arc<Progress>,
    pub(super) stop: Stop,
}

impl Out {
    fn flush(&mut self) -> Result<(), Stopped> {
        if self.files.is_empty() {
            return Ok(());
        }
        let files = std::mem::take(&mut self.files);
        self.send(News::Files(files))
    }

    fn send(&self, news: News) -> Result<(), Stopped> {
        // The reader may be held back for long.
        self.progress.rest();
        let mut news = (self.generation, news);
        while let Err(error) = self.news.try_send(news) {
            let TrySendError::Full(left) = error else { return Err(Stopped) };
            if self.stop.is_set() {
                return Err(Stopped);
            }
            news = left;
            std::thread::sleep(FULL);
        }
        self.reader.wake();
        self.progress.work();
        Ok(())
    }
}

/// What a walk does with what it finds.
struct Finder<'a> {
    routes: &'a Routes,
    hung: &'a HashSet<PathBuf>,
    out: &'a mut Out,
    folders: &'a mut Folders,
    progress: &'a Progress,
    stop: &'a Stop,
    counters: &'a Counters,
    told: &'a mut HashSet<PathBuf>,
    said: &'a Said<&'static str>,
    /// When changes were looked at last.
    looked: Instant,
    /// Everything is to be looked at again.
    again: bool,
    /// Changes are being looked at: those that come meanwhile have their turn behind them.
    following: bool,
}

impl Worker {
    /// Walks and watches until it is told to stop.
    pub(super) fn run(mut self, beat: &Beat, mut folders: Folders) {
        self.progress.has(beat);
        // The end of the wish to know is an end like any other.
        let _ = self.go(&mut folders);
    }

    fn go(&mut self, folders: &mut Folders) -> Result<(), Stopped> {
        let mut told = HashSet::new();
        let mut next = Instant::now();
        let mut soon = next;
        loop {
            self.progress.work();
            let mut again = false;
            if next <= Instant::now() {
                let started = Instant::now();
                again = self.walk(folders, &mut told)?;
                let took = started.elapsed();
                // With very many files walks get rarer, as long as the interval holds; they never take more than half of the time.
                next = (started + self.interval).max(Instant::now() + took);
                soon = Instant::now() + (took * SHARE).max(PAUSE);
            }

            let until = if again { next.min(soon) } else { next };
            self.progress.rest();
            let mounted =
                folders.wait(until.saturating_duration_since(Instant::now())).unwrap_or_else(|error| {
                    if let Some(left_out) = self.said.again(&"waiting") {
                        tracing::warn!("waiting for changes of directories: {error}{left_out}");
                    }
                    std::thread::sleep(PAUSE);
                    false
                });
            if self.stop.is_set() {
                return Err(Stopped);
            }
            self.progress.work();
            self.search()?;
            let mut finder = self.finder(folders, &mut told);
            finder.follow_changes()?;
            finder.out.flush()?;
            if again || mounted || finder.again {
                next = next.min(soon.max(Instant::now() + PAUSE));
            }
        }
    }

    fn finder<'a>(&'a mut self, folders: &'a mut Folders, told: &'a mut HashSet<PathBuf>) -> Finder<'a> {
        Finder {
            routes: &self.routes,
            hung: &self.hung,
            out: &mut self.out,
            folders,
            progress: &self.progress,
            stop: &self.stop,
            counters: &self.counters,
            told,
            said: &self.said,
            looked: Instant::now(),
            again: false,
            following: false,
        }
    }

    /// Looks at everything. Whether that has to be done again soon.
    fn walk(&mut self, folders: &mut Folders, told: &mut HashSet<PathBuf>) -> Result<bool, Stopped> {
        folders.begin();
        let routes = Arc::clone(&self.routes);
        let mut listings = std::mem::take(&mut self.listings);
        let mut finder = self.finder(folders, told);
        let walk = Walk::new(&routes, finder.progress, finder.hung).with(&mut listings);
        let walked = walk.all(&mut finder)?;
        finder.folders.end();
        finder.out.flush()?;
        let again = finder.again;

        listings.end_walk();
        self.listings = listings;

        self.tell_unmatched(&walked.matched);
        self.is_first = false;
        self.out.send(News::Walked { left_out: walked.left_out })?;
        Ok(again)
    }

    /// Reports the patterns that matched nothing, once.
    fn tell_unmatched(&self, matched: &HashSet<usize>) {
        let lines = self.globs.unmatched(matched);
        let before = self.counters.patterns_unmatched.get();
        self.counters.patterns_unmatched.set(lines.len() as u64);
        if self.is_first && before == 0 {
            lines.iter().for_each(|line| tracing::warn!("[collectors.logs] files: {line}"));
        }
    }

    fn search(&mut self) -> Result<(), Stopped> {
        while let Ok(wanted) = self.requests.try_recv() {
            let found = search(wanted, &self.hung, &self.progress);
            self.out.send(News::Located(found))?;
        }
        Ok(())
    }
}

impl Finder<'_> {
    /// Looks at the names that changed.
    fn follow_changes(&mut self) -> Result<(), Stopped> {
        let changes = self.folders.changes().unwrap_or_else(|error| {
            if let Some(left_out) = self.said.again(&"reading") {
                tracing::warn!("reading changes of directories: {error}{left_out}");
            }
            Changes { all: true, ..Changes::default() }
        });
        let routes = self.routes;
        let mut step = Step::default();
        let mut concerns = |(folder, name): &(Folder, OsString)| {
            routes.step(&folder.route, name, &mut step);
            step.is_wanted() || step.leads_on()
        };

        self.again |= changes.all || changes.went.iter().any(&mut concerns);
        self.following = true;
        for came in changes.came.into_iter().filter(|came| concerns(came)) {
            let walk = Walk::new(routes, self.progress, self.hung);
            walk.one(&came.0, &came.1, self)?;
        }
        self.following = false;
        Ok(())
    }
}

impl Findings for Finder<'_> {
    fn file(&mut self, file: FoundFile) -> Result<(), Stopped> {
        self.out.files.push(file);
        if self.out.files.len() < TOGETHER {
            return Ok(());
        }
        self.out.flush()
    }

    fn folder(&mut self, open: &OwnedFd, folder: &Folder) {
        self.folders.folder(open, folder);
    }

    fn link(&mut self, folder: &Folder, name: &OsStr, trail: &[(OwnedFd, OsString)]) {
        for (open, target) in trail {
            self.folders.link(open, target, folder, name);
        }
    }

    fn problem(&mut self, path: &Path, problem: &NotFollowed) {
        if self.told.len() >= MAX_TOLD {
            self.told.clear();
        }
        if !self.told.insert(path.to_owned()) {
            return;
        }
        let path = names::display(path);
        match problem {
            NotFollowed::Failed(error) => {
                self.counters.file_errors.add(1);
                tracing::warn!("{path}: can't be looked at: {error}");
            }
            NotFollowed::Refused(reason) => {
                self.counters.links_refused.add(1);
                tracing::warn!("{path}: is not read: it {reason} (docs/security.md)");
            }
        }
    }

    fn between(&mut self) -> Result<(), Stopped> {
        if self.stop.is_set() {
            return Err(Stopped);
        }
        if self.following || self.looked.elapsed() < LOOK {
            return Ok(());
        }
        // What is new is not to wait for the end of a long walk.
        self.looked = Instant::now();
        self.follow_changes()?;
        self.out.flush()
    }
}
