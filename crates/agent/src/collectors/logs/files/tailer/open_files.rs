//! The files that are held open: which of them are polled, which are watched, and which had to give way.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::{Duration, Instant},
};

use crate::collectors::logs::files::{file::TailedFile, watch::Watch};

/// A file that did not grow for this long is watched instead of polled.
pub(super) const HOT: Duration = Duration::from_secs(2);
/// Descriptors left to the rest of the agent.
const SPARE_DESCRIPTORS: u64 = 32;

/// Open files by their source.
#[derive(Debug)]
pub(super) struct OpenFiles {
    pub(super) open: BTreeMap<String, TailedFile>,
    /// Files that grew lately: these are polled.
    pub(super) hot: BTreeSet<String>,
    /// Idle files that could not be watched: each look over all files looks at them.
    pub(super) unwatched: HashSet<String>,
    /// Files that gave their descriptors to others.
    pub(super) resting: HashSet<String>,
    /// Most files held open.
    pub(super) max_open: usize,
    /// That there are too few descriptors was reported.
    pub(super) told_of_turns: bool,
    /// That there are too few watches was reported.
    told_of_watches: bool,
}

impl OpenFiles {
    /// No files; as many as the limit of descriptors allows can be opened.
    pub(super) fn new() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let max_open = usize::try_from(limit.saturating_sub(SPARE_DESCRIPTORS)).unwrap_or(usize::MAX).max(8);
        Self {
            open: BTreeMap::new(),
            hot: BTreeSet::new(),
            unwatched: HashSet::new(),
            resting: HashSet::new(),
            max_open,
            told_of_turns: false,
            told_of_watches: false,
        }
    }

    /// Whether there is a descriptor for one more.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < self.max_open
    }

    /// Takes a file that was just opened: it is read at once.
    pub(super) fn insert(&mut self, key: &str, file: TailedFile) {
        self.hot.insert(key.to_owned());
        self.open.insert(key.to_owned(), file);
    }

    /// Gives a file up, with all that is noted of it.
    pub(super) fn remove(&mut self, key: &str) -> Option<TailedFile> {
        self.hot.remove(key);
        self.unwatched.remove(key);
        self.open.remove(key)
    }

    /// From watching to polling.
    pub(super) fn heat(&mut self, key: String) {
        let Some(file) = self.open.get_mut(&key) else { return };
        file.grew = Instant::now();
        self.hot.insert(key);
    }

    /// Looks at every file: events were lost.
    pub(super) fn heat_all(&mut self) {
        let grown = self.open.iter().filter(|(_, file)| file.has_more()).map(|(key, _)| key.clone());
        for key in grown.collect::<Vec<_>>() {
            self.heat(key);
        }
    }

    /// From polling to watching.
    pub(super) fn cool(&mut self, key: String, watch: &mut Watch) {
        let Some(file) = self.open.get(&key) else { return };
        if let Err(error) = watch.arm(file) {
            if !std::mem::replace(&mut self.told_of_watches, true) {
                let hint =
                    "raise fs.inotify.max_user_watches; until then new lines of idle files are seen later";
                tracing::warn!("{}: can't be watched: {error}; {hint}", file.path().display());
            }
            self.unwatched.insert(key);
            return;
        }

        // What came between the last look and the watch makes no event.
        if file.has_more() {
            self.heat(key);
        }
    }

    /// Looks at the files of which no event comes, and tries to watch them again.
    pub(super) fn look_at_unwatched(&mut self, watch: &mut Watch) {
        for key in std::mem::take(&mut self.unwatched) {
            if self.open.get(&key).is_some_and(TailedFile::has_more) {
                self.heat(key);
            } else {
                self.cool(key, watch);
            }
        }
    }
}
