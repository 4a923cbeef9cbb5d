//! The core: what is where, what is durable, what may go. It never waits.

use std::{collections::VecDeque, io, path::PathBuf, sync::Arc};

use bytes::Bytes;

use crate::{
    disk::Disk,
    error::SpoolError,
    record::{self, Header, Record},
    recover::{self, Place, Recovery, Segment},
    segment::{self, SegmentHeader},
};

/// What an append does when the byte budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Fail with [`SpoolError::Full`]; [`Log`](crate::Log) waits for a trim instead.
    Block,
    /// Remove the oldest segment and count its records.
    DropOldest,
}

/// How a spool behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// A segment that has reached this size is followed by a new one.
    pub segment_bytes: u64,
    /// Byte budget on disk.
    pub max_bytes: u64,
    /// What happens beyond it.
    pub when_full: WhenFull,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, max_bytes: 8 << 30, when_full: WhenFull::Block }
    }
}

/// Figures of a spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Index of the oldest record that was not trimmed.
    pub first: u64,
    /// Index the next record gets.
    pub next: u64,
    /// Every record up to this index is durable.
    pub durable: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Records dropped because the spool was full.
    pub dropped_records: u64,
}

/// An append-only segmented log.
pub struct Spool {
    disk: Box<dyn Disk>,
    path: PathBuf,
    options: Options,
    /// Oldest first; the last one is written to.
    segments: VecDeque<Segment>,
    first: u64,
    next: u64,
    durable: u64,
    dropped_records: u64,
    /// Bytes were written since the last sync, or a file was made.
    unsynced: bool,
    poisoned: Option<String>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool")
            .field("path", &self.path)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Spool {
    /// Opens the spool on `disk` and recovers what is there. `path` only names it in errors.
    ///
    /// # Errors
    /// When the disk refuses. Damaged contents are no error: the [`Recovery`] counts them.
    pub fn open(
        mut disk: Box<dyn Disk>,
        path: PathBuf,
        options: Options,
    ) -> Result<(Self, Recovery), SpoolError> {
        let failed = |action, path: &PathBuf| {
            let path = path.clone();
            move |source| SpoolError::Disk { path, action, source: Arc::new(source) }
        };
        let mut report = Recovery::default();
        let mut segments = recover::walk_all(&mut *disk, &mut report).map_err(failed("read", &path))?;
        let mut next = 1;
        if let Some(last) = segments.last_mut() {
            let length = disk.len(&last.name).map_err(failed("read", &path))?;
            report.torn_bytes = length.saturating_sub(last.end);
            next = last.places.last().map_or(last.first, |place| place.index + 1).max(last.first);
        }
        let first =
            segments.iter().flat_map(|s| s.places.first()).map(|place| place.index).next().unwrap_or(next);
        let segments = segments.into();
        let mut spool = Self {
            disk,
            path,
            options,
            segments,
            first,
            next,
            durable: 0,
            dropped_records: 0,
            unsynced: true,
            poisoned: None,
        };
        // What was read may still be in the page cache only, and a torn tail must not be written behind: begin anew.
        for segment in &spool.segments {
            spool.disk.sync(&segment.name).map_err(failed("sync", &spool.path))?;
        }
        spool.next = spool.next.max(spool.after_damaged_tail(&report));
        spool.roll()?;
        spool.sync()?;
        Ok((spool, report))
    }

    /// A torn tail may hold the header of a record that was durable and is damaged now: its index is not given again.
    fn after_damaged_tail(&self, report: &Recovery) -> u64 {
        if report.torn_bytes == 0 && report.damaged_records == 0 { self.next } else { self.next + 1 }
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        Stats {
            first: self.first,
            next: self.next,
            durable: self.durable,
            bytes: self.segments.iter().map(|segment| segment.end).sum(),
            dropped_records: self.dropped_records,
        }
    }

    /// Appends records and gives the index of the first. They are durable after the next [`Spool::sync`].
    ///
    /// # Errors
    /// [`SpoolError::Full`] and [`SpoolError::Disk`] leave the spool as it was before; it may succeed later.
    pub fn append(&mut self, payloads: &[Bytes]) -> Result<u64, SpoolError> {
        self.check_poison()?;
        if let Some(large) = payloads.iter().find(|payload| payload.len() > record::MAX_PAYLOAD) {
            return Err(SpoolError::TooLarge { size: large.len(), limit: record::MAX_PAYLOAD });
        }
        let size = payloads.iter().map(|payload| (record::HEADER + payload.len()) as u64).sum();
        self.make_room(size)?;
        if self.segments.back().is_none_or(|last| last.end >= self.options.segment_bytes) {
            self.roll()?;
        }
        let Some(segment) = self.segments.back_mut() else {
            return Err(SpoolError::Closed);
        };
        let salt = segment::salt(segment.first);
        let headers: Vec<_> =
            payloads.iter().zip(self.next..).map(|(p, index)| Header::new(index, p)).collect();
        let encoded: Vec<_> = headers.iter().map(|header| header.encode(salt)).collect();
        let parts: Vec<&[u8]> = encoded.iter().zip(payloads).flat_map(|(h, p)| [&h[..], &p[..]]).collect();
        self.unsynced = true;
        if let Err(error) = self.disk.append(&segment.name, &parts) {
            // Half a record must not stand before the next one.
            if let Err(worse) = self.disk.truncate(&segment.name, segment.end) {
                self.poisoned = Some(format!("append failed ({error}) and could not be undone ({worse})"));
            }
            return Err(SpoolError::Disk {
                path: self.path.clone(),
                action: "append",
                source: Arc::new(error),
            });
        }
        for header in &headers {
            let place = Place { index: header.index, offset: segment.end, length: header.length };
            segment.end += (record::HEADER + header.length as usize) as u64;
            segment.places.push(place);
        }
        let first = self.next;
        self.next += payloads.len() as u64;
        Ok(first)
    }

    /// Makes everything appended durable and gives the last durable index.
    ///
    /// # Errors
    /// Any failure poisons the spool: the system may have dropped what it could not write, so a second try proves nothing.
    pub fn sync(&mut self) -> Result<u64, SpoolError> {
        self.check_poison()?;
        if self.unsynced {
            let synced = match self.segments.back() {
                Some(last) => self.disk.sync(&last.name),
                None => Ok(()),
            };
            if let Err(error) = synced {
                self.poisoned = Some(format!("fsync failed: {error}"));
                return self.check_poison().map(|()| 0);
            }
            self.unsynced = false;
        }
        self.durable = self.next - 1;
        Ok(self.durable)
    }

    /// Records from index `from` on, up to about `max_bytes` of them and at least one if there is one. Damaged ones are left out.
    ///
    /// # Errors
    /// When the disk can't be read, or a record was damaged since it was written.
    pub fn read(&mut self, from: u64, max_bytes: usize) -> Result<Vec<Record>, SpoolError> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        for segment in &self.segments {
            let start = segment.places.partition_point(|place| place.index < from.max(self.first));
            for place in &segment.places[start..] {
                if !records.is_empty() && bytes + place.length as usize > max_bytes {
                    return Ok(records);
                }
                records.push(read_record(&mut *self.disk, segment, place, &self.path)?);
                bytes += place.length as usize;
            }
        }
        Ok(records)
    }

    /// Gives up all records up to `through`. Their segments go when nothing newer is in them.
    ///
    /// # Errors
    /// When the disk refuses; what could not be removed is removed by a later trim.
    pub fn trim(&mut self, through: u64) -> Result<(), SpoolError> {
        self.check_poison()?;
        self.first = self.first.max(through.saturating_add(1).min(self.next));
        // A full segment whose records are all trimmed is followed by a new one, so that it can go.
        let full = |last: &Segment| last.end >= self.options.segment_bytes;
        if self.first == self.next && self.segments.back().is_some_and(full) {
            self.roll()?;
        }
        let mut removed = false;
        while self.segments.len() > 1 && self.segments[1].first <= self.first {
            self.remove_oldest()?;
            removed = true;
        }
        if removed {
            self.disk.sync_dir().map_err(|source| self.disk_error("sync directory", source))?;
        }
        Ok(())
    }

    fn make_room(&mut self, size: u64) -> Result<(), SpoolError> {
        loop {
            let bytes = self.stats().bytes;
            let fits = bytes + size <= self.options.max_bytes;
            // Alone in an empty spool even a record over the budget goes: else it could never.
            if fits || self.first == self.next {
                return Ok(());
            }
            if self.options.when_full == WhenFull::Block {
                return Err(SpoolError::Full {
                    path: self.path.clone(),
                    bytes,
                    max_bytes: self.options.max_bytes,
                });
            }
            if self.segments.len() == 1 {
                self.roll()?;
            }
            let keep_from = self.segments[1].first;
            self.dropped_records += keep_from.saturating_sub(self.first);
            self.first = self.first.max(keep_from);
            self.remove_oldest()?;
        }
    }

    fn remove_oldest(&mut self) -> Result<(), SpoolError> {
        let Some(oldest) = self.segments.front() else {
            return Ok(());
        };
        match self.disk.remove(&oldest.name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.disk_error("remove a segment", error)),
        }
        self.segments.pop_front();
        Ok(())
    }

    /// Begins a new segment; the one before is made durable first.
    fn roll(&mut self) -> Result<(), SpoolError> {
        if self.segments.back().is_some_and(|last| last.first == self.next && last.places.is_empty()) {
            // It is empty and has the right name, but may have a torn tail: cut it.
            let name = segment::name(self.next);
            let end = segment::HEADER as u64;
            let header = SegmentHeader { first: self.next, salt: segment::salt(self.next) }.encode();
            let cut = self.disk.truncate(&name, 0).and_then(|()| self.disk.append(&name, &[&header]));
            cut.map_err(|source| self.disk_error("begin a segment", source))?;
            if let Some(last) = self.segments.back_mut() {
                last.end = end;
            }
            self.unsynced = true;
            return Ok(());
        }
        if !self.segments.is_empty() {
            self.sync()?;
        }
        let (name, first) = (segment::name(self.next), self.next);
        let header = SegmentHeader { first, salt: segment::salt(first) }.encode();
        let made = self.disk.create(&name).and_then(|()| self.disk.append(&name, &[&header]));
        if let Err(error) = made.and_then(|()| self.disk.sync_dir()) {
            let _ = self.disk.remove(&name);
            return Err(self.disk_error("begin a segment", error));
        }
        self.unsynced = true;
        self.segments.push_back(Segment { name, first, end: segment::HEADER as u64, places: Vec::new() });
        Ok(())
    }

    fn check_poison(&self) -> Result<(), SpoolError> {
        match &self.poisoned {
            Some(reason) => Err(SpoolError::Poisoned { path: self.path.clone(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn disk_error(&self, action: &'static str, source: io::Error) -> SpoolError {
        SpoolError::Disk { path: self.path.clone(), action, source: Arc::new(source) }
    }
}

fn read_record(
    disk: &mut dyn Disk,
    segment: &Segment,
    place: &Place,
    path: &PathBuf,
) -> Result<Record, SpoolError> {
    let damaged = || SpoolError::Damaged { path: path.clone(), index: place.index };
    let whole = record::HEADER + place.length as usize;
    let bytes = disk.read(&segment.name, place.offset, whole).map_err(|source| SpoolError::Disk {
        path: path.clone(),
        action: "read",
        source: Arc::new(source),
    })?;
    let header = Header::decode(&bytes, segment::salt(segment.first)).ok_or_else(damaged)?;
    let payload = Bytes::from(bytes).slice(record::HEADER..);
    if header.index != place.index || !header.vouches_for(&payload) {
        return Err(damaged());
    }
    Ok(Record { index: place.index, payload })
}
