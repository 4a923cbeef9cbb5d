//! Looking at a spool's directory: no lock is taken and nothing is written.
//!
//! - Damage is what recovery would count as lost; the rules are recovery's own.
//! - A writer may be at work. What it writes at this moment is the [`Tail`], in progress, and no damage. A segment that it removes
//!   meanwhile is left out, and with it all before: segments go oldest first. What looks like damage is looked at twice.

mod reading;

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use self::reading::Reading;
pub use crate::recover::DamageKind;
use crate::{
    disk::{Disk, LOCK},
    error::SpoolError,
    holder::{Holder, holder},
    record::{self, Header},
    recover::{self, Gap, Recovery, Segment},
    segment,
};

/// Prefix of the folders that `repair` sets things aside in.
pub(crate) const QUARANTINE: &str = "damaged-";

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentState {
    /// Its file.
    pub name: String,
    /// Index of its first record, by its name.
    pub first: u64,
    /// Index after its last record.
    pub next: u64,
    /// Whole records.
    pub records: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes at its end that are no record. A crash leaves such an end; the next segment says that it was given up.
    pub torn: u64,
    /// The header does not hold.
    pub headless: bool,
    /// Written by a newer program, in this version: nothing of it can be read.
    pub newer: Option<u32>,
}

/// A stretch of a segment that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file.
    pub segment: String,
    /// What is wrong.
    pub kind: DamageKind,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Records that are gone with it.
    pub records: u64,
}

/// Indexes that were given and that no segment holds: a file is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The segment behind them.
    pub before: String,
    /// The first of them.
    pub first: u64,
    /// How many.
    pub records: u64,
}

/// Bytes at the end of the newest segment that are no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The segment's file.
    pub segment: String,
    /// Where they begin.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
    /// How many records they can have held at most.
    pub records: u64,
    /// A writer is at work: they are on their way.
    pub in_progress: bool,
}

/// What is in a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Who has it open.
    pub holder: Option<Holder>,
    /// All segments, oldest first.
    pub segments: Vec<SegmentState>,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// What is gone.
    pub missing: Vec<Missing>,
    /// The torn end of the newest segment.
    pub tail: Option<Tail>,
    /// Names that are not a spool's.
    pub foreign: Vec<String>,
}

impl Inspection {
    /// Whole records.
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.records).sum()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Records that are damaged or missing.
    pub fn lost(&self) -> u64 {
        let damaged: u64 = self.damage.iter().map(|damage| damage.records).sum();
        damaged + self.missing.iter().map(|missing| missing.records).sum::<u64>()
    }

    /// A segment that only a newer program reads.
    pub fn newer(&self) -> Option<(&str, u32)> {
        self.segments.iter().find_map(|segment| Some((&*segment.name, segment.newer?)))
    }

    /// Whether nothing is damaged, missing or unknown. A torn end is what a crash leaves, and no damage.
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty() && self.missing.is_empty() && self.newer().is_none()
    }
}

/// Where a whole record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPlace {
    /// Its index.
    pub index: u64,
    /// Index of the first record of its segment, which names that.
    pub segment: u64,
    /// Of the record's header in the file.
    pub offset: u64,
    /// Bytes of the payload.
    pub bytes: u32,
}

/// A directory that was looked at, and whose records can be read.
#[derive(Debug)]
pub struct Inspector {
    disk: Reading,
    segments: VecDeque<Segment>,
    inspection: Inspection,
}

impl Inspector {
    /// Looks at the spool in `path`.
    ///
    /// # Errors
    /// When the directory can't be read. Damage is no error.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        let first = Self::look(path, holder)?;
        if first.inspection.holder.is_none() || first.inspection.is_whole() {
            return Ok(first);
        }
        let mut second = Self::look(path, holder)?;
        let (seen, found) = (first.inspection, &mut second.inspection);
        found.damage.retain(|damage| seen.damage.contains(damage));
        found.missing.retain(|missing| seen.missing.contains(missing));
        Ok(second)
    }

    /// Looks at a spool whose lock the caller holds: no writer is at work.
    pub(crate) fn held(path: &Path) -> Result<Self, SpoolError> {
        Self::look(path, |_| None)
    }

    /// What was found.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// Where the whole records stand, from index `from` on.
    pub fn places(&self, from: u64) -> Vec<RecordPlace> {
        let of = |segment: &Segment| {
            let first = segment.first;
            let place = move |place: &recover::Place| RecordPlace {
                index: place.index,
                segment: first,
                offset: place.offset,
                bytes: place.length,
            };
            segment.from(from).iter().map(place).collect::<Vec<_>>()
        };
        self.segments.iter().flat_map(of).collect()
    }

    /// Reads a record; `None` when it is no longer there, or no longer whole.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn read(&mut self, place: &RecordPlace) -> io::Result<Option<Bytes>> {
        let size = record::HEADER + place.bytes as usize;
        let mut bytes = match self.disk.read(&segment::name(place.segment), place.offset, size) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let header = Header::decode(&bytes, segment::salt(place.segment), &(place.index..=place.index));
        let whole =
            header.is_some_and(|header| header.vouches_for(bytes.get(record::HEADER..).unwrap_or(&[])));
        Ok(whole.then(|| Bytes::from(bytes.split_off(record::HEADER))))
    }

    fn look(path: &Path, holder: impl Fn(&Path) -> Option<Holder>) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::disk(path, "look at", source);
        let mut disk = Reading::new(path);
        let (mut firsts, foreign) = names(path).map_err(failed)?;
        firsts.sort_unstable();
        let held = holder(path);
        let mut inspection = Inspection { foreign, ..Inspection::default() };
        let (mut segments, newer) = heads(&mut disk, path, &firsts)?;
        let half_begun = |last: &Segment| !last.begun && last.end <= segment::HEADER as u64;
        if held.is_some() && segments.back().is_some_and(half_begun) {
            segments.pop_back();
        }
        walk(&mut disk, &mut segments).map_err(failed)?;
        inspection.segments = segments.iter().map(|segment| state(segment, &newer)).collect();
        inspection.damage = damage(&segments, &newer);
        inspection.missing = missing(&segments);
        // A writer that began or ended meanwhile was at work, too.
        inspection.holder = held.or_else(|| holder(path));
        inspection.tail = segments.back().and_then(|last| tail(last, inspection.holder.is_some()));
        Ok(Self { disk, segments, inspection })
    }
}

/// First indexes of the segments, and what else is there.
fn names(path: &Path) -> io::Result<(Vec<u64>, Vec<String>)> {
    let (mut firsts, mut foreign) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        match segment::parse(&name) {
            Some(first) if entry.file_type()?.is_file() => firsts.push(first),
            _ if name == LOCK || name.starts_with(QUARANTINE) => {}
            _ => foreign.push(name),
        }
    }
    foreign.sort_unstable();
    Ok((firsts, foreign))
}

/// First index and version of segments that a newer program wrote.
type Newer = Vec<(u64, u32)>;

fn heads(disk: &mut Reading, path: &Path, firsts: &[u64]) -> Result<(VecDeque<Segment>, Newer), SpoolError> {
    let (mut segments, mut newer) = (VecDeque::new(), Newer::new());
    for first in firsts {
        match recover::head(disk, path, *first) {
            Ok(segment) => segments.push_back(segment),
            Err(SpoolError::Version { version, .. }) => {
                newer.push((*first, version));
                segments.push_back(Segment::begin(*first, *first));
            }
            // It was removed meanwhile: all before it were removed before.
            Err(SpoolError::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                segments.clear()
            }
            Err(SpoolError::Disk { .. }) => {
                let mut unreadable = Segment::begin(*first, *first);
                unreadable.begun = false;
                segments.push_back(unreadable);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((segments, newer))
}

fn walk(disk: &mut Reading, segments: &mut VecDeque<Segment>) -> io::Result<()> {
    let mut place = 0;
    while place < segments.len() {
        let below = segments.get(place + 1).map(|next| next.expected);
        let Some(segment) = segments.get_mut(place) else { break };
        match recover::walk(disk, segment, below, &mut Recovery::default()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                segments.drain(..=place);
                place = 0;
                continue;
            }
            // The newest one was cut meanwhile: a write failed and was undone.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && below.is_none() => {}
            Err(_) => {
                let bytes = segment.end.saturating_sub(segment::HEADER as u64);
                let offset = segment::HEADER as u64;
                let kind = DamageKind::Unreadable;
                segment.damage.push(recover::Damage { kind, offset, bytes, records: 0 });
            }
        }
        place += 1;
    }
    Ok(())
}

fn state(segment: &Segment, newer: &Newer) -> SegmentState {
    SegmentState {
        name: segment.name.clone(),
        first: segment.first,
        next: segment.next,
        records: segment.places.len() as u64,
        bytes: segment.end,
        torn: segment.torn,
        headless: !segment.begun,
        newer: newer.iter().find(|(first, _)| *first == segment.first).map(|(_, version)| *version),
    }
}

fn damage(segments: &VecDeque<Segment>, newer: &Newer) -> Vec<Damage> {
    let mut all = Vec::new();
    for (place, segment) in segments.iter().enumerate() {
        if newer.iter().any(|(first, _)| *first == segment.first) {
            continue;
        }
        let mut add = |found: &recover::Damage| {
            let recover::Damage { kind, offset, bytes, records } = *found;
            all.push(Damage { segment: segment.name.clone(), kind, offset, bytes, records });
        };
        let next = segments.get(place + 1);
        let header = segment::HEADER as u64;
        // The newest one without anything behind its header was torn while it was begun.
        if !segment.begun && (next.is_some() || segment.end > header) {
            let bytes = header.min(segment.end);
            add(&recover::Damage { kind: DamageKind::SegmentHeader, offset: 0, bytes, records: 0 });
        }
        segment.damage.iter().for_each(&mut add);
        let records = next.map_or(0, |next| Gap::between(segment, next).damaged);
        if records > 0 {
            let (offset, bytes) = (segment.end - segment.torn, segment.torn);
            add(&recover::Damage { kind: DamageKind::End, offset, bytes, records });
        }
    }
    all
}

fn missing(segments: &VecDeque<Segment>) -> Vec<Missing> {
    let pairs = segments.iter().zip(segments.iter().skip(1));
    let gap = |(before, after): (&Segment, &Segment)| {
        let gap = Gap::between(before, after);
        let (first, records) = (before.next + gap.damaged, gap.missing);
        (records > 0).then(|| Missing { before: after.name.clone(), first, records })
    };
    pairs.filter_map(gap).collect()
}

fn tail(last: &Segment, in_progress: bool) -> Option<Tail> {
    (last.torn > 0).then(|| Tail {
        segment: last.name.clone(),
        offset: last.end - last.torn,
        bytes: last.torn,
        records: last.torn_records(),
        in_progress,
    })
}

/// The spool in `given`: the directory itself, or the one in an agent's `state_dir` or a collector's `data_dir`.
pub fn find(given: &Path) -> Option<PathBuf> {
    let candidates = [given.to_owned(), given.join("spool"), given.join("journal")];
    let is_spool =
        |path: &PathBuf| path.join(LOCK).is_file() || names(path).is_ok_and(|(firsts, _)| !firsts.is_empty());
    candidates.into_iter().find(is_spool)
}
