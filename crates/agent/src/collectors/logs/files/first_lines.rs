//! The first lines of a file, by their hashes: a file that has one of them where it was did not lose its head.

use std::io;

use memchr::memchr_iter;

use super::{content::Content, fingerprint::HEAD, last_lines};

/// Lines whose hashes travel with a position: when some are changed, there are others.
const LINES: usize = 4;

/// The hash of each of the first lines that end within the first KiB; 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FirstLines([u32; LINES]);

impl FirstLines {
    /// Of the first bytes of a file.
    pub(super) fn of(head: &[u8]) -> Self {
        let mut hashes = [0; LINES];
        let mut start = 0;
        for (hash, end) in hashes.iter_mut().zip(memchr_iter(b'\n', head)) {
            *hash = last_lines::hash(&head[start..end]);
            start = end + 1;
        }
        Self(hashes)
    }

    /// As positions carry them.
    pub(super) fn to_position(self) -> Vec<u32> {
        self.0.into_iter().take_while(|hash| *hash != 0).collect()
    }

    pub(super) fn of_position(hashes: &[u32]) -> Self {
        let mut all = [0; LINES];
        all.iter_mut().zip(hashes).for_each(|(own, hash)| *own = *hash);
        Self(all)
    }

    /// Whether these bytes may be the beginning of a file with these lines.
    pub(super) fn may_be_of(self, start: &[u8]) -> bool {
        let Self(there) = Self::of(start);
        self.0.iter().zip(there).all(|(known, there)| *known == 0 || there == 0 || *known == there)
    }

    /// Whether a file has one of these lines where it was.
    pub(super) fn any_in(self, content: &mut Content) -> io::Result<bool> {
        let Self(there) = Self::of(&content.read_at(0, HEAD)?);
        Ok(self.0.iter().zip(there).any(|(known, there)| *known != 0 && *known == there))
    }
}
