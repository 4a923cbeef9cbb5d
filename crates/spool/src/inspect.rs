//! Looking at a spool's directory: no lock is taken and nothing is written.
//!
//! - Damage is what recovery would count as lost; the rules are recovery's own.
//! - A writer may be at work. What it writes at this moment is the [`Tail`], in progress, and no damage. A segment that it removes
//!   meanwhile is left out, and with it all before: segments go oldest first. What looks like damage is looked at twice.

mod found;
mod look;
mod reading;

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

pub use self::found::{Damage, Inspection, Missing, SegmentState, Tail};
use self::reading::Reading;
pub use crate::recover::DamageKind;
use crate::{
    disk::Disk,
    error::SpoolError,
    holder::holder,
    record::{self, Header},
    recover::{self, Segment},
    segment,
};

/// Prefix of the folders that `repair` sets things aside in.
pub(crate) const QUARANTINE: &str = "damaged-";

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
        let first = look::look(path, holder)?;
        if first.inspection.holder.is_none() || first.inspection.is_whole() {
            return Ok(first);
        }
        let mut second = look::look(path, holder)?;
        let (seen, found) = (first.inspection, &mut second.inspection);
        found.damage.retain(|damage| seen.damage.contains(damage));
        found.missing.retain(|missing| seen.missing.contains(missing));
        Ok(second)
    }

    /// Looks at a spool whose lock the caller holds: no writer is at work.
    pub(crate) fn held(path: &Path) -> Result<Self, SpoolError> {
        look::look(path, |_| None)
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
}

/// The spool in `given`: the directory itself, or the one in an agent's `state_dir` or a collector's `data_dir`.
pub fn find(given: &Path) -> Option<PathBuf> {
    let candidates = [given.to_owned(), given.join("spool"), given.join("journal")];
    // Every spool has a segment: its name holds the next index.
    let is_spool = |path: &PathBuf| look::names(path).is_ok_and(|(firsts, _)| !firsts.is_empty());
    candidates.into_iter().find(is_spool)
}
