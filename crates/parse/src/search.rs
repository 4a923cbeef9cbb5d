//! Looks for the level of a line of text: in its head, where a level stands, and not in its sentences.

use std::ops::Range;

use crate::{
    bytes::{at, digits, letters, number, skip_blanks, skip_colours},
    level::{self, Word},
    plain::Located,
};

/// How many words behind the time are looked at.
const WORDS_BEHIND: usize = 10;
/// How many words of a line without a time are looked at: it is more often the middle of something.
const WORDS_WITHOUT_TIME: usize = 3;

/// Which bytes a word ends before.
const ENDS_WORD: [bool; 256] = {
    let mut ends = [false; 256];
    let bytes = b" \t[]()<>|:,;=\"\x1b";
    let mut index = 0;
    while index < bytes.len() {
        ends[bytes[index] as usize] = true;
        index += 1;
    }
    ends
};

/// A level and where it stands.
pub(crate) struct Searched {
    pub(crate) number: u8,
    pub(crate) text: Range<usize>,
    /// Where the message may begin behind it.
    pub(crate) end: usize,
}

impl Searched {
    fn new(number: u8, text: Range<usize>) -> Self {
        Self { number, end: text.end, text }
    }
}

/// Where the search stands.
struct Search<'l> {
    line: &'l [u8],
    position: usize,
    /// The last byte before the position that isn't part of a word; colours don't count.
    before: u8,
    /// A message may begin here: the line does, or brackets or a colon have just ended something.
    edge: bool,
    /// Nothing but this many numbers stands between the time and here.
    behind_time: Option<usize>,
}

/// Looks for the level of a line whose head begins at `start`.
pub(crate) fn level(line: &[u8], start: usize, located: Option<&Located>, near: usize) -> Option<Searched> {
    if let Some(located) = located {
        if let Some(number) = located.stamp.letter.and_then(level::letter) {
            return Some(Searched {
                end: located.stamp.end,
                ..Searched::new(number, located.start..located.start + 1)
            });
        }
        if let Some(found) = redis(line, start, located) {
            return Some(found);
        }
    }

    let time = located.map_or(0..0, |located| located.start..located.stamp.end);
    let limit = line.len().min(start.max(time.end) + near);
    let mut words_left = if located.is_some() { WORDS_BEHIND } else { WORDS_WITHOUT_TIME };
    let mut search = Search { line, position: start, before: 0, edge: true, behind_time: None };

    while search.position < limit && words_left > 0 {
        if time.contains(&search.position) {
            search.pass_time(time.end);
            words_left = WORDS_BEHIND;
            continue;
        }
        match at(line, search.position) {
            b'"' => return None,
            0x1b => search.pass_colour(),
            b' ' | b'\t' | b'[' | b'(' | b'<' | b',' | b';' | b'\'' | b'=' | b'*' | b'#' => {
                search.pass(false)
            }
            b':' | b']' | b')' | b'>' | b'|' => search.pass(true),
            b'-' if at(line, search.position + 1) == b' ' => search.pass(true),
            byte => {
                let end = search.word_end();
                if search.may_be_level(byte, end)
                    && let Some(found) = search.try_word(byte, start)
                {
                    return Some(found);
                }
                search.pass_word(end);
                words_left -= 1;
            }
        }
    }
    None
}

impl Search<'_> {
    /// Passes a byte between words.
    fn pass(&mut self, edge: bool) {
        self.before = at(self.line, self.position);
        self.edge |= edge;
        self.position += 1;
    }

    fn pass_colour(&mut self) {
        self.position = skip_colours(self.line, self.position).max(self.position + 1);
    }

    fn pass_time(&mut self, end: usize) {
        self.position = end;
        self.before = b' ';
        self.edge = true;
        self.behind_time = Some(0);
    }

    /// The end of the word at the position, which is all up to the next blank, bracket or punctuation.
    #[inline]
    fn word_end(&self) -> usize {
        let rest = self.line.get(self.position..).unwrap_or_default();
        let length = rest.iter().position(|byte| ENDS_WORD[usize::from(*byte)]).unwrap_or(rest.len());
        self.position + length.max(1)
    }

    /// Whether it is worth to look at a word: almost all are left here, in small letters and where no level
    /// stands.
    #[inline]
    fn may_be_level(&self, first: u8, end: usize) -> bool {
        !first.is_ascii_digit()
            && (!first.is_ascii_lowercase()
                || self.behind_time.is_some()
                || !matches!(at(self.line, end), b' ' | 0))
    }

    /// Passes a word.
    fn pass_word(&mut self, end: usize) {
        let is_number = |word: &[u8]| word.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
        if let Some(numbers) = self.behind_time {
            let number = self.line.get(self.position..end).is_some_and(is_number);
            self.behind_time = number.then_some(numbers + 1);
        }
        self.edge = false;
        self.position = end;
        self.before = at(self.line, end - 1);
    }

    /// The level that the word at the position is.
    fn try_word(&self, first: u8, start: usize) -> Option<Searched> {
        if first == b'%' {
            return cisco(self.line, self.position);
        }
        if !first.is_ascii_alphabetic() {
            return None;
        }
        let text = self.position..self.position + letters(self.line, self.position);
        match (text.len(), at(self.line, text.end)) {
            (1, right) => self.letter(first, right, start).map(|number| Searched::new(number, text)),
            (_, b'=') => self.key(&text),
            (_, b'.' | b'_' | b'-') => self.last_part(text.end),
            (_, right) => self.word(&text, right).map(|number| Searched::new(number, text)),
        }
    }

    /// A word of letters is a level when it is written like one, or stands where one does.
    fn word(&self, text: &Range<usize>, right: u8) -> Option<u8> {
        let name = self.line.get(text.clone())?;
        let capitals = name.iter().all(u8::is_ascii_uppercase);
        let first = *name.first()?;
        // Most words are left here: in small letters, and not where a level stands.
        let closed = matches!(right, b']' | b')' | b'>' | b'|' | b':');
        if !capitals && !closed && self.behind_time.is_none() {
            return None;
        }
        let ends = closed || matches!(right, 0 | b' ' | b'\t' | b',' | b';' | b'[' | b'/' | b'\'' | 0x1b);
        let word = level::word(name).filter(|_| ends)?;

        let padded = at(self.line, skip_blanks(self.line, text.end));
        let in_brackets = matches!(
            (self.before, padded),
            (b'[' | b':', b']') | (b'<', b'>') | (b'(', b')') | (b'|', b'|') | (b'[', b'[')
        );
        let says = right == b':' && (self.edge || self.behind_php());
        let behind_time = self.behind_time.is_some();
        let is_level = match word {
            Word::Sure(_) => capitals || in_brackets || says || (behind_time && right != b'/'),
            Word::Short(_) => in_brackets || says || (capitals && behind_time),
            Word::Vague(_) => {
                let capital = first.is_ascii_uppercase();
                (capitals && (says || behind_time)) || (capital && in_brackets)
            }
        };
        is_level.then_some(word.number())
    }

    /// A single letter is a level in brackets, behind logcat's ids, or where Ruby, etcd and MongoDB write
    /// one.
    fn letter(&self, letter: u8, right: u8, start: usize) -> Option<u8> {
        let number = level::letter(letter)?;
        let next = at(self.line, self.position + 2);
        let at_start = self.position <= start + 1;
        let is_level = match (self.before, right) {
            (b'[', b']') | (b'|', b'|') => true,
            // Jupyter and Ruby, before the time.
            (b'[', b' ') => at_start && next.is_ascii_digit(),
            (_, b',') => at_start && next == b' ' && at(self.line, self.position + 3) == b'[',
            (_, b'/') => self.tag_ends(self.position + 2),
            (_, b' ') => match self.behind_time {
                Some(0) => next == b'|' || letters_in_capitals(self.line, self.position + 2),
                // The ids of process and thread.
                Some(numbers) => numbers >= 2 || next.is_ascii_uppercase(),
                None => false,
            },
            _ => false,
        };
        is_level.then_some(number)
    }

    /// Whether logcat's tag and what closes it stand at a position: `ActivityManager( 1702):`. `I/O error` is
    /// none.
    fn tag_ends(&self, start: usize) -> bool {
        let rest = self.line.get(start..).unwrap_or_default();
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let tag = rest.iter().take(64).take_while(is_part).count();
        tag >= 2 && matches!(at(self.line, skip_blanks(self.line, start + tag)), b'(' | b':')
    }

    /// `level=info` and its like in a line that isn't logfmt as a whole.
    fn key(&self, key: &Range<usize>) -> Option<Searched> {
        let name = self.line.get(key.clone())?;
        let is_key = [&b"level"[..], b"lvl", b"severity", b"loglevel"]
            .iter()
            .any(|key| name.eq_ignore_ascii_case(key));
        if !is_key {
            return None;
        }
        let start = key.end + 1 + usize::from(at(self.line, key.end + 1) == b'"');
        let text = start..start + letters(self.line, start);
        let number = level::word(self.line.get(text.clone())?)?.number();
        Some(Searched::new(number, text))
    }

    /// Monolog's `channel.ERROR:`.
    fn last_part(&self, mut end: usize) -> Option<Searched> {
        let limit = end + 64;
        let mut start = end;
        while end < limit
            && matches!(at(self.line, end), b'.' | b'_' | b'-' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9')
        {
            end += 1;
            if at(self.line, end - 1) == b'.' {
                start = end;
            }
        }
        let name = self.line.get(start..end)?;
        let is_level = at(self.line, end) == b':' && start > 0 && name.iter().all(u8::is_ascii_uppercase);
        level::word(name).filter(|_| is_level).map(|word| Searched::new(word.number(), start..end))
    }

    /// PHP says `PHP Warning:  `.
    fn behind_php(&self) -> bool {
        self.position.checked_sub(4).and_then(|start| self.line.get(start..self.position)) == Some(b"PHP ")
    }
}

/// Whether a word of three or more capitals stands at a position.
fn letters_in_capitals(line: &[u8], start: usize) -> bool {
    let word = line.get(start..start + letters(line, start)).unwrap_or_default();
    word.len() >= 3 && word.iter().all(u8::is_ascii_uppercase)
}

/// Cisco's `%SYS-5-CONFIG_I:`, whose number is syslog's.
fn cisco(line: &[u8], start: usize) -> Option<Searched> {
    let rest = line.get(start + 1..)?;
    let is_part = |byte: &&u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-');
    let end = start + 1 + rest.iter().take(64).take_while(is_part).count();
    if at(line, end) != b':' || !at(line, start + 1).is_ascii_uppercase() {
        return None;
    }
    let digit = (start + 1..end).find(|position| {
        digits(line, *position) == 1 && at(line, position - 1) == b'-' && at(line, position + 1) == b'-'
    })?;
    let number = level::syslog(number(line, digit, 1))?;
    Some(Searched { end, ..Searched::new(number, digit..digit + 1) })
}

/// Redis: `1:M 04 Mar 2026 05:06:07.123 * Ready`
fn redis(line: &[u8], start: usize, located: &Located) -> Option<Searched> {
    let pid = start + digits(line, start);
    if pid == start || at(line, pid) != b':' || located.start != pid + 3 {
        return None;
    }
    let sign = located.stamp.end + 1;
    let number = match at(line, sign) {
        b'.' | b'-' => level::number::DEBUG,
        b'*' => level::number::INFO2,
        b'#' => level::number::WARN,
        _ => return None,
    };
    (at(line, sign + 1) == b' ').then(|| Searched::new(number, sign..sign + 1))
}

/// The position behind what closes a head: brackets, colons, bars, dashes and blanks.
pub(crate) fn skip_closing(line: &[u8], mut position: usize) -> usize {
    loop {
        position = skip_colours(line, position);
        let closes = match at(line, position) {
            b' ' | b'\t' | b']' | b')' | b'>' | b'|' | b':' | b',' => true,
            b'-' => at(line, position + 1) == b' ',
            _ => false,
        };
        if !closes {
            return position;
        }
        position += 1;
    }
}
