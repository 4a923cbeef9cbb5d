//! Reading forwards: the next lines behind the position.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use memchr::{memchr, memchr2};

use super::{Bounds, CHUNK, Step, TRACE, TailedFile};
use crate::{
    collectors::logs::files::{
        lines::{self, Cut},
        text,
    },
    input::LinePart,
};

/// Chunks looked through for the end of an overlong line, or of padding, before other files have their turn.
const SEARCH_CHUNKS: usize = 16;

/// Space that is to be filled is looked at less often when it was not for so long ...
const PATIENCE: Duration = Duration::from_secs(2);
/// ... namely so often.
const PAUSE: Duration = Duration::from_millis(250);
/// How long NULs before other bytes wait to be filled, where last lines wait for ever.
pub(super) const FILLED: Duration = Duration::from_secs(1);

/// NULs behind what was read: space that is to be filled, or that never will be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    /// NULs up to here.
    pub(super) checked: u64,
    /// Size of the file when they were looked at.
    pub(super) size: u64,
    pub(super) since: Instant,
    /// Other bytes come behind them: they are passed unless they are filled soon.
    pub(super) ends: bool,
    /// When they were looked at last.
    pub(super) looked: Instant,
}

impl Gap {
    /// NULs up to `checked`, since as long as those `before`. Those that something came behind wait to be filled from then on.
    fn new(before: Option<Self>, checked: u64, size: u64, ends: bool) -> Self {
        let looked = Instant::now();
        let since = before.filter(|gap| gap.ends || !ends).map_or(looked, |gap| gap.since);
        Self { checked, size, since, ends, looked }
    }
}

impl TailedFile {
    pub(super) fn look(&mut self, bounds: Bounds) -> io::Result<Step> {
        let about = self.content.about()?;
        if self.is_utf16 && about.size > 0 {
            return Ok(Step::Idle);
        }
        self.is_utf16 = false;
        if about.size < self.searched || self.doubt.is_some() {
            return self.shrunk(about, bounds);
        }
        let was_modified = std::mem::replace(&mut self.modified, about.modified) != about.modified;
        if let Some(gap) = self.gap.filter(|gap| gap.size == about.size && !was_modified)
            && self.is_still_padding(gap)?
        {
            return Ok(Step::Idle);
        }
        if about.size == self.searched {
            if !was_modified || about.size == 0 {
                return Ok(self.look_below(about, bounds)?.unwrap_or(Step::Idle));
            }
            // Written to without growing: perhaps not behind the position.
            if !self.content.has_at(self.offset - self.trace.len() as u64, &self.trace)? {
                return self.changed(about, bounds);
            }
            self.below.ask(about);
            if self.searched == self.offset {
                return Ok(Step::Idle);
            }
            self.searched = self.offset;
        }
        if self.searched - self.offset > bounds.max_line as u64 {
            self.size_seen = about.size;
            return self.search_end(bounds);
        }
        self.read(about.size, bounds)
    }

    fn read(&mut self, size: u64, bounds: Bounds) -> io::Result<Step> {
        if self.pass_known()? {
            return Ok(Step::Moved);
        }
        let size = self.known.map_or(size, |known| known.from.min(size));
        let length = usize::try_from(size - self.offset).unwrap_or(usize::MAX);
        let back = self.trace.len();
        let wanted = length.min(CHUNK.max(bounds.max_line + 1));
        let chunk = self.content.read_at(self.offset - back as u64, back + wanted)?;
        if chunk.get(..back) != Some(&self.trace) {
            let about = self.content.about()?;
            return if about.size < self.searched {
                self.shrunk(about, bounds)
            } else {
                self.changed(about, bounds)
            };
        }
        // What is not the file that was read tells nothing of how much of that was not.
        self.size_seen = size;
        if self.offset == 0 && text::is_utf16(&chunk) {
            self.is_utf16 = true;
            if self.was_utf16 {
                return Ok(Step::Idle);
            }
            self.events.drop_one(super::UTF16);
            return Ok(Step::Unsupported);
        }

        // Hardly any log has either; one pass tells for both.
        let is_plain = memchr2(0, b'\r', &chunk[back..]).is_none();
        let is_all = wanted == length;
        let end = if is_plain { chunk.len() } else { back + text::end_of_data(&chunk[back..], is_all) };
        let is_padded = end < chunk.len();
        if is_padded && end == back {
            return self.pass_padding(size, bounds);
        }
        let (max_rows, part) =
            if self.within_line { (1, LinePart::Last) } else { (bounds.max_rows, LinePart::Whole) };
        match lines::cut(&chunk[back..end], bounds.max_line, max_rows) {
            Cut::Lines { bytes, rows } => {
                let more = wanted < length || rows == max_rows;
                self.give_lines(chunk, back, bytes, rows, part, is_plain, more)
            }
            Cut::TooLong { bytes } => {
                let skip = if self.offset == 0 { text::mark_length(&chunk) } else { 0 };
                let line = cut_line(&chunk[back + skip..], bounds.max_line);
                self.below.blocks.advance(self.offset + bytes as u64, &chunk[..back + bytes]);
                self.go_to(self.offset + bytes as u64)?;
                self.give(line, 1, true, part, true)
            }
            Cut::Unfinished => {
                self.searched = self.offset + (end - back) as u64;
                self.gap = is_padded.then(|| Gap::new(self.gap, self.searched, size, false));
                let more = self.searched < size && !is_padded;
                Ok(if more { Step::Searching } else { Step::Idle })
            }
        }
    }

    /// Gives out the `bytes` bytes of `chunk` that come behind the first `back`.
    #[expect(clippy::too_many_arguments, reason = "what a chunk was found to be")]
    fn give_lines(
        &mut self,
        mut chunk: Vec<u8>,
        back: usize,
        bytes: usize,
        rows: u32,
        part: LinePart,
        is_plain: bool,
        more: bool,
    ) -> io::Result<Step> {
        chunk.truncate(back + bytes);
        let offset = self.offset + bytes as u64;
        self.marks.advance(offset, &chunk, bytes);
        self.below.blocks.advance(offset, &chunk);
        let skip = if self.offset == 0 { text::mark_length(&chunk) } else { 0 };
        self.trace.clear();
        self.trace.extend_from_slice(&chunk[chunk.len().saturating_sub(TRACE)..]);
        self.moved(offset);
        let data = Bytes::from(chunk).slice(back + skip..);
        let data = if is_plain { data } else { text::without_returns(data) };
        if part == LinePart::Last && data.len() == 1 {
            // All of the line but its end was given out.
            return Ok(Step::Moved);
        }
        self.give(data, rows, false, part, more)
    }

    /// Whether nothing came where it is expected. The time of a file that is written by way of memory does not tell.
    fn is_still_padding(&mut self, gap: Gap) -> io::Result<bool> {
        if gap.ends {
            return Ok(false);
        }
        if self.grew.elapsed() > PATIENCE && gap.looked.elapsed() < PAUSE {
            return Ok(true);
        }
        self.gap = Some(Gap { looked: Instant::now(), ..gap });
        self.content.has_at(self.searched, &[0])
    }

    /// NULs stand at the position. What is behind them is read once it is clear that they will not be filled.
    fn pass_padding(&mut self, size: u64, bounds: Bounds) -> io::Result<Step> {
        let before = self.gap;
        let mut place = before.map_or(self.offset, |gap| gap.checked.max(self.offset));
        for _ in 0..SEARCH_CHUNKS {
            place = self.content.data_from(place)?;
            let chunk = self.content.read_at(place, CHUNK)?;
            if let Some(data) = chunk.iter().position(|byte| *byte != 0) {
                let gap = Gap::new(before, place, size, true);
                self.gap = Some(gap);
                // Of a copy nothing will be filled any more.
                let is_over =
                    self.live.is_some() || gap.since.elapsed() >= bounds.unfinished.unwrap_or(FILLED);
                if !is_over {
                    return Ok(Step::Idle);
                }
                let within_line = self.within_line;
                self.go_to(place + data as u64)?;
                self.within_line = within_line;
                return Ok(Step::Searching);
            }

            place += chunk.len() as u64;
            if chunk.is_empty() || place >= size {
                self.gap = Some(Gap::new(before, place, size, false));
                return Ok(Step::Idle);
            }
        }
        self.gap = Some(Gap::new(before, place, size, true));
        Ok(Step::Searching)
    }

    /// Whether something other than NULs comes behind the padding at `searched`.
    pub(super) fn goes_on_behind_padding(&mut self) -> io::Result<bool> {
        let mut place = self.searched;
        for _ in 0..SEARCH_CHUNKS {
            place = self.content.data_from(place)?;
            let chunk = self.content.read_at(place, CHUNK)?;
            if chunk.iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
            if chunk.is_empty() {
                return Ok(false);
            }
            place += chunk.len() as u64;
        }
        Ok(false)
    }

    /// Looks for the end of a line that is too long already; what is beyond the limit is not kept.
    fn search_end(&mut self, bounds: Bounds) -> io::Result<Step> {
        let part = if self.within_line { LinePart::Last } else { LinePart::Whole };
        for _ in 0..SEARCH_CHUNKS {
            let chunk = self.content.read_at(self.searched, CHUNK)?;
            let end = text::end_of_data(&chunk, chunk.len() < CHUNK);
            if let Some(line_end) = memchr(b'\n', &chunk[..end]) {
                let start = self.content.read_at(self.offset, bounds.max_line)?;
                let line = cut_line(&start, bounds.max_line);
                self.go_to(self.searched + line_end as u64 + 1)?;
                return self.give(line, 1, true, part, true);
            }
            self.searched += end as u64;
            if end < CHUNK {
                return Ok(Step::Idle);
            }
        }
        Ok(Step::Searching)
    }
}

/// A line cut to the limit and given an end; not inside a character when it is UTF-8.
pub(super) fn cut_line(line: &[u8], max_line: usize) -> Bytes {
    let end = memchr(b'\n', line).unwrap_or(line.len());
    let mut line = &line[..end.min(max_line)];
    if let Err(error) = std::str::from_utf8(line)
        && error.error_len().is_none()
    {
        line = &line[..error.valid_up_to()];
    }
    [line, b"\n"].concat().into()
}
