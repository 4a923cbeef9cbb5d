//! Journal records that could not be read, kept for a person.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use lapwing_service::said::Said;

use crate::counters::Counters;

/// Records that are kept; of further ones only the log tells.
const MAX_RECORDS: usize = 1000;
/// Bytes that are kept.
const MAX_BYTES: u64 = 256 << 20;

/// The folder of records that could not be read.
#[derive(Debug)]
pub struct Aside {
    folder: PathBuf,
    counters: Arc<Counters>,
    said: Said<bool>,
}

impl Aside {
    /// The folder in `data_dir`, which is made when the first record comes.
    pub fn new(data_dir: &Path, counters: Arc<Counters>) -> Self {
        Self { folder: data_dir.join("journal-aside"), counters, said: Said::default() }
    }

    /// Keeps the bytes of journal record `index`, which could not be read for this `reason`.
    pub fn keep(&self, index: u64, payload: &[u8], reason: &str) {
        self.counters.records_set_aside.add(1);
        let path = self.folder.join(format!("{index:020}.record"));
        let kept = self.write(&path, payload);
        // A thousand such records are one line, and a folder that shows the rest.
        let Some(left_out) = self.said.again(&kept.is_ok()) else { return };
        let path = path.display();
        match kept {
            Ok(()) => {
                tracing::error!("journal record {index}: {reason}; it is set aside as {path}{left_out}");
            }
            Err(error) => tracing::error!(
                "journal record {index}: {reason}; it is left out, and {path} can't keep it: {error}{left_out}"
            ),
        }
    }

    fn write(&self, path: &Path, payload: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        if path.exists() {
            // Met at an earlier start.
            return Ok(());
        }
        let kept: Vec<u64> = fs::read_dir(&self.folder)?
            .map(|entry| Ok(entry?.metadata()?.len()))
            .collect::<io::Result<_>>()?;
        if kept.len() >= MAX_RECORDS || kept.iter().sum::<u64>() + payload.len() as u64 > MAX_BYTES {
            return Err(io::Error::other("the folder is full"));
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(payload)?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_kept_once_and_counted_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let counters = Arc::new(Counters::default());
        let aside = Aside::new(folder.path(), Arc::clone(&counters));
        aside.keep(7, b"bytes", "it is odd");
        aside.keep(7, b"bytes", "it is odd");
        let kept = folder.path().join("journal-aside/00000000000000000007.record");
        assert_eq!(fs::read(kept).unwrap(), b"bytes");
        assert_eq!(counters.records_set_aside.get(), 2);
    }
}
