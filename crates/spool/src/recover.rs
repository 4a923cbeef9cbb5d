//! Reading a directory back after whatever happened to it.

use std::io;

use crate::{
    disk::Disk,
    record::{self, Header},
    segment::{self, SegmentHeader},
};

/// Bytes read at a time while a segment is walked.
const WINDOW: usize = 4 << 20;

/// What was found when a spool was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whole records.
    pub records: u64,
    /// Bytes cut from the torn end of the newest segment.
    pub torn_bytes: u64,
    /// Records that are there but damaged.
    pub damaged_records: u64,
    /// Indexes that no segment holds.
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

/// A segment and its whole records.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) first: u64,
    /// End of the last whole record.
    pub(crate) end: u64,
    pub(crate) places: Vec<Place>,
}

/// Walks one segment: every record whose header and payload hold.
///
/// After a damaged header the next one that holds is looked for byte by byte: a chance match would need 32 bits of check to hold
/// and an index that fits.
pub(crate) fn walk(
    disk: &mut dyn Disk,
    name: &str,
    first: u64,
    report: &mut Recovery,
) -> io::Result<Segment> {
    let length = disk.len(name)?;
    let header = disk.read(name, 0, segment::HEADER)?;
    if SegmentHeader::decode(&header).is_none_or(|header| header.first != first) {
        report.damaged_segments += 1;
    }
    let salt = segment::salt(first);
    let mut found = Segment { name: name.to_owned(), first, end: segment::HEADER as u64, places: Vec::new() };
    let (mut offset, mut next) = (segment::HEADER as u64, first);
    let (mut window, mut base) = (Vec::new(), 0u64);
    while offset + record::HEADER as u64 <= length {
        let needed = |bytes: usize| offset < base || offset + bytes as u64 > base + window.len() as u64;
        if needed(record::HEADER) {
            window = disk.read(name, offset, WINDOW)?;
            base = offset;
        }
        let at = (offset - base) as usize;
        let Some(header) = Header::decode(&window[at..], salt).filter(|header| header.index >= next) else {
            offset += 1;
            continue;
        };
        let whole = record::HEADER + header.length as usize;
        if offset + whole as u64 > length {
            offset += 1;
            continue;
        }
        if offset + whole as u64 > base + window.len() as u64 {
            window = disk.read(name, offset, whole.max(WINDOW))?;
            base = offset;
        }
        let at = (offset - base) as usize;
        report.damaged_records += header.index - next;
        next = header.index + 1;
        if header.vouches_for(&window[at + record::HEADER..at + whole]) {
            found.places.push(Place { index: header.index, offset, length: header.length });
            report.records += 1;
        } else {
            report.damaged_records += 1;
        }
        offset += whole as u64;
        found.end = offset;
    }
    Ok(found)
}

/// Walks all segments in order. `end` of the last one is where it may be cut.
pub(crate) fn walk_all(disk: &mut dyn Disk, report: &mut Recovery) -> io::Result<Vec<Segment>> {
    let mut firsts: Vec<u64> = disk.list()?.iter().filter_map(|name| segment::parse(name)).collect();
    firsts.sort_unstable();
    let mut segments: Vec<Segment> = Vec::new();
    for (place, first) in firsts.iter().copied().enumerate() {
        let found = walk(disk, &segment::name(first), first, report)?;
        if place == 0 {
            segments.push(found);
            continue;
        }
        // What the names promise and the records before do not hold was lost between the two.
        let held =
            segments.last().map_or(first, |last| last.places.last().map_or(last.first, |p| p.index + 1));
        report.missing_records += first.saturating_sub(held);
        segments.push(found);
    }
    Ok(segments)
}
