//! Batches that the collector refused for good, set aside with the reason.
//!
//! A dead letter is two files in `dead-letters/` of the state directory: `EPOCH-SEQUENCE.batch`, the batch as it was sent
//! (an encoded `lapwing.v1.Batch`), and `EPOCH-SEQUENCE.reason`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use lapwing::v1::Batch;
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

    /// Keeps a batch durably.
    ///
    /// # Errors
    /// When the disk refuses; the batch must not be given up then.
    pub fn keep(&self, batch: &Batch, reason: &str) -> io::Result<PathBuf> {
        let origin = batch.origin.clone().unwrap_or_default();
        let stem = self.folder.join(format!("{:016x}-{:010}", origin.epoch, origin.sequence));
        let write = || {
            fs::create_dir_all(&self.folder)?;
            write(&stem.with_extension("reason"), reason.as_bytes())?;
            write(&stem.with_extension("batch"), &batch.encode_to_vec())?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", stem.display())))?;
        Ok(stem.with_extension("batch"))
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
