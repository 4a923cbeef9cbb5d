//! The last lines that were read, by their hashes: a file that begins with them is what was read without its head.
//!
//! It tells where in the file the position is when hardly anything before it was kept (`tail -n 10`), which is too little for
//! [`Fingerprint::moved_to`](super::fingerprint::Fingerprint::moved_to) to search for.

use std::io;

use memchr::{memchr_iter, memmem, memrchr};
use xxhash_rust::xxh3::xxh3_64;

use super::{content::Content, fingerprint::HEAD};

/// Lines whose hashes travel with a position.
const MAX_LINES: usize = 16;
/// Fewer bytes than these tell nothing: another content may begin with the same line.
const EVIDENCE: usize = 128;

/// For each number of last lines, from one on, the hash of all of them together. 0 for lines that tell nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LastLines(Vec<u32>);

impl LastLines {
    /// Of the bytes before a position. Lines that stand there more than once tell nothing: what repeats may have begun anew.
    pub(super) fn of(before: &[u8]) -> Self {
        Self(hashes(before, usize::MAX))
    }

    /// Of the bytes before a position, as the position carries them.
    pub(super) fn for_position(before: &[u8]) -> Vec<u32> {
        hashes(before, MAX_LINES)
    }

    pub(super) fn of_position(hashes: &[u32]) -> Self {
        Self(hashes.iter().copied().take(MAX_LINES).collect())
    }

    /// The place behind these lines in a file that begins with some of them.
    pub(super) fn end_at_start_of(&self, content: &mut Content) -> io::Result<Option<u64>> {
        if self.0.iter().all(|hash| *hash == 0) {
            return Ok(None);
        }
        let start = content.read_at(0, HEAD)?;
        let lines = memchr_iter(b'\n', &start).zip(&self.0);
        let found = lines.filter(|(end, known)| **known != 0 && hash(&start[..=*end]) == **known);
        Ok(found.last().map(|(end, _)| end as u64 + 1))
    }
}

/// The hashes of up to `most` numbers of last lines.
fn hashes(before: &[u8], most: usize) -> Vec<u32> {
    let mut hashes = Vec::new();
    let Some(mut end) = before.len().checked_sub(1).filter(|last| before[*last] == b'\n') else {
        return hashes;
    };
    let mut is_unique = false;
    while hashes.len() < most
        && let Some(line_end) = memrchr(b'\n', &before[..end])
    {
        let lines = &before[line_end + 1..];
        // When some lines stand there once, so do they with more before them.
        is_unique =
            is_unique || (lines.len() >= EVIDENCE && memmem::find(before, lines) == Some(line_end + 1));
        hashes.push(if is_unique { hash(lines) } else { 0 });
        end = line_end;
    }
    hashes
}

/// A hash of lines as positions carry it; never 0, which says that there are none, or that they tell nothing.
pub(super) fn hash(lines: &[u8]) -> u32 {
    (xxh3_64(lines) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn end(lines: &LastLines, bytes: &str) -> Option<u64> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes.as_bytes()).unwrap();
        lines.end_at_start_of(&mut Content::Plain(file)).unwrap()
    }

    #[test]
    fn a_file_that_begins_with_the_last_lines_goes_on_behind_them() {
        let lines: Vec<String> = (0..20).map(|n| format!("2026-11-28 line number {n:020}\n")).collect();
        let known = LastLines::of(lines.concat().as_bytes());
        let held = LastLines::of_position(&LastLines::for_position(lines.concat().as_bytes()));
        for kept in 3..=MAX_LINES {
            let cut = lines[20 - kept..].concat();
            assert_eq!(end(&held, &(cut.clone() + "new\n")), Some(cut.len() as u64), "{kept}");
        }
        // Two of them are not enough, others are none, and some in the middle are not the last.
        assert_eq!(end(&known, &lines[18..].concat()), None);
        assert_eq!(end(&known, &lines.concat().replace("number", "unlike")), None);
        assert_eq!(end(&known, &lines[10..15].concat()), None);
    }

    #[test]
    fn lines_that_repeat_tell_nothing_of_where_they_stand() {
        let line = format!("{}\n", "connection refused, trying again ".repeat(5));
        assert_eq!(end(&LastLines::of(line.repeat(4).as_bytes()), &line.repeat(2)), None);
        let block = format!("{line}other\n");
        assert_eq!(end(&LastLines::of(block.repeat(3).as_bytes()), &block), None);
        assert_eq!(LastLines::of(b""), LastLines::default());
        assert_eq!(LastLines::of(b"no end"), LastLines::default());
    }
}
