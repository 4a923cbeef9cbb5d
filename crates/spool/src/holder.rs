//! Who holds a spool, told without touching its lock: even a lock held for a moment would turn a starting program away.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use crate::disk::LOCK;

/// The process that has a spool open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id; 0 when it is of another container.
    pub pid: u32,
    /// Its name, where the system tells.
    pub program: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&*self.program, self.pid) {
            ("", 0) => f.write_str("a process of another container"),
            ("", pid) => write!(f, "process {pid}"),
            (program, pid) => write!(f, "{program} (process {pid})"),
        }
    }
}

/// The process that holds the spool in `folder`, as the system lists its locks; `None` when it lists none.
pub fn holder(folder: &Path) -> Option<Holder> {
    let inode = fs::metadata(folder.join(LOCK)).ok()?.ino();
    let pid = holder_of(&fs::read_to_string("/proc/locks").ok()?, inode)?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Holder { pid, program: program.trim().to_owned() })
}

/// `7: FLOCK  ADVISORY  WRITE 1234 fe:00:56789 0 EOF`. The device is left out: file systems with volumes list another one than
/// they give for the file.
fn holder_of(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = words[..] else { return None };
        let listed: u64 = file.rsplit(':').next()?.parse().ok()?;
        (listed == inode).then(|| pid.parse().unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn the_list_of_locks_names_the_holder_and_not_who_waits() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 fe:00:5 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 8 fe:00:5 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 9 fe:00:5 0 EOF\n";
        assert_eq!(holder_of(locks, 5), Some(9));
        assert_eq!(holder_of(locks, 6), None);
    }

    #[test]
    fn a_spool_is_held_while_it_is_open() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()), None);
        let disk = RealDisk::open(folder.path()).unwrap();
        assert_eq!(holder(folder.path()).map(|holder| holder.pid), Some(std::process::id()));
        drop(disk);
        assert_eq!(holder(folder.path()), None);
    }
}
