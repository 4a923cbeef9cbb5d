//! Repairing a spool that no process has open: what recovery can only leave out is set aside.
//!
//! No record that recovery reads is lost by it, and none comes back that recovery gave up:
//!
//! - The torn end of the newest segment is cut, after recovery itself has begun a segment whose header passes over every index
//!   that may have stood there.
//! - A damaged header is written again, as recovery takes it to be.
//! - A segment of which nothing can be read is set aside; an empty one keeps its place, so that the one before it ends where it did.
//!
//! What is changed is copied to a folder beside it first. A damaged record in the midst of whole ones stays where it is: recovery
//! reads past it, and counts it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    chain::Chain,
    disk::RealDisk,
    error::SpoolError,
    inspect::{Inspection, Inspector, QUARANTINE, SegmentState, Tail},
    segment::{self, Head, SegmentHeader},
};

/// What is to be changed, or was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// The torn end that is cut.
    pub cut: Option<Tail>,
    /// Segments whose header is written again.
    pub headers: Vec<String>,
    /// Segments that are set aside, and their bytes.
    pub set_aside: Vec<(String, u64)>,
    /// Where what was changed is kept.
    pub kept_in: Option<PathBuf>,
}

impl Repair {
    /// What a repair of this directory would change.
    pub fn plan(inspection: &Inspection) -> Self {
        let newest = inspection.segments.last().map(|newest| &newest.name);
        let damaged =
            |segment: &SegmentState| inspection.damage.iter().any(|damage| damage.segment == segment.name);
        let behind_header = |segment: &SegmentState| segment.bytes > segment::HEADER as u64;
        let is_unreadable = |segment: &&SegmentState| {
            segment.records == 0
                && behind_header(segment)
                && damaged(segment)
                && newest != Some(&segment.name)
        };
        let set_aside: Vec<_> = inspection.segments.iter().filter(is_unreadable).collect();
        let headless = |segment: &&SegmentState| {
            // The newest one with nothing behind its header gets it again when the spool is opened.
            let by_recovery = newest == Some(&segment.name) && segment.bytes <= segment::HEADER as u64;
            segment.headless && !by_recovery && !set_aside.contains(segment)
        };
        Self {
            cut: inspection.tail.clone().filter(|tail| tail.offset >= segment::HEADER as u64),
            headers: inspection
                .segments
                .iter()
                .filter(headless)
                .map(|segment| segment.name.clone())
                .collect(),
            set_aside: set_aside.iter().map(|segment| (segment.name.clone(), segment.bytes)).collect(),
            kept_in: None,
        }
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.cut.is_none() && self.headers.is_empty() && self.set_aside.is_empty()
    }
}

/// Repairs the spool in `path`; `time` names the folder in which what is changed is kept.
///
/// # Errors
/// [`SpoolError::Locked`] when a process has it open, [`SpoolError::Version`] when a newer program wrote it, or when the disk
/// refuses: the copies are made before anything is changed.
pub fn repair(path: &Path, time: &str) -> Result<Repair, SpoolError> {
    let failed = |source| SpoolError::disk(path, "repair", source);
    let disk = RealDisk::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => SpoolError::Locked { path: path.to_owned() },
        _ => failed(source),
    })?;
    let inspector = Inspector::held(path)?;
    if let Some((name, version)) = inspector.inspection().newer() {
        return Err(SpoolError::Version { path: path.to_owned(), name: name.to_owned(), version });
    }
    let mut plan = Repair::plan(inspector.inspection());
    if plan.is_empty() {
        return Ok(plan);
    }
    let kept_in = path.join(format!("{QUARANTINE}{time}"));
    keep(&plan, path, &kept_in).map_err(failed)?;
    for name in &plan.headers {
        write_header(&path.join(name), name).map_err(failed)?;
    }
    for (name, _) in &plan.set_aside {
        make_room(path, &kept_in, name).map_err(failed)?;
    }
    let (mut chain, _) = Chain::open(Box::new(disk), path.to_owned())?;
    if let Some(tail) = &plan.cut {
        chain.cut(&tail.segment, tail.offset)?;
    }
    plan.kept_in = Some(kept_in);
    Ok(plan)
}

/// Keeps what is to be changed, durably.
fn keep(plan: &Repair, path: &Path, kept_in: &Path) -> io::Result<()> {
    fs::create_dir(kept_in)?;
    if let Some(Tail { segment, offset, bytes, .. }) = &plan.cut {
        copy(&path.join(segment), *offset, *bytes, &kept_in.join(format!("{segment}.from-{offset}")))?;
    }
    for name in &plan.headers {
        let from = path.join(name);
        let bytes = fs::metadata(&from)?.len().min(segment::HEADER as u64);
        copy(&from, 0, bytes, &kept_in.join(format!("{name}.header")))?;
    }
    for (name, _) in &plan.set_aside {
        // The same file under another name: a disk that can't read it need not.
        fs::hard_link(path.join(name), kept_in.join(name))?;
    }
    File::open(kept_in)?.sync_all()?;
    File::open(path)?.sync_all()
}

fn copy(from: &Path, offset: u64, bytes: u64, to: &Path) -> io::Result<()> {
    let from = File::open(from)?;
    let mut to = new_file(to)?;
    let mut part = vec![0; 1 << 20];
    let (mut at, end) = (offset, offset + bytes);
    while at < end {
        let room = part.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let read = from.read_at(part.get_mut(..room).unwrap_or_default(), at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(part.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
    to.sync_all()
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// What recovery takes a damaged header to say: a segment goes by its name.
fn header_of(name: &str) -> io::Result<SegmentHeader> {
    let first = segment::parse(name).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(SegmentHeader { first, expected: first })
}

fn write_header(path: &Path, name: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&header_of(name)?.encode(), 0)?;
    file.sync_all()
}

/// Puts an empty segment in the place of one that was set aside, in one step: without it the one before would reach further.
fn make_room(path: &Path, kept_in: &Path, name: &str) -> io::Result<()> {
    let mut bytes = vec![0; segment::HEADER];
    let read = File::open(path.join(name)).and_then(|file| file.read_exact_at(&mut bytes, 0));
    let header = match Head::decode(&bytes) {
        Head::Whole(header) if read.is_ok() && Some(header.first) == segment::parse(name) => header,
        _ => header_of(name)?,
    };
    let empty = kept_in.join(format!("{name}.empty"));
    let mut file = new_file(&empty)?;
    file.write_all(&header.encode())?;
    file.sync_all()?;
    fs::rename(&empty, path.join(name))?;
    File::open(path)?.sync_all()
}
