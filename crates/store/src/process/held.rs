//! An answer that is held back until it is whole.
//!
//! What has left can't be taken back: a query that fails behind its first rows breaks off, one that fails before them is asked again with
//! more memory.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Stdout, Write},
    path::PathBuf,
};

use super::wire;

/// So much of an answer is held in memory, the rest in a file.
const IN_MEMORY: usize = 256 << 10;

/// Where the frames of an answer go: to the collector, or first to where they are held.
pub(super) struct Outlet {
    pipe: Stdout,
    held: Option<Held>,
}

impl Outlet {
    /// To the collector.
    pub(super) fn new(pipe: Stdout) -> Self {
        Self { pipe, held: None }
    }

    /// Holds back what is written from now on, in a file at `path` when it is much, and `limit` bytes of it at most.
    pub(super) fn hold(&mut self, path: PathBuf, limit: u64) {
        self.held = Some(Held { path, limit, memory: Vec::new(), file: None, length: 0 });
    }

    /// Forgets what was held back.
    pub(super) fn forget(&mut self) {
        self.held = None;
    }

    /// Writes a frame. When there is no room to hold it back, everything leaves.
    pub(super) fn write(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        if let Some(held) = &mut self.held {
            if held.take(kind, payload).is_ok() {
                return Ok(());
            }
            self.let_go()?;
        }
        wire::write(&mut self.pipe, kind, payload)
    }

    /// Lets everything that was held back leave.
    pub(super) fn let_go(&mut self) -> io::Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        held.copy_to(&mut self.pipe)
    }
}

struct Held {
    path: PathBuf,
    limit: u64,
    memory: Vec<u8>,
    file: Option<File>,
    /// Bytes of the frames that are complete in the file.
    length: u64,
}

impl Held {
    fn take(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() + payload.len() <= IN_MEMORY {
            return wire::write(&mut self.memory, kind, payload);
        }
        if self.length.saturating_add(payload.len() as u64) > self.limit {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => unnamed(&self.path)?,
        };
        let written = wire::write(&mut file, kind, payload).and_then(|()| file.stream_position());
        self.file = Some(file);
        self.length = written?;
        Ok(())
    }

    fn copy_to(mut self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.memory)?;
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0))?;
            io::copy(&mut file.take(self.length), to)?;
        }
        to.flush()
    }
}

/// A file that is gone when it is closed.
fn unnamed(path: &PathBuf) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(limit: u64) -> (tempfile::TempDir, Held) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answer");
        (folder, Held { path, limit, memory: Vec::new(), file: None, length: 0 })
    }

    fn frames(count: u8) -> Vec<u8> {
        let mut all = Vec::new();
        (0..count).for_each(|n| wire::write(&mut all, n, &vec![n; 100_000]).unwrap());
        all
    }

    #[test]
    fn what_is_held_back_comes_out_as_it_was_written() {
        for count in [0, 1, 2, 3, 10] {
            let (folder, mut held) = held(u64::MAX);
            (0..count).for_each(|n| held.take(n, &vec![n; 100_000]).unwrap());
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
            let mut out = Vec::new();
            held.copy_to(&mut out).unwrap();
            assert!(out == frames(count), "{count} frames");
        }
    }

    #[test]
    fn a_frame_that_has_no_room_is_refused_and_those_before_it_are_whole() {
        let (_folder, mut held) = held(350_000);
        let taken = (0..10).take_while(|n| held.take(*n, &vec![*n; 100_000]).is_ok()).count();
        // Two in memory, three in the file.
        assert_eq!(taken, 5);
        let mut out = Vec::new();
        held.copy_to(&mut out).unwrap();
        assert!(out == frames(5));
    }

    #[test]
    fn a_folder_that_takes_no_file_refuses_what_memory_does_not_hold() {
        let (folder, mut held) = held(u64::MAX);
        drop(folder);
        assert!(held.take(1, &[0; 1000]).is_ok());
        assert!(held.take(2, &vec![0; IN_MEMORY]).is_err());
    }
}
