//! A file under the name of another one that is a copy of it: what rsync, editors and `sed -i` leave.
//!
//! While the old file is open, the two are compared byte by byte. What is new or was changed in the new one is read, and nothing else.

use std::io;

use lapwing::v1::FilePosition;
use memchr::{memchr, memmem, memrchr};

use super::{CHUNK, TailedFile};
use crate::collectors::logs::files::fingerprint::Fingerprint;

/// Bytes that are compared at most: larger files are compared at their beginning and at the position.
const MAX_COMPARED: u64 = 64 << 20;
/// Bytes that must be the same while the old file still has a name: it was renamed, and the new one may be the next.
const EVIDENCE: u64 = 1024;

/// Lines that were read are left out from `from` up to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Known {
    /// As the collector holds it.
    pub(super) fn of_position(held: &FilePosition) -> Option<Self> {
        let known = Self { from: held.known_from, to: held.known_to };
        (known.from >= held.offset && known.from < known.to).then_some(known)
    }
}

/// What a file is to the one that had its name before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Succession {
    /// Another file.
    None,
    /// It holds all of the old one, and goes on where that was.
    Whole,
    /// It holds a part of what was read of the old one, and goes on behind that.
    Part,
}

impl TailedFile {
    /// Whether the two are small enough to be compared in one go. Larger ones are not worth the time that all other files wait.
    pub(crate) fn may_succeed(&self, old: &Self) -> bool {
        let size = |file: &Self| file.content.about().map_or(u64::MAX, |about| about.size);
        old.live.is_none() && size(old) <= MAX_COMPARED && size(self) <= 4 * MAX_COMPARED
    }

    /// Goes to where `old` is, when this file holds the same. The old one is read to its end, and is not to be read on then.
    pub(crate) fn succeed(&mut self, old: &mut Self) -> io::Result<Succession> {
        let about = old.content.about()?;
        let size = self.content.about()?.size;
        if old.live.is_some() || old.offset == 0 || about.size > MAX_COMPARED || size > 4 * MAX_COMPARED {
            return Ok(Succession::None);
        }
        let common = self.common_start(old)?;
        let is_most = common > 0 && common >= about.size / 2;
        if !is_most || (common < EVIDENCE && (!about.is_unlinked || common < about.size)) {
            return Ok(Succession::None);
        }

        if common >= about.size {
            self.take_over(old)?;
            return Ok(Succession::Whole);
        }
        let before = self.content.read_at(0, usize::try_from(common).unwrap_or(usize::MAX))?;
        let parted = memrchr(b'\n', &before).map_or(0, |end| end as u64 + 1);
        if common == size {
            // Only its end was cut off.
            self.go_to(size)?;
            self.within_line = parted < size;
        } else {
            self.go_to(parted)?;
            self.known = self.changed_lines(old, common, size)?;
        }
        self.grow_head()?;
        Ok(Succession::Part)
    }

    /// Goes to where an old file is by what the collector holds of it.
    pub(crate) fn succeed_held(&mut self, known: &Fingerprint, within_line: bool) -> io::Result<bool> {
        let size = self.content.about()?.size;
        if known.trace.length == 0 {
            return Ok(false);
        }
        if size >= known.offset && known.is_in(&mut self.content)? {
            self.take(known)?;
            self.within_line = within_line;
            return Ok(true);
        }
        self.find_place(known, size)
    }

    fn take_over(&mut self, old: &Self) -> io::Result<()> {
        self.head = old.head;
        self.marks = old.marks.clone();
        self.go_to(old.offset)?;
        self.within_line = old.within_line;
        self.grow_head()
    }

    /// How many bytes both begin with.
    fn common_start(&mut self, old: &mut Self) -> io::Result<u64> {
        let mut at = 0;
        loop {
            let (new, old) = (self.content.read_at(at, CHUNK)?, old.content.read_at(at, CHUNK)?);
            let same = new.iter().zip(&old).take_while(|(a, b)| a == b).count();
            at += same as u64;
            if same < CHUNK {
                return Ok(at);
            }
        }
    }

    /// Which lines behind the first difference are the last ones that were read of the old file.
    fn changed_lines(&mut self, old: &mut Self, common: u64, size: u64) -> io::Result<Option<Known>> {
        if old.trace.is_empty() || old.within_line {
            return Ok(None);
        }
        let rest = self.content.read_at(common, usize::try_from(size - common).unwrap_or(usize::MAX))?;
        let read = old.content.read_at(common, usize::try_from(old.offset - common).unwrap_or(usize::MAX))?;
        let trace = &old.trace[old.trace.len().saturating_sub(read.len())..];
        let Some(found) = memmem::find(&rest, trace) else { return Ok(None) };
        let end = found + trace.len();
        let same = rest[..end].iter().rev().zip(read.iter().rev()).take_while(|(a, b)| a == b).count();

        // The first of these lines that is the same as a whole begins behind a line end.
        let Some(start) = memchr(b'\n', &rest[end - same..end]) else { return Ok(None) };
        let from = common + (end - same + start) as u64 + 1;
        Ok(Some(Known { from, to: common + end as u64 }).filter(|known| known.from < known.to))
    }

    /// Passes lines that are known from the old file, once it is at them.
    pub(super) fn pass_known(&mut self) -> io::Result<bool> {
        let Some(known) = self.known.filter(|known| self.offset >= known.from) else { return Ok(false) };
        self.known = None;
        let is_there = self.offset == known.from;
        if is_there {
            self.go_to(known.to)?;
            self.grow_head()?;
        }
        Ok(is_there)
    }
}
