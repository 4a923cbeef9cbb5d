//! Waking up: one-shot watches on idle files, and a way to be woken by another thread.
//!
//! inotify itself and not a library over it: a one-shot watch and a queue that is read when there is time for it are what makes a busy writer cheap
//! (docs/adr/0002).

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
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
    /// Events were lost: look at everything.
    pub(super) lost: bool,
}

/// The inotify queue.
#[derive(Debug)]
pub(super) struct Watch {
    queue: OwnedFd,
    waker: Waker,
    files: HashMap<i32, String>,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Makes the current or next wait return.
    pub(super) fn wake(&self) {
        // A counter that is full wakes just as well.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    /// The wait is over; the next one waits for the next wake.
    pub(super) fn drain(&self) {
        // Nobody may have woken it.
        let _ = rustix::io::read(&*self.0, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { queue, waker: Waker::new()?, files: HashMap::new() })
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

    /// Waits for an event, the waker, or `limit`.
    pub(super) fn wait(&mut self, limit: Duration) -> io::Result<Woken> {
        poll_for(&[&self.queue, &*self.waker.0], limit)?;
        self.waker.drain();
        self.read()
    }

    /// Waits for the waker or `limit`; events stay in the queue, where equal ones are merged.
    pub(super) fn pause(&self, limit: Duration) -> io::Result<()> {
        poll_for(&[&*self.waker.0], limit)?;
        self.waker.drain();
        Ok(())
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
            } else if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                woken.lost = true;
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
