//! One file being followed.

mod below;
mod changes;
mod doubt;
mod ends;
mod look;
mod successor;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs::OpenOptions,
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use lapwing::{
    columns::Text,
    v1::{FilePosition, SourcePosition, source_position::Position},
};

use self::{
    below::Below,
    doubt::Doubt,
    ends::Quiet,
    look::Gap,
    successor::{HalfWritten, Known},
};
pub(super) use self::{
    changes::{Change, Resumed},
    successor::Succession,
};
use super::{
    FileIdentity,
    content::{Content, Packed},
    copy,
    fingerprint::{Fingerprint, HEAD, Hashed, Marks},
    first_lines::FirstLines,
    identity::{About, Identity},
    keys::fits,
    last_lines::LastLines,
    names,
};
use crate::input::LinePart;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// Last bytes that were read, looked at again with the next ones: a file may be truncated and have grown beyond the old size
/// since the last look, or the last of it may have been overwritten, and its size tells nothing then.
const TRACE: usize = 1024;
/// A file went away, or its content did, before it was read to its end. How many lines were left nobody knows: each time counts as one.
pub(super) const GONE: &str = "gone";
/// A file in an encoding that is not read counts as one.
pub(super) const UTF16: &str = "utf16";

/// How files are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max_line: usize,
    pub(super) max_rows: u32,
    /// How long a last line may wait for its end; `None` is for ever.
    pub(super) unfinished: Option<Duration>,
    /// What makes a file the same.
    pub(super) identity: FileIdentity,
}

/// What one step of reading gave.
#[derive(Debug)]
pub(super) enum Step {
    /// Whole lines, or a part of one, and whether there was more to read.
    Lines { data: Bytes, rows: u32, truncated: bool, part: LinePart, more: bool },
    /// The position moved, and there is no line to it.
    Moved,
    /// Nothing yet, but there is more to look at.
    Searching,
    /// Everything is read, up to a last line that may wait for its end.
    Idle,
    /// What was read already has changed.
    Changed(Change),
    /// It is in an encoding that is not read.
    Unsupported,
}

/// What was read of a source, in all of the runs that read it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Events {
    pub(super) read: u64,
    pub(super) truncated: u64,
    /// Of those read, those that come in no batch, by cause.
    pub(super) dropped: HashMap<String, u64>,
}

impl Events {
    /// Counts one that nobody can read.
    pub(super) fn drop_one(&mut self, cause: &str) {
        self.read += 1;
        *self.dropped.entry(cause.to_owned()).or_default() += 1;
    }
}

/// A file that is open, and up to where it is read.
#[derive(Debug)]
pub(super) struct TailedFile {
    content: Content,
    /// The file itself, while what it held before is read from a copy.
    live: Option<Content>,
    key: String,
    identity: Identity,
    path: PathBuf,
    /// Where its name led to, when that is another place.
    target: Option<PathBuf>,
    source: Text,
    generation: u32,
    /// First byte that was not given out.
    offset: u64,
    /// The line that goes on at `offset` was given out up to there.
    within_line: bool,
    /// No line ends between `offset` and here.
    searched: u64,
    head: Hashed,
    first_lines: FirstLines,
    /// The bytes before `offset`.
    trace: Vec<u8>,
    marks: Marks,
    /// What tells of changes before `offset`.
    below: Below,
    /// Its size, as of the last look.
    size_seen: u64,
    /// When its content changed, by its own time, as of the last look.
    modified: u64,
    /// The last line that has no end, and since when it is as it is.
    quiet: Option<Quiet>,
    /// NULs behind what was read.
    gap: Option<Gap>,
    /// It is shorter than it was, or something else is in it, and what that means will show.
    doubt: Option<Doubt>,
    /// When names beside it had changed as of the last search for a copy, and when that was.
    copy_searched: Option<(SystemTime, Instant)>,
    /// When a large file was searched for the place of the position, and it was not found.
    place_searched: Option<Instant>,
    /// A search found no copy with more than was read; there may be one with just that.
    may_have_copy: bool,
    /// Lines to come that were read in the file it stands for.
    known: Option<Known>,
    /// It may be just written as a copy of the file that had its name before.
    half_written: Option<HalfWritten>,
    is_utf16: bool,
    /// An earlier run reported it.
    was_utf16: bool,
    events: Events,
    /// What had its name after it is known.
    pub(super) succeeded: bool,
    /// Since when no glob leads to it.
    pub(super) gone_since: Option<Instant>,
    /// When it last grew.
    pub(super) grew: Instant,
}

impl AsRawFd for TailedFile {
    fn as_raw_fd(&self) -> i32 {
        self.live.as_ref().unwrap_or(&self.content).file().as_raw_fd()
    }
}

impl TailedFile {
    /// Opens a regular file at its beginning; its lines and positions call it `name`. `None` for what is no regular file.
    pub(super) fn open(path: &Path, name: &Path) -> io::Result<Option<Self>> {
        // A pipe or device must not block the open.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let about = About::of_file(&file)?;
        if !about.is_regular {
            return Ok(None);
        }
        let target = path.canonicalize().ok().filter(|target| target != name);
        Ok(Some(Self::new(Content::Plain(file), about.identity, name, target)))
    }

    /// Opens what became of a file by rotation: it may be compressed by now.
    pub(super) fn open_rotated(path: &Path, name: &Path) -> io::Result<Option<Self>> {
        let file = Self::open(path, name)?;
        let Some(packing) = copy::packing(path) else { return Ok(file) };
        let unpack = |mut file: Self| {
            let packed = Packed::open(file.content.file().try_clone()?, packing)?;
            file.content = Content::Packed(packed);
            Ok(file)
        };
        file.map(unpack).transpose()
    }

    fn new(content: Content, identity: Identity, name: &Path, target: Option<PathBuf>) -> Self {
        Self {
            content,
            live: None,
            key: identity.key(),
            identity,
            path: name.to_owned(),
            target,
            source: names::display(name).into(),
            generation: 0,
            offset: 0,
            within_line: false,
            searched: 0,
            head: Hashed::default(),
            first_lines: FirstLines::default(),
            trace: Vec::new(),
            marks: Marks::default(),
            below: Below::new(),
            size_seen: 0,
            modified: 0,
            quiet: None,
            gap: None,
            doubt: None,
            copy_searched: None,
            place_searched: None,
            may_have_copy: false,
            known: None,
            half_written: None,
            is_utf16: false,
            was_utf16: false,
            events: Events::default(),
            succeeded: false,
            gone_since: None,
            grew: Instant::now(),
        }
    }

    /// Takes the key that it is known by; `false` when this is another file.
    pub(super) fn take_key(&mut self, key: &str) -> bool {
        key.clone_into(&mut self.key);
        fits(&self.identity, key)
    }

    /// The source's name at the collector.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// What its lines name as their source.
    pub(super) fn source(&self) -> Text {
        self.source.clone()
    }

    /// The name it was found under first.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// No line ends between what was given out and here.
    pub(super) fn searched(&self) -> u64 {
        self.searched
    }

    /// Whether its name leads to it, or can't be looked at: a scan that could not read a directory is no news of a file.
    pub(super) fn may_still_have_its_name(&self) -> bool {
        match About::of_path(&self.path) {
            Ok(about) => about.identity == self.identity,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Whether no name at all leads to it.
    pub(super) fn is_unlinked(&self) -> bool {
        self.content.about().is_ok_and(|about| about.is_unlinked)
    }

    /// Whether there is something that was not looked at.
    pub(super) fn has_more(&self) -> bool {
        let has_more = |about: About| !self.is_as_seen(&about);
        !self.is_utf16 && (self.live.is_some() || self.content.about().is_ok_and(has_more))
    }

    /// Whether the system says of it what it said when it was looked at last, and nothing is left to be done then.
    pub(super) fn is_as_seen(&self, about: &About) -> bool {
        let size = match (self.doubt, self.gap) {
            (Some(doubt), _) => return doubt.is_empty() && about.size == 0,
            (None, Some(gap)) => gap.size,
            (None, None) => self.searched,
        };
        about.size == size && about.modified == self.modified
    }

    /// Whether what was read is to be compared with what is there now.
    pub(super) fn is_to_be_compared(&self) -> bool {
        self.below.is_due()
    }

    /// Whether it can be left to the kernel to tell that it grows.
    pub(super) fn can_be_watched(&self) -> bool {
        // Of what is written by way of memory nothing is told, and a last line is waited for.
        let is_empty_yet = self.half_written.is_none_or(HalfWritten::is_empty);
        is_empty_yet
            && self.gap.is_none()
            && self.doubt.is_none()
            && self.quiet.is_none_or(Quiet::is_given_up)
    }

    /// Reads the next run of lines.
    pub(super) fn step(&mut self, bounds: Bounds) -> io::Result<Step> {
        match self.look(bounds)? {
            Step::Idle if self.live.is_some() => {
                // Nobody will end the copy's last line.
                self.last_of_copy(bounds)
            }
            Step::Idle => self.wait_for_end(bounds),
            step => Ok(step),
        }
    }

    /// Up to where it is read.
    pub(super) fn position(&self, closed: bool) -> SourcePosition {
        let trace = Hashed::trace(&self.trace);
        let end = Hashed::new(&self.trace);
        let (mark_distances, mark_hashes) = self.marks.to_position(self.offset);
        SourcePosition {
            source: self.key.clone(),
            display_name: names::display(&self.path),
            closed,
            position: Some(Position::File(FilePosition {
                device: self.identity.device,
                inode: self.identity.inode,
                birth_time_unix_nano: self.identity.birth_time,
                head_length: self.head.length,
                head_hash: self.head.hash,
                generation: self.generation,
                offset: self.offset,
                trace_length: trace.length,
                trace_hash: trace.hash,
                within_line: self.within_line,
                target: self.target.as_deref().map(names::display).unwrap_or_default(),
                mark_distances,
                mark_hashes,
                known_from: self.known.map_or(0, |known| known.from),
                known_to: self.known.map_or(0, |known| known.to),
                last_lines_hashes: LastLines::for_position(&self.trace),
                succeeded: self.succeeded,
                end_length: end.length,
                end_hash: end.hash,
                first_lines_hashes: self.first_lines.to_position(),
            })),
            events_read: self.events.read,
            events_truncated: self.events.truncated,
            events_dropped: self.events.dropped.clone(),
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            offset: self.offset,
            head: self.head,
            first_lines: self.first_lines,
            end: Hashed::new(&self.trace),
            trace: Hashed::trace(&self.trace),
            marks: self.marks.clone(),
            last_lines: LastLines::of(&self.trace),
        }
    }

    /// Goes behind the last whole line that is there now.
    pub(super) fn skip_to_end(&mut self) -> io::Result<()> {
        let size = self.content.about()?.size;
        let last = size.saturating_sub(CHUNK as u64);
        let tail = self.content.read_at(last, CHUNK)?;
        let end = memchr::memrchr(b'\n', &tail).map_or(size, |end| last + end as u64 + 1);
        self.go_to(end)?;
        self.grow_head()
    }

    /// Goes to a place whose line, and what is before it, were given out.
    fn go_to(&mut self, offset: u64) -> io::Result<()> {
        let back = TRACE.min(usize::try_from(offset).unwrap_or(TRACE));
        self.trace = self.content.read_at(offset - back as u64, back)?;
        self.marks.cut(offset);
        self.below.blocks.cut(offset, &mut self.content)?;
        self.below.blocks.advance(offset, &self.trace);
        if offset < u64::from(self.head.length) {
            self.head = Hashed::default();
            self.first_lines = FirstLines::default();
        }
        self.moved(offset);
        Ok(())
    }

    fn moved(&mut self, offset: u64) {
        self.offset = offset;
        self.searched = offset;
        self.within_line = false;
        self.quiet = None;
        self.gap = None;
    }

    fn give(
        &mut self,
        data: Bytes,
        rows: u32,
        truncated: bool,
        part: LinePart,
        more: bool,
    ) -> io::Result<Step> {
        self.grew = Instant::now();
        self.events.read += u64::from(rows);
        self.events.truncated += u64::from(truncated);
        self.grow_head()?;
        Ok(Step::Lines { data, rows, truncated, part, more })
    }

    /// Keeps the hash of the first bytes, as far as the file is read.
    fn grow_head(&mut self) -> io::Result<()> {
        let wanted = HEAD.min(usize::try_from(self.offset).unwrap_or(HEAD));
        if (self.head.length as usize) < wanted {
            let head = self.content.read_at(0, wanted)?;
            self.head = Hashed::new(&head);
            self.first_lines = FirstLines::of(&head);
        }
        Ok(())
    }

    /// The names beside which its copies and its older selves are.
    fn places(&self) -> Vec<PathBuf> {
        places(&self.path, self.target.as_deref())
    }
}

/// A file's name, where it led to, and where it leads to now.
pub(super) fn places(path: &Path, target: Option<&Path>) -> Vec<PathBuf> {
    let now = path.canonicalize().ok();
    let mut places: Vec<PathBuf> =
        [Some(path.to_owned()), target.map(Path::to_owned), now].into_iter().flatten().collect();
    places.sort();
    places.dedup();
    places
}
