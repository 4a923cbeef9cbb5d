//! What a walk is at: looking at a file system that is gone (a network mount, a bad disk) may take for ever, and nothing can interrupt it.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use lapwing_service::watchdog::Beat;

/// The step that is being taken.
#[derive(Debug, Default)]
pub(super) struct Progress {
    step: Mutex<Option<(PathBuf, Instant)>>,
    /// Of the thread that walks, when a watchdog looks after it.
    beat: OnceLock<Beat>,
}

/// Paths at which tests hold a walk up.
#[cfg(test)]
pub(super) static HELD_UP: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl Progress {
    /// The thread that walks has this heart.
    pub(super) fn has(&self, beat: &Beat) {
        let _ = self.beat.set(beat.clone());
    }

    /// The next step looks at `path`.
    pub(super) fn begin(&self, path: &Path) {
        // What happens between two steps is no file system that hangs.
        self.done();
        self.beat();
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = Some((path.to_owned(), Instant::now()));
        #[cfg(test)]
        while HELD_UP.lock().unwrap().iter().any(|held| held == path) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The step goes on.
    pub(super) fn tick(&self) {
        if let Some((_, since)) = self.step.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            *since = Instant::now();
        }
        self.beat();
    }

    fn beat(&self) {
        if let Some(beat) = self.beat.get() {
            beat.beat();
        }
    }

    /// The thread waits from now on, for changes or for whoever takes its news: that may take as long as it likes.
    pub(super) fn rest(&self) {
        self.done();
        if let Some(beat) = self.beat.get() {
            beat.rest();
        }
    }

    /// The thread is at work again.
    pub(super) fn work(&self) {
        if let Some(beat) = self.beat.get() {
            beat.work();
        }
    }

    /// Nothing is being looked at.
    pub(super) fn done(&self) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The path that is being looked at for longer than `deadline`.
    pub(super) fn hangs_at(&self, deadline: Duration) -> Option<PathBuf> {
        let step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        step.as_ref().filter(|(_, since)| since.elapsed() > deadline).map(|(path, _)| path.clone())
    }
}
