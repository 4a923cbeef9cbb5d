//! A directory that is only read.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::disk::Disk;

/// A directory whose files are read one at a time. The one at hand stays open: it can be read to its end when it is removed.
#[derive(Debug)]
pub(super) struct Reading {
    path: PathBuf,
    open: Option<(String, File)>,
}

impl Reading {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None }
    }

    fn file(&mut self, name: &str) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            self.open = Some((name.to_owned(), File::open(self.path.join(name))?));
        }
        self.open.as_ref().map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Reading {
    fn list(&mut self) -> io::Result<Vec<String>> {
        refused()
    }

    fn create(&mut self, _: &str) -> io::Result<()> {
        refused()
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.file(name)?.metadata()?.len())
    }

    fn append(&mut self, _: &str, _: &[&[u8]]) -> io::Result<()> {
        refused()
    }

    fn read(&mut self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.file(name)?;
        let there = file.metadata()?.len().saturating_sub(offset);
        let mut bytes = vec![0; length.min(usize::try_from(there).unwrap_or(usize::MAX))];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn rewrite(&mut self, _: &str, _: u64, _: u64) -> io::Result<()> {
        refused()
    }

    fn truncate(&mut self, _: &str, _: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&mut self, _: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        refused()
    }

    fn remove(&mut self, _: &str) -> io::Result<()> {
        refused()
    }
}
