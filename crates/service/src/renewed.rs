//! What is made of files, and made again when they change.
//!
//! A value that was made once stays until a better one can be made: files that are broken, half written or gone are told, and the
//! value before them is used on.

use std::{
    fmt::{Debug, Display},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);

type Make<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// A value made of files.
pub struct Renewed<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    make: Make<T>,
    current: watch::Sender<Arc<T>>,
    seen: Mutex<Seen>,
}

/// What was looked at last.
#[derive(Debug)]
struct Seen {
    stamps: Vec<Stamp>,
    trouble: Option<String>,
}

/// What changes when a file does. A file that can't be looked at has none.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

impl<T> Debug for Renewed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewed")
            .field("what", &self.what)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Renewed<T> {
    /// Makes the value for the first time. `what` names it in the log.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new<E: Display>(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Before the files are read: a change in between is seen at the next look.
        let stamps = files.iter().map(|path| stamp(path)).collect();
        let first = make()?;
        Ok(Self {
            what,
            files,
            make: Box::new(move || make().map_err(|error| error.to_string())),
            current: watch::Sender::new(Arc::new(first)),
            seen: Mutex::new(Seen { stamps, trouble: None }),
        })
    }

    /// The newest value that could be made.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.borrow())
    }

    /// Tells of each new value.
    pub fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.current.subscribe()
    }

    /// Why the files as they are now can't be used; `None` when they are.
    pub fn trouble(&self) -> Option<String> {
        self.seen().trouble.clone()
    }

    /// Looks at the files, and makes the value again when one of them changed. Tells whether it did.
    pub fn look(&self) -> bool {
        // Nothing is locked meanwhile: whoever asks what is wrong must not wait for a file system that hangs.
        let stamps: Vec<Stamp> = self.files.iter().map(|path| stamp(path)).collect();
        if stamps == self.seen().stamps {
            return false;
        }
        let made = (self.make)();

        self.seen().stamps = stamps;
        match made {
            Ok(value) => {
                tracing::info!("{} were read again", self.what);
                self.seen().trouble = None;
                self.current.send_replace(Arc::new(value));
                true
            }
            Err(error) => {
                tracing::error!(
                    "{} changed and can't be used: {error}; those from before are used on",
                    self.what
                );
                self.seen().trouble = Some(error);
                false
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks every two seconds, for as long as somebody has the value.
    pub fn watch(self: &Arc<Self>) {
        if self.files.is_empty() {
            return;
        }
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(looking) = weak.upgrade() else { return };
                // A file system that hangs must not hold up a thread that serves.
                let _ = tokio::task::spawn_blocking(move || looking.look()).await;
            }
        });
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = fs::metadata(path).ok()?;
    let (modified, changed) = ((about.mtime(), about.mtime_nsec()), (about.ctime(), about.ctime_nsec()));
    Some((about.dev(), about.ino(), about.len(), modified.0, modified.1, changed.0, changed.1))
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn what_is_wrong_is_told_while_a_file_system_hangs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (hang, hangs) = mpsc::channel::<()>();
        let (making, began) = mpsc::channel();
        let ends = Mutex::new((making, hangs));
        let file_of = file.path().to_owned();
        let make = move || {
            let text = fs::read_to_string(&file_of).map_err(|error| error.to_string())?;
            if !text.is_empty() {
                let ends = ends.lock().unwrap();
                ends.0.send(()).unwrap();
                let _ = ends.1.recv();
            }
            Ok::<_, String>(text)
        };
        let renewed = Arc::new(Renewed::new("text", vec![file.path().to_owned()], make).unwrap());
        fs::write(file.path(), "changed").unwrap();
        let (looking, asking) = (Arc::clone(&renewed), Arc::clone(&renewed));
        let look = thread::spawn(move || looking.look());
        began.recv().unwrap();

        let (answer, answers) = mpsc::channel();
        thread::spawn(move || answer.send(asking.trouble()));
        assert_eq!(answers.recv_timeout(Duration::from_secs(20)), Ok(None));
        drop(hang);
        assert!(look.join().unwrap());
        assert_eq!(*renewed.current(), "changed");
    }

    fn numbers(path: &Path) -> Renewed<u32> {
        let file = path.to_owned();
        let make = move || {
            let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            text.trim().parse::<u32>().map_err(|error| error.to_string())
        };
        Renewed::new("numbers", vec![path.to_owned()], make).unwrap()
    }

    #[test]
    fn a_file_that_changed_is_read_again_and_a_broken_one_leaves_the_value_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        fs::write(&path, "1").unwrap();
        let number = numbers(&path);
        assert!(!number.look() && *number.current() == 1);

        fs::write(folder.path().join("next"), "2").unwrap();
        fs::rename(folder.path().join("next"), &path).unwrap();
        assert!(number.look() && *number.current() == 2);

        fs::write(&path, "none").unwrap();
        assert!(!number.look() && *number.current() == 2);
        assert!(number.trouble().unwrap().contains("invalid digit"));
        fs::remove_file(&path).unwrap();
        assert!(!number.look() && *number.current() == 2);

        fs::write(&path, "3").unwrap();
        assert!(number.look() && *number.current() == 3 && number.trouble().is_none());
    }
}
