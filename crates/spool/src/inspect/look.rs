//! One look at a directory.

use std::{collections::VecDeque, fs, io, path::Path};

use super::{Damage, Inspection, Inspector, Missing, QUARANTINE, SegmentState, Tail, reading::Reading};
use crate::{
    disk::LOCK,
    error::SpoolError,
    holder::Holder,
    recover::{self, DamageKind, Gap, Recovery, Segment},
    segment,
};

/// Looks once; `holder` tells who is at work.
pub(super) fn look(path: &Path, holder: impl Fn(&Path) -> Option<Holder>) -> Result<Inspector, SpoolError> {
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
    Ok(Inspector { disk, segments, inspection })
}

/// First indexes of the segments, and what else is there.
pub(super) fn names(path: &Path) -> io::Result<(Vec<u64>, Vec<String>)> {
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
