//! Waking up: one-shot watches on idle files, lasting ones on directories, and a way to be stopped.
//!
//! inotify itself and not a library over it: a one-shot watch and a queue that is read when there is time for it are what makes a busy writer cheap
//! (docs/adr/0002).

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

use super::file::TailedFile;

/// Tells a [`Watch`] from another thread to stop waiting.
#[derive(Debug, Clone)]
pub(super) struct Waker(Arc<OwnedFd>);

/// What happened.
#[derive(Debug, Default)]
pub(super) struct Woken {
    /// Sources of files that were written to.
    pub(super) files: Vec<String>,
    /// Names in a directory changed, or events were lost: look at everything.
    pub(super) names_changed: bool,
}

/// The inotify queue.
#[derive(Debug)]
pub(super) struct Watch {
    queue: OwnedFd,
    waker: Waker,
    files: HashMap<i32, String>,
    directories: HashMap<PathBuf, i32>,
}

impl Waker {
    /// Makes the current or next wait return.
    pub(super) fn wake(&self) {
        // A counter that is full wakes just as well.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        let waker = Waker(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?));
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { queue, waker, files: HashMap::new(), directories: HashMap::new() })
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Watches for the next write to a file, whatever its name is by now.
    pub(super) fn arm(&mut self, file: &TailedFile) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::ONESHOT;
        let id = inotify::add_watch(&self.queue, path, flags)?;
        self.files.insert(id, file.key().to_owned());
        Ok(())
    }

    /// Watches for names that come and go in a directory. One that is not there is left to the next scan.
    pub(super) fn directory(&mut self, path: &Path) -> io::Result<()> {
        if self.directories.contains_key(path) {
            return Ok(());
        }
        let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        match inotify::add_watch(&self.queue, path, names | WatchFlags::ONLYDIR) {
            Ok(id) => {
                self.directories.insert(path.to_owned(), id);
                Ok(())
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for an event, the waker, or `limit`.
    pub(super) fn wait(&mut self, limit: Duration) -> io::Result<Woken> {
        poll_for(&[&self.queue, &*self.waker.0], limit)?;
        self.read()
    }

    /// Waits for the waker or `limit`; events stay in the queue, where equal ones are merged.
    pub(super) fn pause(&self, limit: Duration) -> io::Result<()> {
        poll_for(&[&*self.waker.0], limit)
    }

    /// What is in the queue now.
    pub(super) fn read(&mut self) -> io::Result<Woken> {
        let mut woken = Woken::default();
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut events = inotify::Reader::new(&self.queue, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(woken),
                Err(error) => return Err(error.into()),
            };
            if let Some(key) = self.files.remove(&event.wd()) {
                woken.files.push(key);
            } else if event.events().contains(ReadFlags::IGNORED) {
                self.directories.retain(|_, id| *id != event.wd());
            } else {
                woken.names_changed = true;
            }
        }
    }
}

/// Waits until one of them can be read, or for `limit`.
fn poll_for(sources: &[&OwnedFd], limit: Duration) -> io::Result<()> {
    let mut sources: Vec<PollFd<'_>> =
        sources.iter().map(|source| PollFd::new(*source, PollFlags::IN)).collect();
    let limit = limit.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    match poll(&mut sources, Some(&limit)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
