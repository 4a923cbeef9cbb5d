//! Watching directories: by what they are and not by their path, so that one which was removed, renamed or made anew is noticed.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{
        Mode, OFlags,
        inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    },
    io::Errno,
};

use super::{entry::Entry, walk::Folder};
use crate::collectors::logs::files::watch::Waker;

/// Most directories watched; those beyond are looked at by the walks only.
const MAX_WATCHED: usize = 1 << 14;
/// Names that come and go, and the directory itself.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// What changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Names to look at: they came, or a link leads to something else.
    pub(super) came: Vec<(Folder, OsString)>,
    /// Names that went.
    pub(super) went: Vec<(Folder, OsString)>,
    /// Look at everything: events were lost, or a directory is another one now.
    pub(super) all: bool,
}

/// A directory that is watched, and what for.
#[derive(Debug, Default)]
struct Watched {
    place: (u64, u64),
    /// The same directory may be known by several paths.
    folders: Vec<Folder>,
    /// Links that lead to a name in it.
    links: Vec<LinkTo>,
    /// The last walk that came by.
    walk: u64,
}

#[derive(Debug)]
struct LinkTo {
    name: OsString,
    folder: Folder,
    link: OsString,
}

/// The inotify queue of directories.
#[derive(Debug)]
pub(super) struct Folders {
    queue: OwnedFd,
    /// Can be waited for: the kernel tells when something is mounted.
    mounts: Option<OwnedFd>,
    waker: Waker,
    watched: HashMap<i32, Watched>,
    by_place: HashMap<(u64, u64), i32>,
    walk: u64,
    told_of_limit: bool,
}

impl Folders {
    pub(super) fn new(waker: Waker) -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mounts = rustix::fs::open("/proc/self/mountinfo", flags, Mode::empty()).ok();
        Ok(Self {
            queue,
            mounts,
            waker,
            watched: HashMap::new(),
            by_place: HashMap::new(),
            walk: 0,
            told_of_limit: false,
        })
    }

    /// A walk begins.
    pub(super) fn begin(&mut self) {
        self.walk += 1;
    }

    /// A walk came to its end: directories it did not come by are not watched any more.
    pub(super) fn end(&mut self) {
        let gone: Vec<i32> =
            self.watched.iter().filter(|(_, watched)| watched.walk != self.walk).map(|(id, _)| *id).collect();
        for id in gone {
            self.forget(id);
            // It may be gone by itself.
            let _ = inotify::remove_watch(&self.queue, id);
        }
    }

    /// Watches a directory that patterns lead into.
    pub(super) fn folder(&mut self, open: &OwnedFd, folder: &Folder) {
        let Some(watched) = self.watch(open) else { return };
        if !watched.folders.iter().any(|known| known.path == folder.path && known.route == folder.route) {
            watched.folders.push(folder.clone());
        }
    }

    /// Watches the directory that a link leads into.
    pub(super) fn link(&mut self, open: &OwnedFd, name: &OsStr, folder: &Folder, link: &OsStr) {
        let Some(watched) = self.watch(open) else { return };
        let known =
            |known: &LinkTo| known.name == name && known.link == link && known.folder.path == folder.path;
        if !watched.links.iter().any(known) {
            let (name, link) = (name.to_owned(), link.to_owned());
            watched.links.push(LinkTo { name, folder: folder.clone(), link });
        }
    }

    fn watch(&mut self, open: &OwnedFd) -> Option<&mut Watched> {
        let place = Entry::of(open).ok()?.place();
        let id = match self.by_place.get(&place) {
            Some(id) => *id,
            None if self.watched.len() >= MAX_WATCHED => {
                self.tell_of_limit(&format!("more than {MAX_WATCHED} directories are looked at"));
                return None;
            }
            None => match inotify::add_watch(&self.queue, of_open(open), EVENTS) {
                Ok(id) => id,
                Err(Errno::NOSPC) => {
                    self.tell_of_limit("fs.inotify.max_user_watches is used up; raise it");
                    return None;
                }
                Err(error) => {
                    tracing::debug!("a directory can't be watched: {error}");
                    return None;
                }
            },
        };

        self.by_place.insert(place, id);
        let watched = self.watched.entry(id).or_default();
        if watched.walk != self.walk || watched.place != place {
            // What an earlier walk knew of it may not be so any more.
            *watched = Watched { place, walk: self.walk, ..Watched::default() };
        }
        Some(watched)
    }

    fn tell_of_limit(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.told_of_limit, true) {
            tracing::warn!(
                "not all directories can be watched: {reason}; new files in the others are found by the rescan"
            );
        }
    }

    fn forget(&mut self, id: i32) {
        if let Some(watched) = self.watched.remove(&id)
            && self.by_place.get(&watched.place) == Some(&id)
        {
            self.by_place.remove(&watched.place);
        }
    }

    /// Waits for an event, a mount, the waker, or `limit`. Whether something was mounted.
    pub(super) fn wait(&self, limit: Duration) -> io::Result<bool> {
        let mut sources =
            vec![PollFd::new(&self.queue, PollFlags::IN), PollFd::new(&self.waker, PollFlags::IN)];
        sources.extend(self.mounts.as_ref().map(|mounts| PollFd::new(mounts, PollFlags::PRI)));
        let limit = limit.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut sources, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }

        let mounted = sources.get(2).is_some_and(|mounts| mounts.revents().contains(PollFlags::PRI));
        self.waker.drain();
        Ok(mounted)
    }

    /// What is in the queue now.
    pub(super) fn changes(&mut self) -> io::Result<Changes> {
        let mut came = BTreeSet::new();
        let mut went = BTreeSet::new();
        let mut gone = Vec::new();
        let mut changes = Changes::default();
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut events = inotify::Reader::new(&self.queue, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(error) => return Err(error.into()),
            };
            let kind = event.events();
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
            if kind.contains(ReadFlags::QUEUE_OVERFLOW) {
                changes.all = true;
            } else if kind.intersects(
                ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT,
            ) {
                gone.push((event.wd(), kind.contains(ReadFlags::IGNORED)));
            } else if let Some(name) = name {
                let names = if kind.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                    &mut came
                } else {
                    &mut went
                };
                names.insert((event.wd(), name));
            }
        }

        for (id, name) in came {
            self.concerned(id, &name, &mut changes.came);
        }
        for (id, name) in went {
            self.concerned(id, &name, &mut changes.went);
        }
        for (id, is_ignored) in gone {
            changes.all |= self.watched.contains_key(&id);
            self.forget(id);
            if !is_ignored {
                let _ = inotify::remove_watch(&self.queue, id);
            }
        }
        Ok(changes)
    }

    /// Whom a name in a watched directory concerns.
    fn concerned(&self, id: i32, name: &OsStr, to: &mut Vec<(Folder, OsString)>) {
        let Some(watched) = self.watched.get(&id) else { return };
        to.extend(watched.folders.iter().map(|folder| (folder.clone(), name.to_owned())));
        let links = watched.links.iter().filter(|link| link.name == name);
        to.extend(links.map(|link| (link.folder.clone(), link.link.clone())));
    }
}

fn of_open(open: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", open.as_raw_fd())
}
