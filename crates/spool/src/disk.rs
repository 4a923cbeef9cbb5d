//! The edge to the disk: one directory of append-only files.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, IoSlice, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

pub(crate) const LOCK: &str = "lock";

/// One directory of append-only files. Nothing is durable before `sync` (a file's bytes) and `sync_dir` (names) return.
pub trait Disk: Send {
    /// Regular files in the directory.
    fn list(&mut self) -> io::Result<Vec<String>>;
    /// Makes an empty file; fails when the name is taken.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Size of a file.
    fn len(&mut self, name: &str) -> io::Result<u64>;
    /// Appends all parts, one after another. On failure any prefix of them may be there.
    fn append(&mut self, name: &str, parts: &[&[u8]]) -> io::Result<()>;
    /// Up to `length` bytes from `offset`; fewer at the end of the file.
    fn read(&mut self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Writes bytes that are there once more, in place. After a failed sync the system may show bytes that it dropped, and a
    /// later sync would not write them.
    fn rewrite(&mut self, name: &str, offset: u64, length: u64) -> io::Result<()>;
    /// Cuts a file.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// Makes a file's bytes durable.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Makes the names of files durable.
    fn sync_dir(&mut self) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// Files kept open. A spool can have more segments than a process may have descriptors.
const MAX_OPEN: usize = 64;
/// Bytes rewritten at a time.
const REWRITE_BYTES: usize = 1 << 20;

/// A directory of the file system, held by one process at a time.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    files: HashMap<String, OpenFile>,
    /// Held for as long as the disk lives.
    _lock: File,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    /// Written since it was last synced: stays open, because the system tells of a failed write to who had the file open.
    unsynced: bool,
}

impl RealDisk {
    /// Opens `path`, made when missing, and locks it.
    ///
    /// # Errors
    /// `WouldBlock` when another process holds the lock; others as the system gives them.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let lock = options().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        Ok(Self { path: path.to_owned(), files: HashMap::new(), _lock: lock })
    }

    fn file(&mut self, name: &str) -> io::Result<&mut OpenFile> {
        if !self.files.contains_key(name) {
            let file = options().read(true).append(true).open(self.path.join(name))?;
            self.keep(name, file);
        }
        self.files.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn keep(&mut self, name: &str, file: File) {
        if self.files.len() >= MAX_OPEN {
            self.files.retain(|_, open| open.unsynced);
        }
        self.files.insert(name.to_owned(), OpenFile { file, unsynced: false });
    }
}

/// For files of this directory: a link in the place of one is not followed, since what it leads to is not ours.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options
}

impl Disk for RealDisk {
    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // Links are not followed: what they point to is not ours.
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let file = options().read(true).append(true).create_new(true).open(self.path.join(name))?;
        self.keep(name, file);
        Ok(())
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.file(name)?.file.metadata()?.len())
    }

    fn append(&mut self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let open = self.file(name)?;
        open.unsynced = true;
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = &mut slices[..];
        // Empty slices first, so that a write of nothing is not taken for an error.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match open.file.write_vectored(&rest[..rest.len().min(1024)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = &self.file(name)?.file;
        let there = file.metadata()?.len().saturating_sub(offset);
        let mut bytes = vec![0; length.min(usize::try_from(there).unwrap_or(usize::MAX))];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn rewrite(&mut self, name: &str, offset: u64, length: u64) -> io::Result<()> {
        self.file(name)?.unsynced = true;
        // Where a file is open for appending, Linux appends whatever the offset.
        let file = options().read(true).write(true).open(self.path.join(name))?;
        let mut bytes = vec![0; REWRITE_BYTES];
        let (mut from, end) = (offset, offset + length);
        while from < end {
            let part = usize::try_from(end - from).unwrap_or(REWRITE_BYTES).min(REWRITE_BYTES);
            file.read_exact_at(&mut bytes[..part], from)?;
            file.write_all_at(&bytes[..part], from)?;
            from += part as u64;
        }
        Ok(())
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let open = self.file(name)?;
        open.unsynced = true;
        open.file.set_len(length)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let open = self.file(name)?;
        open.file.sync_data()?;
        open.unsynced = false;
        Ok(())
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.files.remove(name);
        fs::remove_file(self.path.join(name))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_in_the_place_of_files_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (spool, secret) = (root.path().join("spool"), root.path().join("secret"));
        fs::create_dir(&spool).unwrap();
        fs::write(&secret, "keep me").unwrap();
        symlink(&secret, spool.join("a")).unwrap();
        let mut disk = RealDisk::open(&spool).unwrap();
        assert!(disk.append("a", &[b"more"]).is_err());
        assert!(disk.truncate("a", 0).is_err());
        assert!(disk.rewrite("a", 0, 4).is_err());
        assert!(disk.create("a").is_err());
        drop(disk);

        fs::remove_file(spool.join(LOCK)).unwrap();
        symlink(root.path().join("not-there"), spool.join(LOCK)).unwrap();
        assert!(RealDisk::open(&spool).is_err());
        assert!(!root.path().join("not-there").exists());
        assert_eq!(fs::read_to_string(&secret).unwrap(), "keep me");
    }
}
