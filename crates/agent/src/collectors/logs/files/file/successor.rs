//! A file under the name of another one that is a copy of it: what rsync, editors and `sed -i` leave.
//!
//! While the old file is open, the two are compared byte by byte. What is new or was changed in the new one is read, and nothing else.

use std::{io, time::Instant};

use lapwing::v1::FilePosition;
use memchr::{memchr, memmem, memrchr};

use super::{
    CHUNK, TRACE, TailedFile,
    doubt::{SETTLES, settles},
};
use crate::collectors::logs::files::fingerprint::Fingerprint;

/// Bytes that are compared at most: larger files are compared at their beginning and at the position.
const MAX_COMPARED: u64 = 64 << 20;
/// Bytes that must be the same while the old file still has a name: it was renamed, and the new one may be the next.
const EVIDENCE: u64 = 1024;
/// So many of the last bytes that were read of the old file are looked for in the new one, the most first.
const ENDS: [usize; 3] = [TRACE, 256, 64];

/// What was compared is not compared again sooner than after so many times what that took.
const REST: u32 = 10;

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

/// A new file that is empty, or is a beginning of the one that had its name before: an editor creates a file, and then writes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct HalfWritten {
    size: u64,
    /// When it had that size first.
    since: Instant,
    /// When it is worth to be compared again.
    next: Instant,
}

impl HalfWritten {
    /// Whether there is nothing in it yet.
    pub(super) fn is_empty(self) -> bool {
        self.size == 0
    }
}

/// What a file is to the one that had its name before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Succession {
    /// Another file.
    None,
    /// It may be just written, and what it is will show. Nothing is to be read of it until then.
    Undecided,
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
        let began = Instant::now();
        let common = self.common_start(old)?;
        let is_all = common >= about.size;
        if common == size && !is_all && !self.is_written(size, began) {
            return Ok(Succession::Undecided);
        }
        let parted = self.line_start(common)?;
        let known = if is_all { None } else { self.changed_lines(old, parted, size)? };
        let kept = known.map_or(common, |known| parted + (known.to - known.from));
        let is_most = kept > 0 && kept >= about.size / 2;
        if !is_most || (kept < EVIDENCE && !(is_all && about.is_unlinked)) {
            return self.succeed_without_head(old, about.is_unlinked, size);
        }

        if is_all {
            self.take_over(old)?;
            old.leave_rest(about.size)?;
            return Ok(Succession::Whole);
        }
        // What both begin with is known as it was.
        self.below.blocks = old.below.blocks.clone();
        self.below.blocks.cut(parted.min(old.offset), &mut self.content)?;
        if common == size {
            // Only its end was cut off.
            self.go_to(size)?;
            self.within_line = parted < size;
        } else {
            self.go_to(parted)?;
            self.known = known;
        }
        self.grow_head()?;
        Ok(Succession::Part)
    }

    /// Whether a beginning of the old file is all that this one is going to be, as far as that can be told.
    fn is_written(&mut self, size: u64, began: Instant) -> bool {
        let now = Instant::now();
        let since = match self.half_written {
            Some(half) if half.size == size => half.since,
            _ => now,
        };
        self.grew = self.grew.max(since);
        self.half_written = Some(HalfWritten { size, since, next: now + REST * (now - began) });
        size > 0 && since.elapsed() >= settles(size)
    }

    /// Whether it is not known yet what it is to the file that had its name before.
    pub(crate) fn is_undecided(&self) -> bool {
        self.half_written.is_some()
    }

    /// It is clear what it is.
    pub(crate) fn decide(&mut self) {
        self.half_written = None;
    }

    /// Whether there is something new to be compared. Of an empty file nothing is.
    pub(crate) fn may_be_decided(&self) -> io::Result<bool> {
        let Some(half) = self.half_written else { return Ok(true) };
        let size = self.content.about()?.size;
        let is_due = size != half.size || half.since.elapsed() >= SETTLES;
        Ok(size > 0 && is_due && half.next <= Instant::now())
    }

    /// What is not read of it, a line without an end, is read from the file that took its place.
    fn leave_rest(&mut self, size: u64) -> io::Result<()> {
        if self.gap.is_none() && size > self.offset {
            self.go_to(size)?;
            self.within_line = true;
        }
        Ok(())
    }

    /// Goes behind the last lines of `old`, when this file begins with them and most of what was before them was cut off.
    fn succeed_without_head(
        &mut self,
        old: &mut Self,
        is_unlinked: bool,
        size: u64,
    ) -> io::Result<Succession> {
        // One that still has a name was renamed, and few lines in common do not tell that this one is no new file.
        let place = old.fingerprint().moved_to(&mut self.content, size)?;
        let Some(place) = place.map(|moved| moved.place).filter(|place| is_unlinked || *place >= EVIDENCE)
        else {
            return Ok(Succession::None);
        };
        // A line that was changed before it is new, however much stands behind that.
        if self.common_end(old, place, place.min(old.offset))? < place {
            return Ok(Succession::None);
        }
        self.go_to(place)?;
        self.grow_head()?;
        Ok(Succession::Part)
    }

    /// The start of the line that `place` is in.
    pub(super) fn line_start(&mut self, place: u64) -> io::Result<u64> {
        let mut end = place;
        while end > 0 {
            let start = end.saturating_sub(CHUNK as u64);
            let bytes = self.content.read_at(start, usize::try_from(end - start).unwrap_or(CHUNK))?;
            if let Some(line_end) = memrchr(b'\n', &bytes) {
                return Ok(start + line_end as u64 + 1);
            }
            end = start;
        }
        Ok(0)
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
        self.first_lines = old.first_lines;
        self.marks = old.marks.clone();
        self.below.blocks = old.below.blocks.clone();
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

    /// Which lines from `parted` on, the first that differs, are the last ones that were read of the old file.
    fn changed_lines(&mut self, old: &mut Self, parted: u64, size: u64) -> io::Result<Option<Known>> {
        let Some(read) = old.offset.checked_sub(parted).filter(|read| *read > 0 && !old.within_line) else {
            return Ok(None);
        };
        let Some(end) = self.find_end(&old.trace, read, parted, size)? else { return Ok(None) };
        let same = self.common_end(old, end, read.min(end - parted))?;

        // The first of these lines that is the same as a whole begins at a line end in both.
        let start = end - same;
        let is_line =
            self.line_start(start)? == start && old.line_start(old.offset - same)? == old.offset - same;
        let from = if is_line { Some(start) } else { self.next_line(start, end)? };
        Ok(from.map(|from| Known { from, to: end }).filter(|known| known.from < known.to))
    }

    /// The end of the first place from `from` on where the last of these bytes stand, as many as possible: the others may have been
    /// changed. At most `read` of them.
    fn find_end(&mut self, trace: &[u8], read: u64, from: u64, size: u64) -> io::Result<Option<u64>> {
        let most = trace.len().min(usize::try_from(read).unwrap_or(usize::MAX));
        let mut lengths = ENDS.map(|length| length.min(most)).to_vec();
        lengths.dedup();
        for length in lengths {
            if let Some(end) = self.find(&trace[trace.len() - length..], from, size)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// The end of the first place from `from` on where these bytes stand.
    fn find(&mut self, bytes: &[u8], from: u64, size: u64) -> io::Result<Option<u64>> {
        let finder = memmem::Finder::new(bytes);
        let mut at = from;
        while !bytes.is_empty() && at + bytes.len() as u64 <= size {
            let chunk = self.content.read_at(at, CHUNK + bytes.len() - 1)?;
            if let Some(found) = finder.find(&chunk) {
                return Ok(Some(at + (found + bytes.len()) as u64));
            }
            at += CHUNK as u64;
        }
        Ok(None)
    }

    /// How many bytes before `end` are those before the old file's position; `limit` at most.
    fn common_end(&mut self, old: &mut Self, end: u64, limit: u64) -> io::Result<u64> {
        let mut same = 0;
        while same < limit {
            let length = CHUNK.min(usize::try_from(limit - same).unwrap_or(CHUNK));
            let before = same + length as u64;
            let new = self.content.read_at(end - before, length)?;
            let old = old.content.read_at(old.offset - before, length)?;
            let more = new.iter().rev().zip(old.iter().rev()).take_while(|(a, b)| a == b).count();
            same += more as u64;
            if more < length {
                break;
            }
        }
        Ok(same)
    }

    /// The start of the first line behind `from` and before `end`.
    pub(super) fn next_line(&mut self, from: u64, end: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at < end {
            let chunk = self.content.read_at(at, CHUNK)?;
            if let Some(line_end) = memchr(b'\n', &chunk) {
                return Ok(Some(at + line_end as u64 + 1));
            }
            if chunk.is_empty() {
                break;
            }
            at += chunk.len() as u64;
        }
        Ok(None)
    }

    /// Passes lines that are known from the old file, once it is at them.
    pub(super) fn pass_known(&mut self) -> io::Result<bool> {
        let Some(known) = self.known.filter(|known| self.offset >= known.from) else { return Ok(false) };
        self.known = None;
        let is_there = self.offset == known.from;
        if is_there {
            self.go_to(known.to)?;
            self.restore_rest();
            self.grow_head()?;
        }
        Ok(is_there)
    }
}
