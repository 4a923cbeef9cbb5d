//! Reading a directory back after whatever happened to it. Nothing is changed on the disk here.

use std::{collections::VecDeque, io, ops::RangeInclusive, path::Path};

use crate::{
    disk::Disk,
    error::SpoolError,
    record::{self, Header},
    segment::{self, Head},
};

/// Bytes read at a time while a segment is walked.
const WINDOW: usize = 4 << 20;

/// What was found when a spool was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whole records.
    pub records: u64,
    /// Bytes at the torn end of the newest segment, which are left out.
    pub torn_bytes: u64,
    /// Records that are there but damaged.
    pub damaged_records: u64,
    /// Indexes that were given and that no segment holds.
    pub missing_records: u64,
    /// Segments whose own header is damaged; their records are still read.
    pub damaged_segments: u64,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: u64,
    /// Of the record's header.
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// What is wrong with a stretch of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// The segment's own header does not hold; its records are read, by the name.
    SegmentHeader,
    /// No record begins where one should.
    NoRecord,
    /// The record's header holds, its payload does not.
    Payload,
    /// The end of a full segment, which held records once.
    End,
    /// The system can't read it.
    Unreadable,
}

/// A stretch of a segment that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) kind: DamageKind,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Records that are gone with it.
    pub(crate) records: u64,
}

/// A segment and its whole records.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) first: u64,
    /// As in [`SegmentHeader`](segment::SegmentHeader).
    pub(crate) expected: u64,
    /// Whether the header is whole.
    pub(crate) begun: bool,
    /// Index after the last record that is there, whole or damaged.
    pub(crate) next: u64,
    /// Length of the file.
    pub(crate) end: u64,
    /// Bytes at the end that are no record.
    pub(crate) torn: u64,
    /// Where the last group begins: nothing vouches for what is from here on.
    pub(crate) group: u64,
    pub(crate) places: Vec<Place>,
    pub(crate) damage: Vec<Damage>,
}

impl Segment {
    /// A segment without records.
    pub(crate) fn begin(first: u64, expected: u64) -> Self {
        Self {
            name: segment::name(first),
            first,
            expected,
            begun: true,
            next: first,
            end: segment::HEADER as u64,
            torn: 0,
            group: segment::HEADER as u64,
            places: Vec::new(),
            damage: Vec::new(),
        }
    }

    /// Offset and length of the last group, as far as it is whole.
    pub(crate) fn last_group(&self) -> (u64, u64) {
        (self.group, (self.end - self.torn).saturating_sub(self.group))
    }

    /// How many records the torn end can have held at most.
    pub(crate) fn torn_records(&self) -> u64 {
        let there = self.torn > 0 && self.end > segment::HEADER as u64;
        if there { self.torn / record::HEADER as u64 + 1 } else { 0 }
    }

    /// Whole records from index `first` on.
    pub(crate) fn from(&self, first: u64) -> &[Place] {
        &self.places[self.places.partition_point(|place| place.index < first)..]
    }
}

/// Reads all segments, oldest first.
///
/// # Errors
/// When the disk can't be read, or a segment is of a version that this program does not know.
pub(crate) fn recover(disk: &mut dyn Disk, path: &Path) -> Result<(VecDeque<Segment>, Recovery), SpoolError> {
    let failed = |source| SpoolError::disk(path, "read", source);
    let mut report = Recovery::default();
    let mut segments = heads(disk, path, &mut report)?;
    for place in 0..segments.len() {
        // What stands in a segment at or beyond the index that the next one expected was given up as torn before.
        let below = segments.get(place + 1).map(|next| next.expected);
        walk(disk, &mut segments[place], below, &mut report).map_err(failed)?;
    }
    for place in 1..segments.len() {
        let gap = Gap::between(&segments[place - 1], &segments[place]);
        report.damaged_records += gap.damaged;
        report.missing_records += gap.missing;
    }
    report.torn_bytes = segments.back().map_or(0, |last| last.torn);
    Ok((segments, report))
}

/// The segments by their headers, not yet walked.
fn heads(disk: &mut dyn Disk, path: &Path, report: &mut Recovery) -> Result<VecDeque<Segment>, SpoolError> {
    let failed = |source| SpoolError::disk(path, "read", source);
    let names = disk.list().map_err(failed)?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| segment::parse(name)).collect();
    firsts.sort_unstable();
    let found = firsts.into_iter().map(|first| head(disk, path, first));
    let segments = found.collect::<Result<VecDeque<_>, _>>()?;
    // The newest one may have been torn while it was begun: with nothing behind its header nothing is lost.
    let torn = segments.back().is_some_and(|last| !last.begun && last.end <= segment::HEADER as u64);
    let damaged = segments.iter().filter(|segment| !segment.begun).count() as u64;
    report.damaged_segments = damaged - u64::from(torn);
    Ok(segments)
}

/// The segment that is named by `first`, by its header.
pub(crate) fn head(disk: &mut dyn Disk, path: &Path, first: u64) -> Result<Segment, SpoolError> {
    let failed = |source| SpoolError::disk(path, "read", source);
    let mut found = Segment::begin(first, first);
    found.end = disk.len(&found.name).map_err(failed)?;
    let bytes = disk.read(&found.name, 0, segment::HEADER).map_err(failed)?;
    match Head::decode(&bytes) {
        Head::Whole(header) if header.first == first => found.expected = header.expected,
        Head::Version(version) => {
            return Err(SpoolError::Version { path: path.to_owned(), name: found.name, version });
        }
        _ => found.begun = false,
    }
    Ok(found)
}

/// The indexes between two neighbours that neither holds and that were not passed over on purpose.
pub(crate) struct Gap {
    /// So many of them may have stood in the torn end of the first.
    pub(crate) damaged: u64,
    pub(crate) missing: u64,
}

impl Gap {
    pub(crate) fn between(before: &Segment, after: &Segment) -> Self {
        let gap = after.expected.saturating_sub(before.next);
        let damaged = gap.min(before.torn_records());
        Self { damaged, missing: gap - damaged }
    }
}

/// Finds every record of a segment whose header and payload hold.
///
/// After a damaged header the next one that holds is looked for byte by byte. A chance match would need 32 bits of check to
/// hold and an index that fits: every record that was passed over took a header's bytes at least.
pub(crate) fn walk(
    disk: &mut dyn Disk,
    segment: &mut Segment,
    below: Option<u64>,
    report: &mut Recovery,
) -> io::Result<()> {
    let (salt, limit, name) = (segment::salt(segment.first), below.unwrap_or(u64::MAX), segment.name.clone());
    let mut file = Window { disk, name: &name, bytes: Vec::new(), offset: 0 };
    let mut offset = segment::HEADER as u64;
    let mut walk = Walk { segment, end: offset, doubt: None };
    while walk.segment.next < limit && offset + record::HEADER as u64 <= walk.segment.end {
        let indexes = walk.indexes(offset, limit);
        let header = Header::decode(file.bytes(offset, record::HEADER)?, salt, &indexes);
        let Some(header) = header.filter(|header| offset + header.size() as u64 <= walk.segment.end) else {
            offset += 1;
            continue;
        };
        let payload = &file.bytes(offset, header.size())?[record::HEADER..];
        walk.take(&header, offset, header.vouches_for(payload));
        offset = walk.end;
    }
    walk.finish(below.is_none(), report);
    Ok(())
}

/// What was found of a segment so far.
///
/// The newest segment may end with a group that was never synced, and a disk may have written the later pages of such a group
/// and not the earlier ones. So there a damaged record ends the segment, unless a later group vouches that it was durable
/// once: else a record could outlive one that was appended before it and never acknowledged.
struct Walk<'a> {
    segment: &'a mut Segment,
    /// End of the last record.
    end: u64,
    /// Where the segment ends if nothing vouches for what came next.
    doubt: Option<Doubt>,
}

struct Doubt {
    next: u64,
    end: u64,
    places: usize,
    damage: usize,
}

impl Walk<'_> {
    /// The indexes that a record at `offset` can have.
    fn indexes(&self, offset: u64, limit: u64) -> RangeInclusive<u64> {
        let most = self.segment.next.saturating_add((offset - self.end) / record::HEADER as u64);
        self.segment.next..=most.min(limit - 1)
    }

    fn take(&mut self, header: &Header, offset: u64, whole: bool) {
        let lost = header.index - self.segment.next;
        if lost > 0 {
            self.doubt();
        }
        if header.begins_group {
            self.doubt = None;
            self.segment.group = offset;
        }
        if offset > self.end {
            self.damaged(DamageKind::NoRecord, offset - self.end, lost);
        }
        (self.segment.next, self.end) = (header.index, offset);
        if whole {
            self.segment.places.push(Place { index: header.index, offset, length: header.length });
        } else {
            self.doubt();
            self.damaged(DamageKind::Payload, header.size() as u64, 1);
        }
        (self.segment.next, self.end) = (header.index + 1, offset + header.size() as u64);
    }

    /// Notes that `bytes` from the end of the last record on are damaged.
    fn damaged(&mut self, kind: DamageKind, bytes: u64, records: u64) {
        self.segment.damage.push(Damage { kind, offset: self.end, bytes, records });
    }

    fn doubt(&mut self) {
        let (places, damage) = (self.segment.places.len(), self.segment.damage.len());
        let here = Doubt { next: self.segment.next, end: self.end, places, damage };
        self.doubt.get_or_insert(here);
    }

    fn finish(mut self, newest: bool, report: &mut Recovery) {
        if let Some(doubt) = self.doubt.filter(|_| newest) {
            self.segment.places.truncate(doubt.places);
            self.segment.damage.truncate(doubt.damage);
            (self.segment.next, self.end) = (doubt.next, doubt.end);
        }
        // A file can end within its header: then nothing of it is whole.
        let whole = if self.segment.end < self.end { 0 } else { self.end };
        self.segment.torn = self.segment.end - whole;
        report.records += self.segment.places.len() as u64;
        report.damaged_records += self.segment.damage.iter().map(|damage| damage.records).sum::<u64>();
    }
}

/// A file, read a window at a time.
struct Window<'a> {
    disk: &'a mut dyn Disk,
    name: &'a str,
    bytes: Vec<u8>,
    /// Where in the file the window begins.
    offset: u64,
}

impl Window<'_> {
    /// `count` bytes at `offset`, which must be there.
    fn bytes(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let end = self.offset + self.bytes.len() as u64;
        if offset < self.offset || offset + count as u64 > end {
            self.bytes = self.disk.read(self.name, offset, count.max(WINDOW))?;
            self.offset = offset;
        }
        let start = (offset - self.offset) as usize;
        self.bytes.get(start..start + count).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
