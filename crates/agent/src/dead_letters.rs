//! Batches that the collector refused for good, set aside with the reason.
//!
//! A dead letter is two files in `dead-letters/` of the state directory: `EPOCH-SEQUENCE.batch`, the batch as it was sent
//! (an encoded `lapwing.v1.Batch`), and `EPOCH-SEQUENCE.reason`. Until the empty batch that takes its place is acknowledged it is
//! `EPOCH-SEQUENCE.pending`: when the agent dies before, its events are read again, and the letter must not stand for them, too.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use lapwing::v1::{Batch, Origin, SourcePosition};
use prost::Message;

/// The folder of dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    folder: PathBuf,
}

impl DeadLetters {
    /// The folder in a state directory; it is made with the first letter.
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("dead-letters") }
    }

    /// Keeps a batch durably, and gives the path it will have once it is confirmed.
    ///
    /// # Errors
    /// When the disk refuses; the batch must not be given up then.
    pub fn keep(&self, batch: &Batch, reason: &str) -> io::Result<PathBuf> {
        let stem = self.stem(batch.origin.as_ref());
        let write = || {
            fs::create_dir_all(&self.folder)?;
            write(&stem.with_extension("reason"), reason.as_bytes())?;
            write(&stem.with_extension("pending"), &batch.encode_to_vec())?;
            self.sync()
        };
        write().map_err(|error| named(&stem, &error))?;
        Ok(stem.with_extension("batch"))
    }

    /// The batch that takes the letter's place is acknowledged: its events are not read again.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn confirm(&self, origin: Option<&Origin>) -> io::Result<()> {
        let stem = self.stem(origin);
        let confirmed = fs::rename(stem.with_extension("pending"), stem.with_extension("batch"));
        confirmed.and_then(|()| self.sync()).map_err(|error| named(&stem, &error))
    }

    /// Settles what an earlier run left pending, by what the collector `holds`: a letter whose events will be read again goes.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn settle(&self, holds: &[SourcePosition]) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| named(&self.folder, &error))?,
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|extension| extension != "pending") {
                continue;
            }
            let letter = Batch::decode(&*fs::read(&path)?);
            let is_behind = |read: &SourcePosition| {
                let held = holds.iter().find(|held| held.source == read.source);
                held.is_none_or(|held| held.events_read < read.events_read)
            };
            // What can't be read was cut off by a crash, before the batch that takes its place could leave.
            if letter.is_err() || letter.is_ok_and(|letter| letter.positions.iter().any(is_behind)) {
                fs::remove_file(path.with_extension("reason")).or_else(ignore_missing)?;
                fs::remove_file(&path)?;
            } else {
                fs::rename(&path, path.with_extension("batch"))?;
            }
        }
        self.sync()
    }

    fn stem(&self, origin: Option<&Origin>) -> PathBuf {
        let (epoch, sequence) = origin.map_or((0, 0), |origin| (origin.epoch, origin.sequence));
        self.folder.join(format!("{epoch:016x}-{sequence:010}"))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(events_read: u64) -> SourcePosition {
        SourcePosition { source: "file:1".to_owned(), events_read, ..SourcePosition::default() }
    }

    fn letter(sequence: u64, events_read: u64) -> Batch {
        let origin = Origin { agent_id: "a".to_owned(), epoch: 7, sequence };
        Batch { origin: Some(origin), positions: vec![position(events_read)], ..Batch::default() }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder.join("dead-letters"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_letter_whose_events_are_read_again_does_not_stand_for_them_too() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path());
        letters.settle(&[]).unwrap();
        for (sequence, read) in [(1, 10), (2, 20), (3, 30)] {
            letters.keep(&letter(sequence, read), "because").unwrap();
        }
        letters.confirm(letter(1, 10).origin.as_ref()).unwrap();
        // The collector went past the second, whose confirmation was lost, and not past the third.
        letters.settle(&[position(20)]).unwrap();
        let stem = |sequence: u64| format!("0000000000000007-{sequence:010}");
        let expected = [1, 2].map(|n| [format!("{}.batch", stem(n)), format!("{}.reason", stem(n))]).concat();
        assert_eq!(names(folder.path()), expected);
    }
}
