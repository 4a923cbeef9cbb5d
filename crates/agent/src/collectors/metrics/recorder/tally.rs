//! How many points were ever observed.
//!
//! It is written before the points are recorded, so that the next process knows how many a crash took from memory. It is not
//! synced: what a process wrote outlives the process, and a crash of the whole machine may set the tally back, which then counts less.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use lapwing_service::modes;

/// The file in the state directory: the tally, and its complement, which tells a half-written one.
const NAME: &str = "points-observed";
const BYTES: usize = 16;

#[derive(Debug)]
pub(super) struct Tally(File);

impl Tally {
    /// Opens it, made when missing, and gives what it says; 0 when it says nothing that makes sense.
    pub(super) fn open(state_dir: &Path) -> io::Result<(Self, u64)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o640);
        let file = modes::open_own(&state_dir.join(NAME), &mut options)?;
        let mut bytes = [0; BYTES];
        let read = file.read_at(&mut bytes, 0)?;
        let [observed, complement] = [&bytes[..8], &bytes[8..]]
            .map(|part| part.try_into().map(u64::from_le_bytes).unwrap_or_default());
        let said = if read == BYTES && observed == !complement { observed } else { 0 };
        Ok((Self(file), said))
    }

    pub(super) fn set(&self, observed: u64) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&observed.to_le_bytes());
        bytes[8..].copy_from_slice(&(!observed).to_le_bytes());
        self.0.write_all_at(&bytes, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_set_last_and_nothing_when_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let (tally, observed) = Tally::open(folder.path()).unwrap();
        assert_eq!(observed, 0);
        tally.set(7).unwrap();
        tally.set(1 << 40).unwrap();
        assert_eq!(Tally::open(folder.path()).unwrap().1, 1 << 40);
        tally.0.write_all_at(&[1], 3).unwrap();
        assert_eq!(Tally::open(folder.path()).unwrap().1, 0);
        tally.0.set_len(8).unwrap();
        assert_eq!(Tally::open(folder.path()).unwrap().1, 0);
    }
}
