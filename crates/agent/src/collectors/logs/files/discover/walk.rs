//! One walk through the directories that patterns lead into.
//!
//! Breadth first: a file that several paths lead to gets the name of the shortest. A directory is listed once, whatever links lead back to it, and is
//! opened by its path but only taken when it is the one that was judged: nobody can put a link in its place meanwhile.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, RawDir, openat},
    io::Errno,
};

use super::{
    FoundFile,
    entry::{self, Entry, NotFollowed, Target},
    listings::Listings,
    progress::Progress,
    route::{Route, Routes, Step},
};

/// Directories waiting to be looked into from which on the walk goes into depth first: it needs memory for one branch only.
const MAX_WAITING: usize = 1 << 16;
/// Bytes of names taken from the kernel at a time.
const LISTING: usize = 32 << 10;
/// Names after which a listing shows that it goes on.
const TICK: usize = 1024;

/// A directory that patterns lead into.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) path: Arc<Path>,
    pub(super) route: Arc<Route>,
    /// Device and inode.
    place: (u64, u64),
}

/// The receiver is gone: nobody wants to know.
#[derive(Debug)]
pub(super) struct Stopped;

/// Where a walk's findings go.
pub(super) trait Findings {
    /// A file that is to be read.
    fn file(&mut self, file: FoundFile) -> Result<(), Stopped>;
    /// A directory that is about to be listed: changes from now on are to be heard of.
    fn folder(&mut self, open: &OwnedFd, folder: &Folder);
    /// `name` in `folder` is a link; what it leads to stands in the directories of `target`, under these names.
    fn link(&mut self, folder: &Folder, name: &OsStr, trail: &[(OwnedFd, OsString)]);
    /// A name that is not read or not looked into, and why.
    fn problem(&mut self, path: &Path, problem: &NotFollowed);
    /// Called between two directories.
    fn between(&mut self) -> Result<(), Stopped>;
}

/// For a walk that is only to tell what matches.
pub(super) struct Nothing;

impl Findings for Nothing {
    fn file(&mut self, _: FoundFile) -> Result<(), Stopped> {
        Ok(())
    }

    fn folder(&mut self, _: &OwnedFd, _: &Folder) {}

    fn link(&mut self, _: &Folder, _: &OsStr, _: &[(OwnedFd, OsString)]) {}

    fn problem(&mut self, _: &Path, _: &NotFollowed) {}

    fn between(&mut self) -> Result<(), Stopped> {
        Ok(())
    }
}

/// What a walk came to.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// What could not be looked at: of the files there is no news.
    pub(super) left_out: Vec<PathBuf>,
    /// Patterns that matched a file.
    pub(super) matched: HashSet<usize>,
}

/// A walk that goes on.
pub(super) struct Walk<'a> {
    routes: &'a Routes,
    progress: &'a Progress,
    /// Paths that did not answer.
    hung: &'a HashSet<PathBuf>,
    /// Those of earlier walks.
    listings: Option<&'a mut Listings>,
    waiting: VecDeque<Folder>,
    seen: HashSet<(u64, u64, usize)>,
    known_routes: HashMap<Arc<Route>, usize>,
    step: Step,
    walked: Walked,
}

/// A name in a listing that something may come of.
struct Candidate {
    is_link: bool,
    name: OsString,
}

impl<'a> Walk<'a> {
    pub(super) fn new(routes: &'a Routes, progress: &'a Progress, hung: &'a HashSet<PathBuf>) -> Self {
        Self {
            routes,
            progress,
            hung,
            listings: None,
            waiting: VecDeque::new(),
            seen: HashSet::new(),
            known_routes: HashMap::new(),
            step: Step::default(),
            walked: Walked::default(),
        }
    }

    /// Lists only what may have changed since the walks before.
    pub(super) fn with(self, listings: &'a mut Listings) -> Self {
        Self { listings: Some(listings), ..self }
    }

    /// Looks at everything, from the root on.
    pub(super) fn all(mut self, findings: &mut impl Findings) -> Result<Walked, Stopped> {
        match entry::root().and_then(Entry::of) {
            Ok(root) => self.add(Path::new("/").into(), self.routes.start(), &root),
            Err(error) => self.leave_out(Path::new("/"), &error.into(), findings),
        }
        self.go(findings)
    }

    /// Looks at one name in a directory, and at what is below it.
    pub(super) fn one(
        mut self,
        folder: &Folder,
        name: &OsStr,
        findings: &mut impl Findings,
    ) -> Result<Walked, Stopped> {
        match self.open(folder) {
            Ok(Some((open, holder))) => self.look_at(&open, &holder, folder, name, findings)?,
            Ok(None) => {}
            Err(error) => self.leave_out(&folder.path, &error.into(), findings),
        }
        self.go(findings)
    }

    fn go(mut self, findings: &mut impl Findings) -> Result<Walked, Stopped> {
        while let Some(folder) = self.next() {
            self.look_into(&folder, findings)?;
            self.progress.done();
            findings.between()?;
        }
        self.progress.done();
        Ok(self.walked)
    }

    fn next(&mut self) -> Option<Folder> {
        if self.waiting.len() > MAX_WAITING { self.waiting.pop_back() } else { self.waiting.pop_front() }
    }

    fn look_into(&mut self, folder: &Folder, findings: &mut impl Findings) -> Result<(), Stopped> {
        let (open, holder) = match self.open(folder) {
            Ok(Some(open)) => open,
            // Something else has its name by now: the next walk finds it.
            Ok(None) => {
                self.walked.left_out.push(folder.path.to_path_buf());
                return Ok(());
            }
            Err(error) => {
                self.leave_out(&folder.path, &error.into(), findings);
                return Ok(());
            }
        };
        findings.folder(&open, folder);

        let names = match self.routes.names(&folder.route) {
            Some(names) => names.into_iter().map(OsStr::to_owned).collect(),
            None => match self.names(&open, &holder, folder) {
                Ok(names) => names,
                Err(error) => {
                    self.leave_out(&folder.path, &error.into(), findings);
                    self.routes.plain_names(&folder.route).into_iter().map(OsStr::to_owned).collect()
                }
            },
        };
        for name in names {
            self.look_at(&open, &holder, folder, &name, findings)?;
        }
        Ok(())
    }

    /// Opens a directory, if it still is the one that was judged.
    fn open(&self, folder: &Folder) -> io::Result<Option<(OwnedFd, Entry)>> {
        self.progress.begin(&folder.path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = openat(CWD, &*folder.path, flags, Mode::empty())?;
        let entry = Entry::of(&open)?;
        Ok((entry.place() == folder.place).then_some((open, entry)))
    }

    /// The names in a directory that something may come of, from an earlier walk when they still stand there.
    fn names(&mut self, open: &OwnedFd, entry: &Entry, folder: &Folder) -> io::Result<Vec<OsString>> {
        if let Some(names) = self.listings.as_mut().and_then(|listings| listings.names(folder, entry)) {
            return Ok(names);
        }
        let (count, names) = self.list(open, folder)?;
        if let Some(listings) = &mut self.listings {
            listings.keep(folder, open, entry, count, &names);
        }
        Ok(names)
    }

    /// How many names stand in a directory, and those that something may come of: links last, so that a file is rather known by its own name.
    fn list(&mut self, open: &OwnedFd, folder: &Folder) -> io::Result<(usize, Vec<OsString>)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listing = openat(open, ".", flags, Mode::empty())?;
        let mut buffer = vec![MaybeUninit::uninit(); LISTING];
        let mut entries = RawDir::new(listing, &mut buffer);
        let mut candidates = Vec::new();
        let mut count = 0_usize;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            count += 1;
            if count.is_multiple_of(TICK) {
                self.progress.tick();
            }
            if name == "." || name == ".." {
                continue;
            }

            self.routes.step(&folder.route, name, &mut self.step);
            let may_be = match entry.file_type() {
                FileType::RegularFile => self.step.is_wanted(),
                FileType::Directory => self.step.leads_on(),
                FileType::Symlink | FileType::Unknown => self.step.is_wanted() || self.step.leads_on(),
                _ => false,
            };
            if may_be {
                let is_link = entry.file_type() == FileType::Symlink;
                candidates.push(Candidate { is_link, name: name.to_owned() });
            }
        }
        candidates.sort_unstable_by(|a, b| (a.is_link, &a.name).cmp(&(b.is_link, &b.name)));
        Ok((count, candidates.into_iter().map(|candidate| candidate.name).collect()))
    }

    fn look_at(
        &mut self,
        open: &OwnedFd,
        holder: &Entry,
        folder: &Folder,
        name: &OsStr,
        findings: &mut impl Findings,
    ) -> Result<(), Stopped> {
        self.routes.step(&folder.route, name, &mut self.step);
        if !self.step.is_wanted() && !self.step.leads_on() {
            return Ok(());
        }

        let path = folder.path.join(name);
        if self.hung.contains(&path) {
            self.walked.left_out.push(path);
            return Ok(());
        }
        self.progress.begin(&path);
        let found = self.resolve(open, holder, folder, name, findings);
        let (entry, link_target) = match found {
            Ok(found) => found,
            Err(NotFollowed::Failed(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(problem) => {
                self.leave_out(&path, &problem, findings);
                return Ok(());
            }
        };

        match entry.kind {
            FileType::RegularFile if self.step.is_wanted() => {
                self.walked.matched.extend(self.step.matched());
                findings.file(FoundFile { path, about: entry.about, target: link_target })
            }
            FileType::Directory if self.step.leads_on() => {
                let route = self.step.route().clone();
                self.add(path, route, &entry);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What a name stands for, and the path of it when it is a link.
    fn resolve(
        &self,
        open: &OwnedFd,
        holder: &Entry,
        folder: &Folder,
        name: &OsStr,
        findings: &mut impl Findings,
    ) -> Result<(Entry, Option<PathBuf>), NotFollowed> {
        let entry = Entry::at(open, name)?;
        if entry.kind != FileType::Symlink {
            if entry.kind == FileType::RegularFile {
                entry.check_names(holder)?;
            }
            return Ok((entry, None));
        }

        let mut trail = Vec::new();
        let followed = entry::follow(open.as_fd(), name, &mut trail);
        findings.link(folder, name, &trail);
        let Target { entry, folder: holder, path } = followed?;
        if entry.kind == FileType::RegularFile {
            entry.check_names(&holder)?;
        }
        Ok((entry, Some(path)))
    }

    /// Puts a directory into the queue unless it was there before.
    fn add(&mut self, path: PathBuf, route: Route, entry: &Entry) {
        let route = Arc::new(route);
        let count = self.known_routes.len();
        let known = self.known_routes.entry(Arc::clone(&route));
        let route = Arc::clone(known.key());
        let number = *known.or_insert(count);

        let place = entry.place();
        if self.seen.insert((place.0, place.1, number)) {
            self.waiting.push_back(Folder { path: path.into(), route, place });
        }
    }

    fn leave_out(&mut self, path: &Path, problem: &NotFollowed, findings: &mut impl Findings) {
        if let NotFollowed::Failed(error) = problem
            && matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR))
        {
            return;
        }
        self.walked.left_out.push(path.to_owned());
        findings.problem(path, problem);
    }
}
