//! Appends lines with ids to a log file, and rotates it.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, anyhow};

use crate::line;

/// Writes the lines of one file id, in order, from 0.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file_id: u32,
    file: File,
    next: u64,
    rotations: u32,
}

impl Writer {
    /// A writer for lines of `file_id` into `path`.
    pub fn new(path: &Path, file_id: u32) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file_id, file, next: 0, rotations: 0 })
    }

    /// Lines written so far.
    pub fn written(&self) -> u64 {
        self.next
    }

    /// The id of the file.
    pub fn file_id(&self) -> u32 {
        self.file_id
    }

    /// Appends `count` lines in one write.
    pub fn write(&mut self, count: u64) -> Result<()> {
        let mut text = String::new();
        for n in self.next..self.next + count {
            text.push_str(&line::line(self.file_id, n));
            text.push('\n');
        }
        self.file.write_all(text.as_bytes())?;
        self.next += count;
        Ok(())
    }

    /// Renames the file to `path.N`, which it gives, and goes on in a new one.
    pub fn rotate_by_rename(&mut self) -> Result<PathBuf> {
        self.rotations += 1;
        let old = self.path.with_extension(format!("log.{}", self.rotations));
        fs::rename(&self.path, &old)?;
        self.begin_anew()?;
        Ok(old)
    }

    /// Goes on in a new file of the same name; the old one was taken away.
    pub fn begin_anew(&mut self) -> Result<()> {
        // A file that is held open keeps its inode.
        self.file = File::open("/dev/null")?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        Ok(())
    }

    /// Copies the file away and truncates it. The caller makes sure that it has been read before.
    pub fn rotate_by_copytruncate(&mut self) -> Result<()> {
        self.rotations += 1;
        fs::copy(&self.path, self.path.with_extension(format!("copy.{}", self.rotations)))?;
        self.file.set_len(0)?;
        Ok(())
    }

    /// Writes `batch` lines every `pause` on a thread of its own, until told to stop.
    pub fn run(mut self, batch: u64, pause: Duration) -> RunningWriter {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                self.write(batch)?;
                thread::sleep(pause);
            }
            Ok(self)
        });
        RunningWriter { stop, thread }
    }
}

/// A writer at work.
#[derive(Debug)]
pub struct RunningWriter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Writer>>,
}

impl RunningWriter {
    /// Ends it and gives the writer back.
    pub fn stop(self) -> Result<Writer> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the writer panicked"))?
    }
}
