//! Names of large directories, kept for as long as nothing can have changed in them.
//!
//! A directory's times move whenever a name in it comes, goes or becomes another's, and nobody can set the one of its last change (`ctime`) back. So one
//! whose times are what they were needs no second listing, but for two cases: file systems whose times come from elsewhere, and changes
//! so shortly behind the listing that the clock of the file system had not ticked between them.

use std::{
    collections::HashMap,
    ffi::OsString,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustix::fs::fstatfs;

use super::{entry::Entry, route::Route, walk::Folder};

/// Smaller directories are listed as quickly as they are looked up.
const LARGE: usize = 64;
/// So many directories are kept, with so many names in all.
const MAX_KEPT: usize = 1 << 14;
const MAX_NAMES: usize = 1 << 16;
/// How long a directory must have been as it is. File systems count in steps of up to two seconds.
const QUIET: Duration = Duration::from_secs(3);
/// Numbers of file systems that keep the times of their directories themselves (`statfs(2)`): ext2 to ext4, XFS, Btrfs, tmpfs, overlayfs, F2FS,
/// ZFS and bcachefs.
const LOCAL: [u32; 8] =
    [0x0000_ef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];

/// Listings of earlier walks.
#[derive(Debug)]
pub(super) struct Listings {
    kept: HashMap<(u64, u64, Arc<Route>), Kept>,
    /// Names in all of them.
    names: usize,
    quiet: Duration,
}

#[derive(Debug)]
struct Kept {
    /// Times of the directory, in nanoseconds since the epoch.
    changed: u64,
    modified: u64,
    names: Vec<OsString>,
    /// In the walk that goes on.
    used: bool,
}

impl Default for Listings {
    fn default() -> Self {
        Self { kept: HashMap::new(), names: 0, quiet: QUIET }
    }
}

impl Listings {
    /// The names that a listing of `folder`, which is `entry` now, would come to.
    pub(super) fn names(&mut self, folder: &Folder, entry: &Entry) -> Option<Vec<OsString>> {
        let key = key(folder, entry);
        let kept = self.kept.get_mut(&key)?;
        if (kept.changed, kept.modified) == (entry.changed, entry.about.modified) {
            kept.used = true;
            return Some(kept.names.clone());
        }
        self.names -= kept.names.len();
        self.kept.remove(&key);
        None
    }

    /// Keeps what a listing of `count` names came to, when it may be. `entry` was looked at before the listing.
    pub(super) fn keep(
        &mut self,
        folder: &Folder,
        open: &OwnedFd,
        entry: &Entry,
        count: usize,
        names: &[OsString],
    ) {
        let has_room = self.kept.len() < MAX_KEPT && self.names + names.len() <= MAX_NAMES;
        if count < LARGE || !has_room || !self.is_quiet(entry) || !is_local(open) {
            return;
        }
        let (changed, modified) = (entry.changed, entry.about.modified);
        let kept = Kept { changed, modified, names: names.to_vec(), used: true };
        self.names += names.len();
        if let Some(before) = self.kept.insert(key(folder, entry), kept) {
            self.names -= before.names.len();
        }
    }

    /// A walk is through: what it did not come by is forgotten.
    pub(super) fn end_walk(&mut self) {
        self.kept.retain(|_, kept| std::mem::take(&mut kept.used));
        self.names = self.kept.values().map(|kept| kept.names.len()).sum();
    }

    fn is_quiet(&self, entry: &Entry) -> bool {
        let last = Duration::from_nanos(entry.changed.max(entry.about.modified));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.checked_sub(last).is_some_and(|quiet| quiet >= self.quiet)
    }
}

fn key(folder: &Folder, entry: &Entry) -> (u64, u64, Arc<Route>) {
    let (device, inode) = entry.place();
    (device, inode, Arc::clone(&folder.route))
}

/// Whether the file system keeps the times of its directories itself.
fn is_local(open: &OwnedFd) -> bool {
    // The numbers have 32 bits; the field is wider, and signed on some machines.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    fstatfs(open).is_ok_and(|system| LOCAL.contains(&(system.f_type as u32)))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, io, path::PathBuf, time::Instant};

    use super::{
        super::{
            progress::Progress,
            route::Routes,
            tests::{Case, Seen},
            walk::Walk,
        },
        *,
    };

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A directory that is walked again and again.
    struct Walked {
        case: Case,
        routes: Routes,
        listings: Listings,
    }

    impl Walked {
        fn new(files: usize) -> Self {
            let case = Case::new();
            (0..files).for_each(|n| drop(case.write(format!("{n}.log"))));
            let globs = case.globs(&["*.log"], &[]);
            let routes = Routes::new(&globs.include, &globs.exclude);
            // Some ticks of the file system's clock.
            let listings = Listings { quiet: Duration::from_millis(50), ..Listings::default() };
            Self { case, routes, listings }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.case.root.join(name)
        }

        /// Whether a listing is kept after a walk, and how many files it finds.
        fn walk(&mut self) -> (bool, usize) {
            let (progress, hung) = (Progress::default(), HashSet::new());
            let mut seen = Seen::default();
            let walk = Walk::new(&self.routes, &progress, &hung).with(&mut self.listings);
            walk.all(&mut seen).unwrap();
            assert!(seen.problems.is_empty(), "{:?}", seen.problems);
            self.listings.end_walk();
            (!self.listings.kept.is_empty(), seen.files.len())
        }

        fn walk_until_kept(&mut self) -> usize {
            let begun = Instant::now();
            loop {
                let (is_kept, files) = self.walk();
                if is_kept {
                    return files;
                }
                assert!(begun.elapsed() < PATIENCE, "nothing was kept");
            }
        }
    }

    #[test]
    fn what_came_went_or_got_another_name_in_a_kept_directory_is_noticed() -> io::Result<()> {
        let mut walked = Walked::new(100);
        assert_eq!(walked.walk_until_kept(), 100);
        assert_eq!(walked.walk(), (true, 100));

        walked.case.write("new.log");
        assert_eq!(walked.walk(), (false, 101), "it has only just changed");
        assert_eq!(walked.walk_until_kept(), 101);

        fs::remove_file(walked.path("7.log"))?;
        assert_eq!(walked.walk().1, 100);
        walked.walk_until_kept();
        fs::rename(walked.path("8.log"), walked.path("8.txt"))?;
        assert_eq!(walked.walk().1, 99);

        // The time of the last modification can be set back, as rsync does; that of the last change can't.
        walked.walk_until_kept();
        let before = fs::metadata(&walked.case.root)?.modified()?;
        walked.case.write("copied.log");
        fs::File::open(&walked.case.root)?.set_modified(before)?;
        assert_eq!(walked.walk().1, 100);
        Ok(())
    }

    #[test]
    fn what_is_small_or_gone_is_not_kept() -> io::Result<()> {
        let mut walked = Walked::new(10);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(200) {
            assert_eq!(walked.walk(), (false, 10));
        }

        let mut walked = Walked::new(100);
        walked.walk_until_kept();
        fs::remove_dir_all(&walked.case.root)?;
        assert_eq!(walked.walk(), (false, 0));
        assert_eq!(walked.listings.names, 0);
        Ok(())
    }
}
