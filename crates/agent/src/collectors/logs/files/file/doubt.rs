//! A file that is shorter than what was read of it: it was truncated, or is just being written anew with the same content.
//!
//! An editor or `scp` empties a file and writes it in pieces. For as long as it begins as it did, and grows or was written to lately, nothing is read of
//! it: once it is what it was, reading goes on where it was.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{
    Bounds, Change, FileIdentity, Step, TailedFile,
    changes::{EVIDENCE, is_evidence},
};
use crate::collectors::logs::files::{fingerprint::HEAD, identity::About};

/// A file may just be written anew: it is looked at again until it stays as it is for so long.
pub(super) const SETTLES: Duration = Duration::from_secs(1);
/// For so long when enough is the same as before that it is likely a copy ...
const COPY_SETTLES: Duration = Duration::from_secs(5);
/// ... and as long as it is written when it is so much.
const SURE: u64 = 64 << 10;

/// How long a file of which so many bytes are the same as before must stay as it is.
pub(super) fn settles(same: u64) -> Duration {
    if same < EVIDENCE as u64 { SETTLES } else { COPY_SETTLES }
}

/// A file that became shorter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    /// Size and time of change, as of the last look.
    seen: (u64, u64),
    /// Since when they are that.
    quiet: Instant,
    since: Instant,
}

impl Doubt {
    fn new() -> Self {
        let now = Instant::now();
        Self { seen: (u64::MAX, 0), quiet: now, since: now }
    }

    /// Whether there was nothing in it for a while: then there is nothing to do until something comes.
    pub(super) fn is_empty(self) -> bool {
        self.seen.0 == 0 && self.quiet.elapsed() >= SETTLES
    }
}

impl TailedFile {
    /// The file is shorter than what was read of it. It may have been truncated, or is just being written anew with the same content.
    pub(super) fn shrunk(&mut self, about: About, bounds: Bounds) -> io::Result<Step> {
        if self.live.is_some() {
            return Ok(self.truncated());
        }
        if self.goes_on_in_copy() {
            return Ok(Step::Changed(Change::InCopy));
        }
        if bounds.identity == FileIdentity::Inode || self.offset == 0 {
            return Ok(self.truncated());
        }

        let seen = (about.size, about.modified);
        let before = *self.doubt.get_or_insert_with(Doubt::new);
        if about.size >= self.searched
            && self.content.has_at(self.offset - self.trace.len() as u64, &self.trace)?
        {
            // All of it is there again, as far as its end tells.
            self.doubt = None;
            self.modified = about.modified;
            self.below.ask(about);
            return Ok(Step::Searching);
        }
        let is_same = before.seen == seen;
        let doubt = if is_same { before } else { Doubt { seen, quiet: Instant::now(), ..before } };
        self.doubt = Some(doubt);
        if !self.is_settled(doubt, is_same)? {
            return Ok(Step::Idle);
        }
        self.doubt = None;
        if (1..self.offset).contains(&about.size) && self.is_cut_at(about.size)? {
            return Ok(Step::Changed(Change::Overwritten));
        }
        self.changed(about, bounds)
    }

    /// Whether it is to be taken for what it is now, and not for one that is just being written.
    fn is_settled(&mut self, doubt: Doubt, is_same: bool) -> io::Result<bool> {
        let (size, _) = doubt.seen;
        if size == 0 {
            // Nothing can be read of it. What is lost is to be known in time.
            return Ok(self.unread() > 0 && doubt.since.elapsed() >= SETTLES);
        }
        let is_whole_known = self.trace.len() as u64 == self.offset;
        let Some(evidence) = self.common_evidence(size)? else {
            return Ok(is_whole_known || is_same || doubt.since.elapsed() >= SETTLES);
        };
        if size >= self.offset {
            return Ok(is_same || doubt.since.elapsed() >= SETTLES);
        }
        let limit = settles(evidence);
        let is_copied = evidence >= SURE && evidence >= size / 2;
        Ok(doubt.quiet.elapsed() >= limit || (!is_copied && doubt.since.elapsed() >= 2 * COPY_SETTLES))
    }

    /// How much of a file that is shorter than what was read of it is known to be the same; `None` when it begins otherwise.
    fn common_evidence(&mut self, size: u64) -> io::Result<Option<u64>> {
        if self.trace.len() as u64 == self.offset {
            return Ok(self.begins_as_read(size)?.then_some(size));
        }
        if size < u64::from(self.head.length) {
            let start = self.content.read_at(0, HEAD)?;
            return Ok(self.first_lines.may_be_of(&start).then_some(size));
        }
        let start = self.offset - self.trace.len() as u64;
        let end = self.content.read_at(start, self.trace.len())?;
        if !self.fingerprint().has_head(&mut self.content)? || !self.trace.starts_with(&end) {
            return Ok(None);
        }
        let blocks = &self.below.blocks;
        let Some(same) = blocks.same_up_to(&mut self.content, size)? else { return Ok(Some(HEAD as u64)) };
        Ok(Some(same).filter(|same| size - same < 2 * blocks.bytes_each()))
    }

    /// Whether a small file, all of which is remembered, begins with what was read of it.
    fn begins_as_read(&mut self, size: u64) -> io::Result<bool> {
        let length = self.trace.len().min(usize::try_from(size).unwrap_or(usize::MAX));
        let bytes = self.content.read_at(0, length)?;
        Ok(self.trace.starts_with(&bytes))
    }

    /// Whether only the end of what was read was cut off; if so, what is written next is new.
    fn is_cut_at(&mut self, size: u64) -> io::Result<bool> {
        let known = self.fingerprint();
        let start = self.offset - self.trace.len() as u64;
        let is_cut = if size > start {
            let bytes = self.content.read_at(start, self.trace.len())?;
            self.trace.starts_with(&bytes) && is_evidence(&bytes, start)
        } else {
            // What is between a mark and the end may be new.
            known.same_up_to(&mut self.content, size)? == Some(size)
        };
        if is_cut {
            let tail = self.content.read_at(size.saturating_sub(1), 1)?;
            self.go_to(size)?;
            self.within_line = size > 0 && tail != b"\n";
        }
        Ok(is_cut)
    }
}
