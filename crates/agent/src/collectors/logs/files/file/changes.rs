//! What was read already is not what it was: truncated, replaced, overwritten, cut off.
//!
//! What was not read before is read from the copy that rotation left, if there is one. Then the reader goes on behind what is still the
//! same, as far as that can be seen; and where nothing is, at the beginning.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lapwing::v1::FilePosition;
use memchr::{memchr_iter, memrchr};

use super::{Bounds, Content, Events, GONE, Known, Step, TailedFile, UTF16, places};
use crate::collectors::logs::files::{
    FileIdentity,
    copy::{self, Next},
    fingerprint::{Fingerprint, Hashed, Marks, Moved},
    first_lines::FirstLines,
    identity::{About, Identity},
    names,
};

/// Names beside a file that changed within this time before a search may change again at the same moment.
const FRESH: Duration = Duration::from_secs(2);

/// So long a large file is not searched again for the place of a position that was not found in it ...
const SEARCHED: Duration = Duration::from_secs(60);
/// ... beyond this.
const SMALL: u64 = 1 << 20;

/// Bytes before a difference that must be the same for those before them to be taken for the same.
pub(super) const EVIDENCE: usize = 256;

/// What became of a file whose read part changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was truncated; what was not read is read from its copy, then the file from its beginning.
    InCopy,
    /// It was truncated or has other content, and is read from its beginning. So many bytes of it are known to be lost.
    Anew { lost: u64 },
    /// It is the same up to a place before the position, or the position is elsewhere in it by now; it is read on from there.
    Overwritten,
}

/// Where a file goes on of which the collector knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// Where it was.
    Same,
    /// See [`Change`].
    Changed(Change),
}

/// Whether these bytes, which still stand at `start`, tell that what is before them is the same, too. Lines of the same width have their
/// ends in common, and the first of these may be such an end.
pub(super) fn is_evidence(same: &[u8], start: u64) -> bool {
    start == 0 || (same.len() >= EVIDENCE && memchr_iter(b'\n', same).nth(1).is_some())
}

impl TailedFile {
    /// What a file that is gone held behind what was read of it, when there is a copy.
    pub(crate) fn copy_of(path: &Path, held: &FilePosition, key: &str, events: Events) -> Option<Self> {
        let target = Some(&held.target).filter(|target| !target.is_empty()).map(|target| names::path(target));
        let identity =
            Identity { device: held.device, inode: held.inode, birth_time: held.birth_time_unix_nano };
        let known = Fingerprint::of_position(held);
        let copy = copy::find_last(&places(path, target.as_deref()), identity, &known)?;
        let mut file = Self::new(copy, identity, path, target);
        file.key = key.to_owned();
        file.events = events;
        file.generation = held.generation;
        file.take(&known).ok()?;
        file.within_line = held.within_line;
        file.succeeded = held.succeeded;
        file.gone_since = Some(Instant::now());
        Some(file)
    }

    /// Files that had its name after it, and were rotated before anybody read them, the oldest first.
    pub(crate) fn rotated_after(&self) -> Vec<(PathBuf, Identity)> {
        let Ok(about) = self.content.about() else { return Vec::new() };
        copy::rotated_after(&self.places(), about, self.identity.birth_time, &self.fingerprint())
    }

    /// Goes to where the collector holds it; to the beginning when its content is not what was read then. Counts go on.
    pub(crate) fn resume(
        &mut self,
        held: &FilePosition,
        events: Events,
        identity: FileIdentity,
    ) -> io::Result<Resumed> {
        let known = Fingerprint::of_position(held);
        self.events = events;
        self.generation = held.generation;
        self.succeeded = held.succeeded;
        self.was_utf16 = self.events.dropped.contains_key(UTF16);
        let size = self.content.about()?.size;
        // How large a compressed file is shows at its end.
        let may_be = matches!(self.content, Content::Packed(_)) || size >= known.offset;
        let is_same = may_be && known.has_trace(&mut self.content)?;
        // A first line that is kept up to date is no other file.
        let may_differ = identity == FileIdentity::Auto
            && known.trace.length > 0
            && known.offset > u64::from(known.trace.length);
        if is_same && (known.has_head(&mut self.content)? || may_differ) {
            self.take(&known)?;
            self.within_line = held.within_line;
            self.known = Known::of_position(held);
            return Ok(Resumed::Same);
        }

        if let Some(copy) = copy::find(&self.places(), self.identity, &known) {
            self.read_copy(copy);
            self.take(&known)?;
            self.within_line = held.within_line;
            return Ok(Resumed::Changed(Change::InCopy));
        }
        if identity == FileIdentity::Auto && self.find_place(&known, size)? {
            return Ok(Resumed::Changed(Change::Overwritten));
        }
        let change = match copy::next(&self.places(), self.identity, &known, &mut self.content) {
            Some(next) => self.go_on_in(next),
            None => {
                // Up to where it had been written, and so what is lost, nobody knows.
                self.events.drop_one(GONE);
                self.begin_anew();
                Change::Anew { lost: 0 }
            }
        };
        Ok(Resumed::Changed(change))
    }

    /// Goes to where a fingerprint, which is in the content, was taken.
    pub(super) fn take(&mut self, known: &Fingerprint) -> io::Result<()> {
        self.head = known.head;
        self.first_lines = known.first_lines;
        self.marks = known.marks.clone();
        self.go_to(known.offset)?;
        self.grow_head()
    }

    /// Goes to the place up to which the content is what was read.
    pub(super) fn find_place(&mut self, known: &Fingerprint, size: u64) -> io::Result<bool> {
        let by_marks = known.same_up_to(&mut self.content, size)?;
        let by_blocks = self.same_by_blocks(known, size)?;
        let place = match by_marks.max(by_blocks) {
            Some(place) => Some(Moved { place, known_from: 0 }),
            None => {
                let place = self.moved_place(known, size)?;
                self.below.forget();
                place
            }
        };
        let Some(Moved { place, known_from }) = place else { return Ok(false) };
        if !known.has_head(&mut self.content)? {
            self.forget_head();
            self.marks.clear();
        }
        if known_from == 0 {
            self.go_to(place)?;
        } else {
            // What is before may have been changed: it is read again, and what follows is left out then.
            let from = self.next_line(known_from - 1, place)?.filter(|from| *from < place);
            self.go_to(0)?;
            self.known = from.map(|from| Known { from, to: place });
        }
        self.grow_head()?;
        Ok(true)
    }

    /// The last start of a line up to which all blocks are as they were. As with marks, at least half of what was read must be before it.
    fn same_by_blocks(&mut self, known: &Fingerprint, size: u64) -> io::Result<Option<u64>> {
        let Some(same) = self.below.blocks.same_up_to(&mut self.content, size)? else { return Ok(None) };
        let place = self.line_start(same.min(known.offset))?;
        Ok(Some(place).filter(|place| *place > 0 && *place >= known.offset / 2))
    }

    /// Where the position stands when something before it was cut off. A large file in which it was not found is not searched again for a
    /// while: other files wait meanwhile.
    fn moved_place(&mut self, known: &Fingerprint, size: u64) -> io::Result<Option<Moved>> {
        let was_searched = self.place_searched.is_some_and(|searched| searched.elapsed() < SEARCHED);
        let size = if was_searched { size.min(SMALL) } else { size };
        let place = known.moved_to(&mut self.content, size)?;
        if place.is_none() && size > SMALL {
            self.place_searched = Some(Instant::now());
        }
        Ok(place)
    }

    /// What is read next is a copy of what the file was.
    fn read_copy(&mut self, copy: Content) {
        self.live = Some(std::mem::replace(&mut self.content, copy));
    }

    /// A copy holds what was read and no more: what follows it is read from its beginning.
    fn go_on_in(&mut self, next: Next) -> Change {
        self.begin_anew();
        match next {
            Next::Live => Change::Anew { lost: 0 },
            Next::Copy(copy) => {
                self.read_copy(copy);
                Change::InCopy
            }
        }
    }

    /// A copy is read to its end. What follows it is the file itself, or another copy when that was truncated again before it was read.
    pub(super) fn leave_for_next(&mut self) -> Step {
        let known = self.fingerprint();
        let places = self.places();
        let live = self.live.as_mut();
        let next = live.and_then(|live| copy::next(&places, self.identity, &known, live));
        self.leave_copy();
        match next {
            Some(Next::Copy(copy)) => {
                self.read_copy(copy);
                Step::Searching
            }
            _ => Step::Moved,
        }
    }

    pub(super) fn leave_copy(&mut self) {
        if let Some(file) = self.live.take() {
            self.content = file;
        }
        self.begin_anew();
    }

    fn forget_head(&mut self) {
        self.head = Hashed::default();
        self.first_lines = FirstLines::default();
    }

    fn begin_anew(&mut self) {
        self.generation = self.generation.saturating_add(1);
        self.forget_head();
        self.trace.clear();
        self.marks = Marks::default();
        self.below.forget();
        self.doubt = None;
        self.known = None;
        self.size_seen = 0;
        self.is_utf16 = false;
        self.moved(0);
    }

    /// The bytes before the position are not what they were.
    pub(super) fn changed(&mut self, about: About, bounds: Bounds) -> io::Result<Step> {
        self.doubt = None;
        if self.goes_on_in_copy() {
            return Ok(Step::Changed(Change::InCopy));
        }
        if self.live.is_some() {
            return Ok(self.truncated());
        }
        // Where the lines that are known stand now is not clear.
        self.known = None;
        self.below.drop_rest();
        if bounds.identity == FileIdentity::Auto {
            if let Some(place) = self.parted_at(about.size)? {
                self.go_to(place)?;
                return Ok(Step::Changed(Change::Overwritten));
            }
            if self.find_place(&self.fingerprint(), about.size)? {
                return Ok(Step::Changed(Change::Overwritten));
            }
        }
        Ok(self.truncated())
    }

    pub(super) fn truncated(&mut self) -> Step {
        let lost = self.unread();
        let may_have_copy = std::mem::take(&mut self.may_have_copy) && self.live.is_none();
        if may_have_copy
            && lost == 0
            && let Some(next @ Next::Copy(_)) =
                copy::next(&self.places(), self.identity, &self.fingerprint(), &mut self.content)
        {
            return Step::Changed(self.go_on_in(next));
        }
        if lost > 0 {
            // It was seen, and can't be read any more.
            self.events.drop_one(GONE);
        }
        self.leave_copy();
        Step::Changed(Change::Anew { lost })
    }

    /// The start of the first line that differs from what was read, when it is among the last bytes that were read and most of what was
    /// read is before it.
    fn parted_at(&mut self, size: u64) -> io::Result<Option<u64>> {
        let start = self.offset - self.trace.len() as u64;
        let found = self.content.read_at(start, self.trace.len())?;
        let same = found.iter().zip(&self.trace).take_while(|(a, b)| a == b).count();
        let line = match memrchr(b'\n', &self.trace[..same]) {
            Some(end) => start + end as u64 + 1,
            None => return Ok(None),
        };
        let is_most = line >= self.offset / 2 && line <= size;
        Ok(Some(line).filter(|_| is_most && is_evidence(&self.trace[..same], start)))
    }

    /// Bytes that were seen behind the position.
    pub(super) fn unread(&self) -> u64 {
        match self.gap {
            Some(_) => self.searched.saturating_sub(self.offset),
            None => self.size_seen.saturating_sub(self.offset),
        }
    }

    /// Looks for a copy with lines that were not read. Names that did not change since the last search are not searched again: a file
    /// that is written in place is no reason to list a folder again and again.
    pub(super) fn goes_on_in_copy(&mut self) -> bool {
        if self.live.is_some() || self.trace.is_empty() {
            return false;
        }
        let places = self.places();
        let changed = copy::names_changed(&places);
        if let (Some(changed), Some((known, searched))) = (changed, self.copy_searched)
            && changed == known
            && searched.elapsed() < Duration::from_secs(3600)
        {
            return false;
        }
        let is_fresh = changed.and_then(|changed| changed.elapsed().ok()).is_none_or(|age| age < FRESH);
        self.copy_searched = changed.filter(|_| !is_fresh).map(|changed| (changed, Instant::now()));
        let Some(copy) = copy::find(&places, self.identity, &self.fingerprint()) else {
            self.may_have_copy = true;
            return false;
        };
        self.copy_searched = None;
        let within_line = self.within_line;
        self.read_copy(copy);
        let offset = self.offset;
        self.moved(offset);
        self.within_line = within_line;
        true
    }
}
