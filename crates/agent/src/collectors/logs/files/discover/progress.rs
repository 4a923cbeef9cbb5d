//! What a walk is at: looking at a file system that is gone (a network mount, a bad disk) may take for ever, and nothing can interrupt it.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The step that is being taken.
#[derive(Debug, Default)]
pub(super) struct Progress {
    step: Mutex<Option<(PathBuf, Instant)>>,
}

/// Paths at which tests hold a walk up.
#[cfg(test)]
pub(super) static HELD_UP: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl Progress {
    /// The next step looks at `path`.
    pub(super) fn begin(&self, path: &Path) {
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
