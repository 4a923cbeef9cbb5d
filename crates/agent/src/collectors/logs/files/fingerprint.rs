//! What is remembered of the bytes that were read, to tell whether they are still there.
//!
//! The first bytes of a file, those before the position, and a few places between, each nearer to the position than the one
//! before it. A fingerprint is small, travels with the position, and tells
//!
//! - whether everything before the position is as it was;
//! - up to where it is, when a part behind that was overwritten or cut off;
//! - where in a file the position is, when a part before it was cut off.

use std::{io, ops::Range};

use lapwing::v1::FilePosition;
use memchr::{memchr_iter, memrchr};
use xxhash_rust::xxh3::xxh3_64;

use super::{content::Content, first_lines::FirstLines, last_lines::LastLines};

/// First bytes that tell a file from another.
pub(super) const HEAD: usize = 1024;
/// Bytes before the position whose hash travels with it.
const TRACE: usize = 256;
/// Bytes before a mark that its hash covers: more than the end that all lines of a log have in common.
const MARK: usize = 256;
/// So many lines before the position have a mark each ...
const LAST_LINES: usize = 4;
/// ... and each further one stands about so many times further away than the one before it.
const STEP: u64 = 4;
/// Most marks of a position: the last of them is some megabytes away.
const MAX_MARKS: usize = 16;
/// Bytes that must be the same for a place elsewhere in a file to be taken for the position.
const EVIDENCE: u64 = 1024;
/// Of a file of which no more than this was read, what was not compared is read again when something before the position changed.
const SMALL: u64 = 64 << 10;
/// Bytes looked through for the position at another place.
const MAX_SEARCH: u64 = 64 << 20;
/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// A run of bytes, by its hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hashed {
    pub(super) length: u32,
    pub(super) hash: u64,
}

/// The start of a line, and the hash of the bytes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    at: u64,
    hash: u32,
}

/// Starts of lines, the nearest to the position last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks(Vec<Mark>);

/// Where the position is by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) place: u64,
    /// What is from here up to `place` was read. What is before it may have been changed.
    pub(super) known_from: u64,
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Up to where the file was read.
    pub(super) offset: u64,
    /// Its first bytes.
    pub(super) head: Hashed,
    /// The bytes before `offset`. Of a position of an agent that did not tell yet: none.
    pub(super) trace: Hashed,
    /// The same, further back.
    pub(super) end: Hashed,
    pub(super) first_lines: FirstLines,
    pub(super) marks: Marks,
    pub(super) last_lines: LastLines,
}

impl Hashed {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { length: bytes.len() as u32, hash: xxh3_64(bytes) }
    }

    /// Of the bytes before a position, those whose hash travels with it.
    pub(super) fn trace(before: &[u8]) -> Self {
        Self::new(last(before, TRACE))
    }

    /// Whether these are the bytes before a place. Of none it is not known, and taken for true.
    fn is_before(self, content: &mut Content, place: u64) -> io::Result<bool> {
        match place.checked_sub(u64::from(self.length)) {
            Some(start) => self.is_at(content, start),
            None => Ok(false),
        }
    }

    fn is_at(self, content: &mut Content, offset: u64) -> io::Result<bool> {
        Ok(self.length == 0 || Self::new(&content.read_at(offset, self.length as usize)?) == self)
    }
}

impl Mark {
    /// How far it is from a position, in powers of [`STEP`].
    fn order(&self, offset: u64) -> u32 {
        offset.saturating_sub(self.at).max(1).ilog(STEP)
    }
}

fn last(bytes: &[u8], length: usize) -> &[u8] {
    &bytes[bytes.len().saturating_sub(length)..]
}

/// How many bytes the hash of a mark covers. One that the head says nothing of covers all that is before it.
fn covered(at: u64) -> usize {
    usize::try_from(at).ok().filter(|at| *at <= HEAD).unwrap_or(MARK)
}

/// The hash of a mark at `at`, by the bytes before it.
fn mark_hash(at: u64, before: &[u8]) -> u32 {
    xxh3_64(last(before, covered(at))) as u32
}

impl Marks {
    /// Notes starts of lines among bytes that were just read: those that end at `offset`, of which the last `new` are new.
    pub(super) fn advance(&mut self, offset: u64, bytes: &[u8], new: usize) {
        let start = offset - bytes.len() as u64;
        let before = bytes.len() - new;
        let mut found = Vec::new();
        let mut distance = 1;
        while distance <= new {
            let line = memrchr(b'\n', &bytes[..bytes.len() - distance]).map_or(0, |end| end + 1);
            let is_first = line == 0 && start == 0;
            if is_first || line < before || (line < MARK && start > 0) {
                break;
            }
            let at = start + line as u64;
            found.push(Mark { at, hash: mark_hash(at, &bytes[..line]) });

            // The last lines each, the others ever further apart.
            let length = bytes.len() - line;
            let next = if found.len() < LAST_LINES { length } else { length.saturating_mul(STEP as usize) };
            distance = next + 1;
        }
        if before > 0 && bytes[before - 1] == b'\n' {
            let at = start + before as u64;
            found.push(Mark { at, hash: mark_hash(at, &bytes[..before]) });
        }

        self.0.extend(found.into_iter().rev());
        self.0.dedup_by_key(|mark| mark.at);
        self.thin_out(offset);
    }

    /// Keeps the last lines, and of what is before them two marks for each order of distance: the furthest, and the nearest, which becomes
    /// the furthest of the next order in time.
    fn thin_out(&mut self, offset: u64) {
        let last = self.0.split_off(self.0.len().saturating_sub(LAST_LINES));
        let mut kept: Vec<Mark> = Vec::with_capacity(self.0.len() + LAST_LINES);
        for mark in std::mem::take(&mut self.0) {
            let is_third = kept.len() >= 2 && kept[kept.len() - 2].order(offset) == mark.order(offset);
            if is_third {
                kept.pop();
            }
            kept.push(mark);
        }
        let extra = kept.len().saturating_sub(2 * MAX_MARKS);
        kept.drain(..extra);
        kept.extend(last);
        self.0 = kept;
    }

    /// Forgets what is behind `offset`.
    pub(super) fn cut(&mut self, offset: u64) {
        self.0.retain(|mark| mark.at < offset);
    }

    /// Forgets those whose bytes may be among these.
    pub(super) fn remove(&mut self, changed: Range<u64>) {
        self.0.retain(|mark| mark.at <= changed.start || mark.at - covered(mark.at) as u64 >= changed.end);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// As positions carry them, the nearest first: the last lines, and one for each order of distance before them.
    pub(super) fn to_position(&self, offset: u64) -> (Vec<u32>, Vec<u32>) {
        let (far, last) = self.0.split_at(self.0.len().saturating_sub(LAST_LINES));
        let mut far = far.to_vec();
        far.dedup_by_key(|mark| mark.order(offset));
        let pair = |mark: &Mark| Some((u32::try_from(offset.checked_sub(mark.at)?).ok()?, mark.hash));
        far.iter().chain(last).rev().take(MAX_MARKS).filter_map(pair).unzip()
    }

    fn of_position(position: &FilePosition) -> Self {
        let pairs = position.mark_distances.iter().zip(&position.mark_hashes).take(MAX_MARKS);
        let marks = pairs.filter_map(|(distance, hash)| {
            Some(Mark { at: position.offset.checked_sub(u64::from(*distance))?, hash: *hash })
        });
        let mut marks: Vec<Mark> = marks.collect();
        marks.sort_by_key(|mark| mark.at);
        Self(marks)
    }
}

impl Fingerprint {
    pub(super) fn of_position(position: &FilePosition) -> Self {
        let trace = position.trace_length.min(TRACE as u32);
        let is_told = u64::from(trace) <= position.offset && trace == position.trace_length;
        Self {
            offset: position.offset,
            head: Hashed { length: position.head_length.min(HEAD as u32), hash: position.head_hash },
            trace: if is_told {
                Hashed { length: trace, hash: position.trace_hash }
            } else {
                Hashed::default()
            },
            end: Hashed { length: position.end_length.min(HEAD as u32), hash: position.end_hash },
            first_lines: FirstLines::of_position(&position.first_lines_hashes),
            marks: Marks::of_position(position),
            last_lines: LastLines::of_position(&position.last_lines_hashes),
        }
    }

    /// Whether the file begins as it did.
    pub(super) fn has_head(&self, content: &mut Content) -> io::Result<bool> {
        self.head.is_at(content, 0)
    }

    /// Whether the bytes before the position are there. Of a position that does not tell, its place has to do.
    pub(super) fn has_trace(&self, content: &mut Content) -> io::Result<bool> {
        if content.read_at(self.offset.saturating_sub(1), 1)?.is_empty() && self.offset > 0 {
            return Ok(false);
        }
        Ok(self.trace.is_before(content, self.offset)? && self.end.is_before(content, self.offset)?)
    }

    /// Whether everything before the position seems to be as it was.
    pub(super) fn is_in(&self, content: &mut Content) -> io::Result<bool> {
        Ok(self.has_head(content)? && self.has_trace(content)?)
    }

    /// The last start of a line up to which the file is as it was. At least half of what was read must be: else it is another
    /// content that begins with the same lines.
    pub(super) fn same_up_to(&self, content: &mut Content, size: u64) -> io::Result<Option<u64>> {
        // When the very last bytes are there, and some that are not far before them are not, it was changed before all of these.
        let is_trace =
            size >= self.offset && self.end.length > 0 && self.trace.is_before(content, self.offset)?;
        let is_before_end = is_trace && !self.end.is_before(content, self.offset)?;
        let most = if is_before_end { self.offset.saturating_sub(u64::from(self.end.length)) } else { size };
        let near = self.marks.0.iter().rev().filter(|mark| mark.at <= most && mark.at >= self.offset / 2);
        for mark in near {
            let length = covered(mark.at);
            let before = content.read_at(mark.at - length as u64, length)?;
            if before.len() == length
                && mark_hash(mark.at, &before) == mark.hash
                && self.begins_alike(content, mark.at)?
            {
                return Ok(Some(mark.at));
            }
        }
        Ok(None)
    }

    /// The head, as far as it is before `place`.
    fn begins_alike(&self, content: &mut Content, place: u64) -> io::Result<bool> {
        Ok(u64::from(self.head.length) > place || self.has_head(content)?)
    }

    /// Where the position is, when something before it was cut off or changed: its bytes stand elsewhere, and so do those at the marks.
    pub(super) fn moved_to(&self, content: &mut Content, size: u64) -> io::Result<Option<Moved>> {
        if self.has_head(content)? {
            return Ok(None);
        }
        if let Some(place) = self.last_lines.end_at_start_of(content)? {
            return Ok(Some(Moved { place, known_from: 0 }));
        }
        let Some(place) = self.find_trace(content, size)? else { return Ok(None) };

        let is_cut = place < self.offset && !self.first_lines.any_in(content)?;
        let known_from = if is_cut { 0 } else { self.known_from(content, place)? };
        Ok(Some(Moved { place, known_from }))
    }

    /// The head was not cut off but changed, and what is behind that is the same up to `place`: from where on that is sure. In a large file
    /// it is as sure as the marks are.
    fn known_from(&self, content: &mut Content, place: u64) -> io::Result<u64> {
        let is_end = self.end.is_before(content, place)?;
        let end = if is_end { self.trace.length.max(self.end.length) } else { self.trace.length };
        let mut distance = u64::from(end);
        if self.offset > SMALL && is_end {
            let distances = self.marks.0.iter().filter(|mark| mark.at >= HEAD as u64);
            let distances = distances.map(|mark| self.offset.saturating_sub(mark.at));
            let furthest = distances.filter(|distance| distance + MARK as u64 <= place).max();
            distance = furthest.map_or(distance, |furthest| furthest.max(distance));
        }
        Ok(place.saturating_sub(distance))
    }

    /// The place behind the bytes that stood before the position.
    fn find_trace(&self, content: &mut Content, size: u64) -> io::Result<Option<u64>> {
        let length = self.trace.length as usize;
        if length < TRACE {
            return Ok(None);
        }
        let mut start = 0u64;
        while start < size.min(MAX_SEARCH) {
            let chunk = content.read_at(start, CHUNK)?;
            for end in memchr_iter(b'\n', &chunk).map(|end| end + 1).filter(|end| *end >= length) {
                let place = start + end as u64;
                let is_here = Hashed::new(&chunk[end - length..end]) == self.trace;
                if is_here && place >= EVIDENCE && self.marks_are_before(content, place)? {
                    return Ok(Some(place));
                }
            }
            if chunk.len() < CHUNK {
                break;
            }
            start += (CHUNK - length) as u64;
        }
        Ok(None)
    }

    fn marks_are_before(&self, content: &mut Content, place: u64) -> io::Result<bool> {
        for mark in self.marks.0.iter().rev() {
            let Some(at) = place.checked_sub(self.offset - mark.at) else { break };
            let length = covered(mark.at);
            let Some(from) = at.checked_sub(length as u64) else { break };
            if mark_hash(mark.at, &content.read_at(from, length)?) != mark.hash {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(range: std::ops::Range<u32>) -> Vec<u8> {
        range.flat_map(|n| format!("2026-11-28 line number {n} of the log\n").into_bytes()).collect()
    }

    /// As a reader makes it that reads `step` bytes at a time.
    fn fingerprint(bytes: &[u8], step: usize) -> Fingerprint {
        let mut marks = Marks::default();
        let mut offset = 0;
        while offset < bytes.len() {
            let end = (offset + step).min(bytes.len());
            let end = memrchr(b'\n', &bytes[..end]).unwrap() + 1;
            let back = offset.min(1024);
            marks.advance(end as u64, &bytes[offset - back..end], end - offset);
            offset = end;
        }
        Fingerprint {
            offset: offset as u64,
            head: Hashed::new(&bytes[..HEAD.min(bytes.len())]),
            trace: Hashed::trace(bytes),
            end: Hashed::new(last(bytes, HEAD)),
            first_lines: FirstLines::of(&bytes[..HEAD.min(bytes.len())]),
            marks,
            last_lines: LastLines::of(last(bytes, HEAD)),
        }
    }

    #[test]
    fn marks_stand_at_starts_of_lines_further_and_further_away() {
        let bytes = lines(0..5_000);
        for step in [50, 1_000, 256 << 10] {
            let known = fingerprint(&bytes, step);
            let (distances, _) = known.marks.to_position(known.offset);
            assert!((5..=MAX_MARKS).contains(&distances.len()), "{step}: {distances:?}");
            assert!(distances.windows(2).all(|pair| pair[0] < pair[1]), "{distances:?}");
            for distance in distances {
                assert_eq!(bytes[bytes.len() - distance as usize - 1], b'\n');
            }
        }
    }

    #[test]
    fn a_file_that_was_overwritten_is_the_same_up_to_a_mark_before_it() {
        let bytes = lines(0..1_000);
        let mut changed = bytes.clone();
        let place = bytes.len() - 700;
        changed[place..].fill(b'x');
        for step in [50, 4_000, 256 << 10] {
            let known = fingerprint(&bytes, step);
            assert!(known.is_in(&mut Content::of(&bytes)).unwrap());
            assert!(!known.is_in(&mut Content::of(&changed)).unwrap());
            let same =
                known.same_up_to(&mut Content::of(&changed), changed.len() as u64).unwrap().unwrap() as usize;
            assert!(same <= place && same > place - 5_000, "{step}: {same} of {place}");
        }
    }

    #[test]
    fn the_position_is_found_behind_a_head_that_was_cut_off_and_not_in_other_content() {
        let bytes = lines(0..1_000);
        let cut = &bytes[bytes.len() / 2..];
        let cut = &cut[memchr::memchr(b'\n', cut).unwrap() + 1..];
        let more = [cut, b"new\n"].concat();
        let other = [&lines(2_000..2_500), last(&bytes, 300), b"new\n"].concat();
        for step in [50, 4_000, 256 << 10] {
            let known = fingerprint(&bytes, step);
            let found = |bytes: &[u8]| known.moved_to(&mut Content::of(bytes), bytes.len() as u64).unwrap();
            assert_eq!(found(&more), Some(Moved { place: cut.len() as u64, known_from: 0 }), "{step}");
            assert_eq!(found(&other), None, "{step}");
        }
    }
}
