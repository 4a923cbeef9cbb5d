//! Batches that the collector refused for good, set aside with the reason.
//!
//! A dead letter is two files in `dead-letters/` of the state directory: `EPOCH-SEQUENCE.batch`, the batch as it was sent
//! (an encoded `lapwing.v1.Batch`), and `EPOCH-SEQUENCE.reason`. Until the empty batch that takes its place is acknowledged it is
//! `EPOCH-SEQUENCE.pending`: when the agent dies before, its events are read again, and the letter must not stand for them, too.
//!
//! All letters together, with those that were sent again, have a budget of disk space. Beyond it nothing is set aside: the batch stays
//! under way, and reading stops behind it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use lapwing::v1::{Batch, Origin, SourcePosition};
use lapwing_delivery::Run;
use lapwing_service::modes;
use prost::Message;
use thiserror::Error;

/// What a file takes on a disk at least.
const BLOCK: u64 = 4 << 10;
/// What `st_blocks` counts.
const SECTOR: u64 = 512;

/// Why a batch was not set aside.
#[derive(Debug, Error)]
pub enum KeepError {
    /// The budget is used up.
    #[error(
        "{folder} holds {bytes} bytes of refused batches, and [buffer] max_dead_letter_bytes is {max_bytes}; send them again or remove \
         them (`lapwing deadletter`), or raise the limit of the collector that refuses them"
    )]
    Full {
        /// The folder.
        folder: PathBuf,
        /// What is in it.
        bytes: u64,
        /// The budget.
        max_bytes: u64,
    },
    /// The disk refuses.
    #[error("a refused batch can't be set aside: {0}")]
    Disk(#[from] io::Error),
}

/// The folder of dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    folder: PathBuf,
    max_bytes: u64,
    /// Bytes on the disk, as they were seen last; less when letters were removed since.
    bytes: Option<u64>,
}

impl DeadLetters {
    /// The folder in a state directory, for so many bytes; it is made with the first letter.
    pub fn new(state_dir: &Path, max_bytes: u64) -> Self {
        Self { folder: state_dir.join("dead-letters"), max_bytes, bytes: None }
    }

    /// Bytes on the disk, as they were seen last.
    pub fn bytes(&self) -> u64 {
        self.bytes.unwrap_or_default()
    }

    /// Keeps a batch durably, and gives the path it will have once it is confirmed.
    ///
    /// # Errors
    /// When the budget is used up or the disk refuses; the batch must not be given up then.
    pub fn keep(&mut self, batch: &Batch, reason: &str) -> Result<PathBuf, KeepError> {
        let message = batch.encode_to_vec();
        let size = on_disk(message.len()) + on_disk(reason.len());
        self.make_room(size)?;

        let stem = self.stem(batch.origin.as_ref());
        let write = || {
            modes::own_directory(&self.folder)?;
            write(&stem.with_extension("reason"), reason.as_bytes())?;
            write(&stem.with_extension("pending"), &message)?;
            self.sync()
        };
        let written = write().map_err(|error| named(&stem, &error));
        if let Err(error) = written {
            // What is there of it takes room that the next try needs; when it can't be removed either, it is counted.
            let _ = fs::remove_file(stem.with_extension("pending"));
            let _ = fs::remove_file(stem.with_extension("reason"));
            self.bytes = None;
            return Err(error.into());
        }
        self.bytes = self.bytes.map(|bytes| bytes + size);
        Ok(stem.with_extension("batch"))
    }

    /// Makes sure that so many bytes more are within the budget. The folder is looked at when it seems to be full: letters may have been
    /// removed.
    fn make_room(&mut self, size: u64) -> Result<(), KeepError> {
        let fits = |bytes: u64| bytes.saturating_add(size) <= self.max_bytes;
        if self.bytes.is_some_and(fits) {
            return Ok(());
        }
        let bytes = bytes_in(&self.folder)?;
        let has_room = fits(bytes);
        self.bytes = Some(bytes);
        if has_room {
            return Ok(());
        }
        Err(KeepError::Full { folder: self.folder.clone(), bytes, max_bytes: self.max_bytes })
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

    /// Settles what the `previous` run left pending, by what the collector `holds`: a letter whose events will be read again goes.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn settle(&self, holds: &[SourcePosition], previous: Run) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| named(&self.folder, &error))?,
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|extension| extension != "pending") {
                continue;
            }
            let letter = Batch::decode(&*read(&path)?);
            // What can't be read was cut off by a crash, before the batch that takes its place could leave.
            if letter.map_or(true, |letter| is_read_again(&letter, holds, previous)) {
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

/// Whether the events of a pending letter will be read again: the empty batch that takes its place is not durable.
fn is_read_again(letter: &Batch, holds: &[SourcePosition], previous: Run) -> bool {
    let origin = letter.origin.clone().unwrap_or_default();
    if origin.epoch == previous.epoch {
        return previous.durable < origin.sequence;
    }
    // Another run came in between, so only positions tell. A source that is not held was read to its end and closed, unless nothing
    // was ever held.
    letter.positions.iter().any(|read| match holds.iter().find(|held| held.source == read.source) {
        Some(held) => held.events_read < read.events_read,
        None => previous.epoch == 0,
    })
}

/// Disk space of a file of so many bytes.
fn on_disk(bytes: usize) -> u64 {
    (bytes as u64).max(1).next_multiple_of(BLOCK)
}

/// Disk space of all files in a folder and in those below it.
fn bytes_in(folder: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(|error| named(folder, &error))?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        // A link is not followed; and a letter that was removed meanwhile takes no room.
        let Ok(metadata) = entry.metadata() else { continue };
        let size = if metadata.is_dir() {
            bytes_in(&entry.path())?
        } else {
            (metadata.blocks().saturating_mul(SECTOR)).max(BLOCK)
        };
        bytes = size.saturating_add(bytes);
    }
    Ok(bytes)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    modes::open_own(path, OpenOptions::new().read(true))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = modes::open_own(path, options.write(true).create(true).truncate(true).mode(0o600))?;
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
        let origin = Origin { agent_id: "a".to_owned(), epoch: 7, sequence, ..Origin::default() };
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
        let mut letters = DeadLetters::new(folder.path(), 1 << 20);
        letters.settle(&[], Run::default()).unwrap();
        for (sequence, read) in [(1, 10), (2, 20), (3, 30)] {
            letters.keep(&letter(sequence, read), "because").unwrap();
        }
        letters.confirm(letter(1, 10).origin.as_ref()).unwrap();
        // The collector went past the second, whose confirmation was lost, and not past the third.
        letters.settle(&[position(20)], Run { epoch: 7, durable: 2 }).unwrap();
        let stem = |sequence: u64| format!("0000000000000007-{sequence:010}");
        let expected = [1, 2].map(|n| [format!("{}.batch", stem(n)), format!("{}.reason", stem(n))]).concat();
        assert_eq!(names(folder.path()), expected);
    }

    #[test]
    fn a_letter_whose_source_was_closed_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut letters = DeadLetters::new(folder.path(), 1 << 20);
        letters.keep(&letter(1, 10), "because").unwrap();
        // The batch that took its place is durable, and the one that closed its source, too.
        letters.settle(&[], Run { epoch: 7, durable: 2 }).unwrap();
        assert_eq!(
            names(folder.path()),
            ["0000000000000007-0000000001.batch", "0000000000000007-0000000001.reason"]
        );
        letters.keep(&letter(2, 20), "because").unwrap();
        letters.settle(&[], Run { epoch: 9, durable: 0 }).unwrap();
        assert_eq!(
            names(folder.path()).len(),
            4,
            "another run came between, and nothing says that it is read again"
        );
        letters.keep(&letter(3, 30), "because").unwrap();
        letters.settle(&[], Run::default()).unwrap();
        assert_eq!(
            names(folder.path()).len(),
            4,
            "a collector that never held anything has everything read again"
        );
    }

    #[test]
    fn beyond_its_budget_nothing_is_set_aside_until_letters_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut letters = DeadLetters::new(folder.path(), 8 * BLOCK);
        (1..=4).for_each(|sequence| drop(letters.keep(&letter(sequence, 1), "because").unwrap()));
        let full = letters.keep(&letter(5, 1), "because").unwrap_err();
        assert!(matches!(full, KeepError::Full { bytes, .. } if bytes == 8 * BLOCK), "{full}");
        assert!(full.to_string().contains("lapwing deadletter"), "{full}");
        assert_eq!(names(folder.path()).len(), 8, "nothing is left of the fifth");

        // An earlier process' letters, and those that were sent again, count as well.
        let replayed = folder.path().join("dead-letters/replayed");
        fs::create_dir(&replayed).unwrap();
        let first = "0000000000000007-0000000001.pending";
        fs::rename(folder.path().join("dead-letters").join(first), replayed.join(first)).unwrap();
        let mut again = DeadLetters::new(folder.path(), 8 * BLOCK);
        assert!(again.keep(&letter(5, 1), "because").is_err());

        fs::remove_dir_all(&replayed).unwrap();
        fs::remove_file(folder.path().join("dead-letters/0000000000000007-0000000001.reason")).unwrap();
        letters.keep(&letter(5, 1), "because").unwrap();
    }
}
