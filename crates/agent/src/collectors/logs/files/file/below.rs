//! Changes before the position of a file that did not grow.
//!
//! A file that was written to and is as long as before was changed somewhere in what was read of it. All of that is compared with its
//! [hashes](super::Blocks) then, once the file is quiet, in pieces, and no sooner than a while after the last time. Only the
//! part in which the change is comes again.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Bounds, Change, FileIdentity, Known, Step, TailedFile};
use crate::collectors::logs::files::{
    blocks::{Blocks, Comparison},
    fingerprint::Marks,
    identity::About,
};

/// A file is compared when it was quiet for so long. One that grows meanwhile was written to because of that.
const QUIET: Duration = Duration::from_secs(1);
/// Bytes compared before other files have their turn.
const PIECE: u64 = 4 << 20;
/// Time from one comparison to the next, at least ...
const PAUSE: Duration = Duration::from_secs(10);
/// ... which doubles each time a change is found, up to so many times: a line that is kept up to date at the head of a file is not to
/// bring those beside it again and again.
const MAX_DOUBLED: u32 = 8;

/// What is to be known of changes before the position.
#[derive(Debug)]
pub(super) struct Below {
    /// All that was read, by its hashes.
    pub(super) blocks: Blocks,
    /// It was written to and did not grow.
    check: Option<Check>,
    /// No comparison before this.
    next: Instant,
    /// Changes found so far.
    found: u32,
    /// What is known of the file, while a part of it is read again.
    rest: Option<Box<(Blocks, Marks)>>,
}

#[derive(Debug)]
struct Check {
    size: u64,
    modified: u64,
    since: Instant,
    comparison: Option<Comparison>,
}

impl Below {
    pub(super) fn new() -> Self {
        Self { blocks: Blocks::default(), check: None, next: Instant::now(), found: 0, rest: None }
    }

    /// What was read is another file's, or is not there any more.
    pub(super) fn forget(&mut self) {
        self.blocks = Blocks::default();
        self.check = None;
        self.rest = None;
    }

    /// What is read next is not a part that is read again.
    pub(super) fn drop_rest(&mut self) {
        self.rest = None;
    }

    /// The file was written to and did not grow.
    pub(super) fn ask(&mut self, about: About) {
        self.check = Some(Check {
            size: about.size,
            modified: about.modified,
            since: Instant::now(),
            comparison: None,
        });
    }

    /// Makes all that it waits for so much older.
    #[cfg(test)]
    pub(super) fn backdate(&mut self, age: Duration) {
        self.next -= age;
        if let Some(check) = &mut self.check {
            check.since -= age;
        }
    }

    /// When a comparison may begin.
    fn due(&self) -> Option<Instant> {
        self.check.as_ref().map(|check| self.next.max(check.since + QUIET))
    }

    /// Whether a comparison is to begin soon.
    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now() + QUIET)
    }
}

impl TailedFile {
    /// Compares what was read of a file that is as long as it was. `None` when there is nothing to do, or nothing was found.
    pub(super) fn look_below(&mut self, about: About, bounds: Bounds) -> io::Result<Option<Step>> {
        let is_now = self.below.due().is_some_and(|due| due <= Instant::now());
        let is_between = self.known.is_none() && self.live.is_none() && !self.within_line;
        if !is_now || !is_between || bounds.identity == FileIdentity::Inode {
            return Ok(None);
        }
        let Below { blocks, check, .. } = &mut self.below;
        let Some(asked) = check.as_mut().filter(|asked| asked.size == about.size) else {
            *check = None;
            return Ok(None);
        };
        if asked.modified != about.modified {
            self.below.ask(about);
            return Ok(None);
        }

        let comparison = asked.comparison.get_or_insert_with(|| blocks.comparison());
        if !blocks.compare(&mut self.content, self.offset, PIECE, comparison)? {
            return Ok(Some(Step::Searching));
        }
        let comparison = check.take().and_then(|check| check.comparison).unwrap_or_default();
        self.below.next = Instant::now() + PAUSE;
        self.read_again(comparison)
    }

    /// Goes back to where something was changed, and leaves out what is behind that.
    fn read_again(&mut self, comparison: Comparison) -> io::Result<Option<Step>> {
        let Some(changed) = self.below.blocks.changed(&comparison) else { return Ok(None) };
        self.below.next = Instant::now() + PAUSE * 2u32.pow(self.below.found.min(MAX_DOUBLED));
        self.below.found = self.below.found.saturating_add(1);

        let to = self.offset;
        let from = self.line_start(changed.start)?;
        let known = self.next_line(changed.end.saturating_sub(1), to)?.filter(|known| *known < to);
        let mut marks = self.marks.clone();
        marks.remove(from..known.unwrap_or(to));
        let mut blocks = self.below.blocks.clone();
        blocks.accept(comparison);
        self.go_to(from)?;
        self.grow_head()?;
        self.known = known.map(|from| Known { from, to });
        self.below.rest = known.map(|_| Box::new((blocks, marks)));
        Ok(Some(Step::Changed(Change::Overwritten)))
    }

    /// A part was read again, and what is behind it is known.
    pub(super) fn restore_rest(&mut self) {
        if let Some(rest) = self.below.rest.take() {
            (self.below.blocks, self.marks) = *rest;
            self.marks.cut(self.offset);
        }
    }
}
