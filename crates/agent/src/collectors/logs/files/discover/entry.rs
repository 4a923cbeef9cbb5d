//! What stands in a directory, looked at through the open directory: nobody can put something else in its place meanwhile.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, openat, readlinkat, statx},
    io::Errno,
};

use crate::collectors::logs::files::identity::{About, nanos};

/// Links followed one after the other, as the kernel bounds them.
const MAX_HOPS: usize = 40;

/// A file or directory, and who may have put it there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) about: About,
    pub(super) kind: FileType,
    /// When it was changed last, in nanoseconds since the epoch.
    pub(super) changed: u64,
    owner: u32,
    mode: u32,
    names: u32,
}

/// Where a link leads.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) entry: Entry,
    /// The directory that holds it.
    pub(super) folder: Entry,
    /// Its path without links.
    pub(super) path: PathBuf,
}

/// Why a name is not followed.
#[derive(Debug)]
pub(super) enum NotFollowed {
    Failed(io::Error),
    /// Somebody may have planted it.
    Refused(String),
}

impl From<io::Error> for NotFollowed {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Errno> for NotFollowed {
    fn from(error: Errno) -> Self {
        Self::Failed(error.into())
    }
}

impl Entry {
    /// What `name` in `folder` is; a link is looked at, not followed.
    pub(super) fn at(folder: impl AsFd, name: &OsStr) -> io::Result<Self> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = statx(folder, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH, mask)?;
        Ok(Self {
            about: About::new(&stat),
            kind: FileType::from_raw_mode(stat.stx_mode.into()),
            changed: nanos(&stat.stx_ctime),
            owner: stat.stx_uid,
            mode: stat.stx_mode.into(),
            names: stat.stx_nlink,
        })
    }

    /// What is open.
    pub(super) fn of(open: impl AsFd) -> io::Result<Self> {
        Self::at(open, OsStr::new(""))
    }

    /// Device and inode: the same directory, whatever its name.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.about.identity.device, self.about.identity.inode)
    }

    /// Whether only root and the agent's user can have put something into this directory.
    fn is_closed(&self) -> bool {
        is_trusted(self.owner) && self.is_written_by_its_owner_only()
    }

    fn is_written_by_its_owner_only(&self) -> bool {
        self.mode & 0o022 == 0
    }

    /// A file with several names in a directory that others may write to may be anybody's secret under a planted name. It is read when
    /// others may read it anyway, or when nobody but its owner can have given it this name.
    pub(super) fn check_names(&self, folder: &Self) -> Result<(), NotFollowed> {
        let owners_own = self.owner == folder.owner && folder.is_written_by_its_owner_only();
        if self.names <= 1 || folder.is_closed() || self.mode & 0o004 != 0 || owners_own {
            return Ok(());
        }
        Err(NotFollowed::Refused(format!(
            "has {} names and stands in a directory that others may write to: it may be a planted link to a file of user {}",
            self.names, self.owner
        )))
    }
}

/// Whether links of this user are followed wherever they lead.
fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}

/// Follows the link `name` in `folder`, each link on the way judged by the kernel's rule of `protected_symlinks`: its owner is root or
/// the agent's user, or owns what it leads to, or it stands where only those two can have put it.
///
/// `trail` gets the directories and names that decide where it leads, beside its own.
pub(super) fn follow(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    trail: &mut Vec<(OwnedFd, OsString)>,
) -> Result<Target, NotFollowed> {
    let mut at = folder.try_clone_to_owned()?;
    let mut to_go = vec![name.to_owned()];
    let mut hops = 0;
    let mut must_own = Vec::new();
    while let Some(next) = to_go.pop() {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = match openat(&at, &next, flags, Mode::empty()) {
            Ok(open) => open,
            Err(error) => {
                // Perhaps it comes.
                trail.push((at, next));
                return Err(error.into());
            }
        };
        let entry = Entry::of(&open)?;
        if hops > 0 && (entry.kind == FileType::Symlink || to_go.is_empty()) {
            trail.push((at.try_clone()?, next));
        }
        if entry.kind == FileType::Symlink {
            hops += 1;
            if hops > MAX_HOPS {
                return Err(Errno::LOOP.into());
            }
            if !is_trusted(entry.owner) && !Entry::of(&at)?.is_closed() {
                must_own.push(entry.owner);
            }

            let target = OsString::from_vec(readlinkat(&open, "", Vec::new())?.into_bytes());
            if target.as_bytes().starts_with(b"/") {
                at = root()?;
            }
            to_go.extend(names(&target).rev());
        } else if to_go.is_empty() {
            check_owners(&must_own, &entry)?;
            return Ok(Target { entry, folder: Entry::of(&at)?, path: path_of(&open)? });
        } else {
            at = open;
        }
    }

    // A link to `/` or `.` ends where it stands.
    let entry = Entry::of(&at)?;
    check_owners(&must_own, &entry)?;
    Ok(Target { entry, folder: entry, path: path_of(&at)? })
}

/// The root directory.
pub(super) fn root() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(rustix::fs::CWD, "/", flags, Mode::empty())?)
}

fn names(path: &OsStr) -> impl DoubleEndedIterator<Item = OsString> {
    let names = path.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.map(|name| OsStr::from_bytes(name).to_owned())
}

fn check_owners(must_own: &[u32], target: &Entry) -> Result<(), NotFollowed> {
    match must_own.iter().find(|owner| **owner != target.owner) {
        None => Ok(()),
        Some(owner) => Err(NotFollowed::Refused(format!(
            "is a link of user {owner} to what belongs to user {}, in a directory that others may write to",
            target.owner
        ))),
    }
}

/// The path of what is open, without links.
fn path_of(open: &OwnedFd) -> io::Result<PathBuf> {
    std::fs::read_link(Path::new("/proc/self/fd").join(open.as_raw_fd().to_string()))
}
