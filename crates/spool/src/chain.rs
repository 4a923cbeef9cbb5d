//! The segments on the disk, in a chain. Each begins where the one before it ends, or its header says what was passed over.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::{
    disk::Disk,
    error::SpoolError,
    planted::{self, Bug},
    record::{self, Batch, Header, Record},
    recover::{self, Place, Recovery, Segment},
    segment::{self, SegmentHeader},
};

/// What is on the disk and what of it is durable.
pub(crate) struct Chain {
    disk: Box<dyn Disk>,
    path: PathBuf,
    /// Oldest first, never empty; the last one is written to.
    segments: VecDeque<Segment>,
    /// Every record up to this index that was written is durable.
    durable: u64,
    /// Bytes were written since the last sync.
    unsynced: bool,
    /// A record was written since the last sync: the next one does not begin a group.
    in_group: bool,
    poisoned: Option<String>,
}

impl Chain {
    /// Recovers what is on `disk` and begins a segment for what comes.
    pub(crate) fn open(disk: Box<dyn Disk>, path: PathBuf) -> Result<(Self, Recovery), SpoolError> {
        let mut disk = disk;
        let (segments, report) = recover::recover(&mut *disk, &path)?;
        let mut chain =
            Self { disk, path, segments, durable: 0, unsynced: false, in_group: false, poisoned: None };
        chain.settle().map_err(|source| chain.disk_error("make durable", source))?;
        // Nothing is written behind a torn tail, and no index that it may have held is given again.
        let torn = chain.segments.back().map_or(0, Segment::torn_records);
        chain.begin(chain.next() + torn)?;
        Ok((chain, report))
    }

    /// Makes durable what was read: it may be in the page cache only, bytes and names. The last group may even have been given
    /// up by the system, when a sync failed; all before it was vouched for.
    fn settle(&mut self) -> io::Result<()> {
        if planted::is(Bug::PageCacheBelieved) {
            return Ok(());
        }
        if let Some(last) = self.segments.back() {
            let (offset, length) = last.last_group();
            self.disk.rewrite(&last.name, offset, length)?;
        }
        for segment in &self.segments {
            self.disk.sync(&segment.name)?;
        }
        if planted::is(Bug::NoDirectoryFsync) { Ok(()) } else { self.disk.sync_dir() }
    }

    /// Cuts a segment that another one follows to `length`: what lies behind is ignored because of that one.
    pub(crate) fn cut(&mut self, name: &str, length: u64) -> Result<(), SpoolError> {
        let cut = self.disk.truncate(name, length).and_then(|()| self.disk.sync(name));
        cut.map_err(|source| self.disk_error("cut", source))
    }

    /// Index of the next record that is written here.
    pub(crate) fn next(&self) -> u64 {
        self.segments.back().map_or(1, |last| last.next)
    }

    /// Index of the oldest record.
    pub(crate) fn first(&self) -> u64 {
        self.segments
            .iter()
            .find_map(|segment| segment.places.first())
            .map_or(self.next(), |place| place.index)
    }

    /// Every record up to this index that was written is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    /// Whether the last segment has records and has reached `segment_bytes`.
    pub(crate) fn is_full(&self, segment_bytes: u64) -> bool {
        self.segments.back().is_some_and(|last| last.next > last.first && last.end >= segment_bytes)
    }

    /// Whether the last segment is the only one.
    pub(crate) fn has_one_segment(&self) -> bool {
        self.segments.len() == 1
    }

    /// Why it takes nothing any more.
    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    pub(crate) fn check_poison(&self) -> Result<(), SpoolError> {
        match &self.poisoned {
            Some(reason) => Err(SpoolError::Poisoned { path: self.path.clone(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Begins a segment with index `at`, which is the next one or lies beyond it. What was written before is made durable first,
    /// and the segment itself before anything is written to it.
    pub(crate) fn begin(&mut self, at: u64) -> Result<(), SpoolError> {
        if at > segment::MAX_FIRST {
            let (path, limit) = (self.path.clone(), segment::MAX_FIRST);
            return Err(SpoolError::Index { path, index: at, limit });
        }
        self.sync()?;
        if let Some(last) = self.segments.back().filter(|last| last.first == at && last.next == at) {
            return if last.begun { Ok(()) } else { self.rewrite() };
        }
        let segment = Segment::begin(at, self.next());
        self.make_file(&segment)?;
        if !planted::is(Bug::NoDirectoryFsync)
            && let Err(error) = self.disk.sync_dir()
        {
            return self.poison(format!("fsync of the directory failed: {error}"));
        }
        self.segments.push_back(segment);
        self.unsynced = true;
        self.sync()
    }

    /// Makes the file of a segment, or leaves none behind.
    fn make_file(&mut self, segment: &Segment) -> Result<(), SpoolError> {
        let header = SegmentHeader { first: segment.first, expected: segment.expected }.encode();
        self.disk.create(&segment.name).map_err(|source| self.disk_error("begin a segment", source))?;
        let Err(error) = self.disk.append(&segment.name, &[&header]) else { return Ok(()) };
        if let Err(worse) = self.disk.remove(&segment.name) {
            self.poison(format!("a segment could not be begun ({error}) nor removed ({worse})"))?;
        }
        Err(self.disk_error("begin a segment", error))
    }

    /// Gives the last segment, which has no records, its header again. It keeps its name, which holds the next index.
    fn rewrite(&mut self) -> Result<(), SpoolError> {
        let Some(last) = self.segments.back_mut() else { return Ok(()) };
        let header = SegmentHeader { first: last.first, expected: last.expected }.encode();
        let written =
            self.disk.truncate(&last.name, 0).and_then(|()| self.disk.append(&last.name, &[&header]));
        written.map_err(|source| SpoolError::disk(&self.path, "begin a segment", source))?;
        *last = Segment::begin(last.first, last.expected);
        self.unsynced = true;
        self.sync()
    }

    /// Appends records to the last segment. They are durable after the next [`Chain::sync`]. On failure nothing is kept.
    pub(crate) fn append(&mut self, payloads: &[Bytes]) -> Result<(), SpoolError> {
        self.check_poison()?;
        let Some(segment) = self.segments.back_mut() else {
            return Err(SpoolError::Closed);
        };
        let salt = segment::salt(segment.first);
        let begins_group = |index| index == segment.next && !self.in_group;
        let headers: Vec<_> = payloads
            .iter()
            .zip(segment.next..)
            .map(|(payload, index)| Header::new(index, payload, begins_group(index)))
            .collect();
        let encoded: Vec<_> = headers.iter().map(|header| header.encode(salt)).collect();
        let parts: Vec<&[u8]> = encoded.iter().zip(payloads).flat_map(|(h, p)| [&h[..], &p[..]]).collect();
        self.unsynced = true;
        if let Err(error) = self.disk.append(&segment.name, &parts) {
            // Half a record must not stand before the next one.
            if let Err(worse) = self.disk.truncate(&segment.name, segment.end) {
                self.poison(format!("append failed ({error}) and could not be undone ({worse})"))?;
            }
            return Err(self.disk_error("append", error));
        }
        for header in &headers {
            let place = Place { index: header.index, offset: segment.end, length: header.length };
            segment.places.push(place);
            segment.end += header.size() as u64;
        }
        segment.next += payloads.len() as u64;
        self.in_group |= !payloads.is_empty();
        Ok(())
    }

    /// Makes everything written durable.
    ///
    /// Any failure poisons: the system may have dropped what it could not write, so a second try proves nothing.
    pub(crate) fn sync(&mut self) -> Result<(), SpoolError> {
        self.check_poison()?;
        let Some(last) = self.segments.back() else { return Ok(()) };
        if self.unsynced
            && !planted::is(Bug::AckBeforeFsync)
            && let Err(error) = self.disk.sync(&last.name)
            && !planted::is(Bug::FsyncRetried)
        {
            return self.poison(format!("fsync failed: {error}"));
        }
        (self.unsynced, self.in_group, self.durable) = (false, false, last.next - 1);
        Ok(())
    }

    /// Removes the segments in which every record is before `first`, but for the last one.
    pub(crate) fn remove_before(&mut self, first: u64) -> Result<(), SpoolError> {
        let begins = usize::from(!planted::is(Bug::SegmentUnlinkedEarly));
        while self.segments.len() > 1 && self.segments[begins].first <= first {
            self.remove_oldest()?;
        }
        Ok(())
    }

    /// Removes the oldest of several segments, whose records from index `first` on are given up with it: tells how many these
    /// are and where the next segment begins.
    pub(crate) fn drop_oldest(&mut self, first: u64) -> Result<(u64, u64), SpoolError> {
        let dropped = self.segments.front().map_or(0, |oldest| oldest.from(first).len() as u64);
        self.remove_oldest()?;
        Ok((dropped, self.segments.front().map_or(first, |segment| segment.first)))
    }

    /// Makes durable that segments were removed.
    pub(crate) fn sync_removals(&mut self) -> Result<(), SpoolError> {
        self.check_poison()?;
        match self.disk.sync_dir() {
            Ok(()) => Ok(()),
            Err(error) => self.poison(format!("fsync of the directory failed: {error}")),
        }
    }

    /// The removal is not synced: what a crash brings back is trimmed again.
    fn remove_oldest(&mut self) -> Result<(), SpoolError> {
        let Some(oldest) = self.segments.front() else { return Ok(()) };
        match self.disk.remove(&oldest.name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.disk_error("remove a segment", error)),
        }
        self.segments.pop_front();
        Ok(())
    }

    /// Reads records from index `from` on. What can't be read is an error when it comes first; else what is before it is given,
    /// so that no whole record is hidden by a damaged one.
    pub(crate) fn read(&mut self, from: u64, batch: &mut Batch) -> Result<(), SpoolError> {
        for segment in &self.segments {
            for place in segment.from(from) {
                // After a failed fsync nobody knows about the records it was for.
                let known = self.poisoned.is_none() || place.index <= self.durable;
                if !known || !batch.takes(place.length as usize) {
                    return Ok(());
                }
                match read_record(&mut *self.disk, segment, place, &self.path) {
                    Ok(record) => batch.push(record),
                    Err(error) if batch.is_empty() => return Err(error),
                    Err(_) => {
                        batch.close();
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn poison(&mut self, reason: String) -> Result<(), SpoolError> {
        self.poisoned = Some(reason);
        self.check_poison()
    }

    fn disk_error(&self, action: &'static str, source: io::Error) -> SpoolError {
        SpoolError::disk(&self.path, action, source)
    }
}

fn read_record(
    disk: &mut dyn Disk,
    segment: &Segment,
    place: &Place,
    path: &Path,
) -> Result<Record, SpoolError> {
    let damaged = || SpoolError::Damaged { path: path.to_owned(), index: place.index };
    let bytes = disk
        .read(&segment.name, place.offset, record::HEADER + place.length as usize)
        .map_err(|source| SpoolError::disk(path, "read", source))?;
    let indexes = place.index..=place.index;
    let header = Header::decode(&bytes, segment::salt(segment.first), &indexes).ok_or_else(damaged)?;
    let payload = Bytes::from(bytes).slice(record::HEADER..);
    if header.vouches_for(&payload) { Ok(Record { index: place.index, payload }) } else { Err(damaged()) }
}
