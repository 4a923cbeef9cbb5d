//! The end of a file: a last line that has no end yet, or never will.

use std::{io, time::Instant};

use memchr::memchr;

use super::{
    Bounds, Step, TailedFile,
    look::{FILLED, cut_line},
};
use crate::{collectors::logs::files::text, input::LinePart};

/// The last line, which has no end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    /// It reaches up to here ...
    at: u64,
    /// ... since then.
    since: Instant,
    /// Nothing of it can be given out: half a character, or what may be half a line end. It is waited for without a look, until the file
    /// has another time than this.
    given_up: Option<u64>,
}

impl Quiet {
    fn new(at: u64) -> Self {
        Self { at, since: Instant::now(), given_up: None }
    }

    /// Whether only what is written next can change something.
    pub(super) fn is_given_up(self) -> bool {
        self.given_up.is_some()
    }
}

impl TailedFile {
    /// Gives out what there is of the last line when it stayed as it is for long enough.
    pub(super) fn wait_for_end(&mut self, bounds: Bounds) -> io::Result<Step> {
        let waits_for_ever = bounds.unfinished.is_none() && !self.is_padded()?;
        if self.searched == self.offset || self.doubt.is_some() || waits_for_ever {
            self.quiet = None;
            return Ok(Step::Idle);
        }
        let limit = bounds.unfinished.unwrap_or(FILLED);
        let at = self.searched;
        let quiet = *self.quiet.get_or_insert_with(|| Quiet::new(at));
        if quiet.at == at && quiet.given_up == Some(self.modified) {
            return Ok(Step::Idle);
        }
        if quiet.at != at || quiet.given_up.is_some() {
            self.quiet = Some(Quiet::new(at));
            return Ok(Step::Idle);
        }
        if quiet.since.elapsed() < limit {
            return Ok(Step::Idle);
        }
        if bounds.unfinished.is_none() && !self.goes_on_behind_padding()? {
            self.quiet = None;
            return Ok(Step::Idle);
        }
        self.give_part(bounds)
    }

    /// Whether there are NULs behind what was searched.
    fn is_padded(&self) -> io::Result<bool> {
        Ok(self.content.about()?.size > self.searched)
    }

    /// The last line of a copy, or the part of it before padding that has something behind it.
    pub(super) fn last_of_copy(&mut self, bounds: Bounds) -> io::Result<Step> {
        if self.searched > self.offset && self.goes_on_behind_padding()? {
            let part = self.give_part(bounds)?;
            if matches!(part, Step::Lines { .. }) {
                return Ok(part);
            }
        }

        // The position behind it is one in the copy: what follows the copy is found by that.
        Ok(match self.unfinished_line(bounds)? {
            Some(last) => last,
            None => self.leave_for_next(),
        })
    }

    fn give_part(&mut self, bounds: Bounds) -> io::Result<Step> {
        let quiet = self.quiet.take();
        let length = usize::try_from(self.searched - self.offset).unwrap_or(usize::MAX);
        let line = self.content.read_at(self.offset, length.min(bounds.max_line))?;
        if memchr(b'\n', &line).is_some() {
            // It was overwritten meanwhile.
            self.searched = self.offset;
            return Ok(Step::Searching);
        }
        let truncated = length > bounds.max_line;
        let skip = if self.offset == 0 { text::mark_length(&line) } else { 0 };
        let whole = text::whole_part(&line);
        if whole <= skip || (self.offset == 0 && text::may_be_mark(&line)) {
            self.quiet = quiet.map(|quiet| Quiet { given_up: Some(self.modified), ..quiet });
            return Ok(Step::Idle);
        }

        let data = cut_line(&line[skip..whole], bounds.max_line);
        let part = if self.within_line { LinePart::Next } else { LinePart::First };
        self.go_to(if truncated { self.searched } else { self.offset + whole as u64 })?;
        self.within_line = true;
        self.give(data, 1, truncated, part, false)
    }

    /// The last line of a file that nobody will end any more.
    pub(crate) fn unfinished_line(&mut self, bounds: Bounds) -> io::Result<Option<Step>> {
        let size = self.content.about()?.size;
        if self.is_utf16 || size < self.offset {
            return Ok(None);
        }
        let chunk = self.content.read_at(self.offset, bounds.max_line)?;
        let data = &chunk[..text::end_of_data(&chunk, true)];
        let skip = if self.offset == 0 { text::mark_length(data) } else { 0 };
        if data.len() <= skip {
            return Ok(None);
        }

        // Should it have been ended meanwhile, it is a line like any other.
        let end = memchr(b'\n', data);
        let rest = if data.len() < chunk.len() { data.len() as u64 } else { size - self.offset };
        let taken = end.map_or(rest, |end| end as u64 + 1);
        let truncated = taken > bounds.max_line as u64 + 1;
        let line = text::without_returns(cut_line_with_end(&data[skip..], bounds.max_line));
        let part = if self.within_line { LinePart::Last } else { LinePart::Whole };
        self.go_to(self.offset + taken)?;
        if part == LinePart::Last && line.len() == 1 {
            return Ok(Some(Step::Moved));
        }
        self.give(line, 1, truncated, part, false).map(Some)
    }
}

/// The line up to its end, or cut to the limit.
fn cut_line_with_end(data: &[u8], max_line: usize) -> bytes::Bytes {
    match memchr(b'\n', data) {
        Some(end) => data[..=end].to_vec().into(),
        None => cut_line(data, max_line),
    }
}
