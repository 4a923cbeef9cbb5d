//! Lines of text: where in their beginning the time stands, and where the level.

use std::{borrow::Cow, ops::Range};

use crate::{
    Found, Settings, Severity, Time,
    bytes::{at, digits, ends_here, number, skip_blanks, skip_colours},
    json, level,
    search::{self, Searched},
    stamp::{self, Place, Stamp, What},
};

/// How far behind the beginning of a line, or of what a level stands behind, is looked.
const NEAR: usize = 160;
/// How many words may stand before the time.
const WORDS_BEFORE: usize = 7;
/// How many words of plain letters may stand before a time that could also be part of a sentence.
const PLAIN_WORDS_BEFORE: usize = 1;
/// How many words of plain letters may stand before any time.
const PLAIN_WORDS_MAX: usize = 3;
/// How far in the future a time that doesn't begin its line may lie. Further on it is when something ends or
/// expires.
const AHEAD: i64 = 2 * 86_400 * 1_000_000_000;

/// A time and where in the line it stands.
pub(crate) struct Located {
    pub(crate) start: usize,
    pub(crate) stamp: Stamp,
}

/// Reads a line of text.
pub(crate) fn line<'l>(line: &'l [u8], observed: i64, settings: &Settings) -> Found<'l> {
    let (syslog, start) = priority(line, beginning(line));
    let mut located = supercomputer(line, start).or_else(|| locate(line, start, observed, settings));

    let mut found = Found::whole(line);
    let mut end = start;
    if let Some(Located { stamp, .. }) = &mut located {
        found.time = stamp.what.time(observed, settings);
        found.doubt = stamp.what.doubt();
        stamp.end = container(line, stamp.end);
        end = stamp.end;

        // What follows the time may be JSON, as a container's runtime or a forwarder writes it.
        if let Some(inner) = json::within(line, skip_blanks(line, end), observed, settings) {
            return Found { time: inner.time.or(found.time), ..inner };
        }
    }

    // A priority is the level by definition; a word in the message is only likely to be one.
    let level = syslog
        .map(|(number, text)| Searched { number, end: text.end, text })
        .or_else(|| search::level(line, start, located.as_ref(), NEAR));
    if let Some(Searched { number, text, end: behind }) = level {
        found.severity = severity(line, number, text);
        end = end.max(behind);
    }

    if located.is_some() || found.severity.is_some() {
        let rest = search::skip_closing(line, end);
        found.message = Cow::Borrowed(line.get(rest..).unwrap_or_default());
    }
    found
}

/// The position behind a byte order mark, colours and blanks.
fn beginning(line: &[u8]) -> usize {
    let mark = if line.starts_with(&[0xef, 0xbb, 0xbf]) { 3 } else { 0 };
    skip_blanks(line, skip_colours(line, skip_blanks(line, mark)))
}

/// Syslog's `<34>` and the version behind it: the severity, where its number stands, and the position behind.
fn priority(line: &[u8], start: usize) -> (Option<(u8, Range<usize>)>, usize) {
    let length = digits(line, start + 1);
    let text = start + 1..start + 1 + length;
    if at(line, start) != b'<' || !(1..=3).contains(&length) || at(line, text.end) != b'>' {
        return (None, start);
    }
    let value = number(line, text.start, length);
    let Some(severity) = level::syslog(value % 8).filter(|_| value <= 191) else { return (None, start) };

    // RFC 5424 has a version, and nothing else begins so.
    let end = text.end + 1;
    let versioned = at(line, end) == b'1' && at(line, end + 1) == b' ';
    (Some((severity, text)), if versioned { end + 2 } else { end })
}

/// Looks for a time among the first words of a line.
fn locate(line: &[u8], start: usize, observed: i64, settings: &Settings) -> Option<Located> {
    let mut position = start;
    let mut before = 0;
    let mut words = 0;
    let mut plain_words = 0;

    while words < WORDS_BEFORE && position < start + NEAR {
        // Brackets and blanks.
        while matches!(at(line, position), b' ' | b'\t' | b'[' | b'(' | b'<' | b'|' | b'#' | b'*' | b'\'') {
            before = at(line, position);
            position += 1;
        }
        position = skip_colours(line, position);
        if matches!(at(line, position), 0 | b'"') {
            return None;
        }

        let first = words == 0;
        if let Some(stamp) = stamp::read(line, position, Place { first, before }, settings) {
            let is_common_log = before == b'[' && at(line, position + 2) == b'/';
            if first
                || ((plain_words <= PLAIN_WORDS_BEFORE || is_common_log)
                    && is_near(&stamp, observed, settings))
            {
                return Some(Located { start: position, stamp });
            }
        }

        let word = word_end(line, position);
        if let Some(located) = audit(line, position, word) {
            return Some(located);
        }
        // Cisco numbers its lines before anything else.
        let is_counter = first && at(line, word) == b':' && digits(line, position) == word - position;
        words += usize::from(!is_counter);
        let name = line.get(position..word).unwrap_or_default();
        if name.iter().all(u8::is_ascii_alphabetic) && level::word(name).is_none() {
            plain_words += 1;
        }
        if plain_words > PLAIN_WORDS_MAX {
            return None;
        }
        position = word;
        while matches!(at(line, position), b':' | b',' | b']' | b')' | b'>') {
            position += 1;
        }
        before = at(line, position - 1);
    }
    None
}

/// The end of the word at a position, without the punctuation that closes it.
fn word_end(line: &[u8], start: usize) -> usize {
    let rest = line.get(start..).unwrap_or_default();
    let is_end = |byte: &u8| matches!(byte, b' ' | b'\t' | b'[' | b'(' | b'|' | b'"' | 0x1b);
    let mut end = start + rest.iter().take(NEAR).position(is_end).unwrap_or(rest.len().min(NEAR));
    while end > start + 1 && matches!(at(line, end - 1), b':' | b',' | b']' | b')' | b'>') {
        end -= 1;
    }
    end.max(start + 1)
}

/// Whether a time further on in its line can be that of the line: not one that has yet to come.
fn is_near(stamp: &Stamp, observed: i64, settings: &Settings) -> bool {
    let latest = observed.saturating_add(AHEAD);
    stamp.what.time(observed, settings).is_none_or(|time| time.unix_nano <= latest)
}

/// The Linux audit log: `type=SYSCALL msg=audit(1772600767.123:42): ...`
fn audit(line: &[u8], start: usize, end: usize) -> Option<Located> {
    if line.get(start..end)? != b"msg=audit" || at(line, end) != b'(' {
        return None;
    }
    let stamp = stamp::epoch(line, end + 1)?;
    Some(Located { start: end + 1, stamp })
}

/// Lines of supercomputers, whose time stands behind other columns.
fn supercomputer(line: &[u8], start: usize) -> Option<Located> {
    match at(line, start) {
        b'-' | b'A'..=b'Z' => alerted(line, start),
        b'0'..=b'9' => numbered(line, start),
        _ => None,
    }
}

/// BGL and Thunderbird: an alert or `-`, seconds since 1970, the date, a node, and in BGL the time to the
/// microsecond.
fn alerted(line: &[u8], start: usize) -> Option<Located> {
    let rest = line.get(start..)?;
    let is_alert = |byte: &&u8| matches!(byte, b'-' | b'_' | b'A'..=b'Z' | b'0'..=b'9');
    let seconds = start + rest.iter().take(24).take_while(is_alert).count() + 1;
    if at(line, seconds - 1) != b' ' || digits(line, seconds) != 10 {
        return None;
    }
    let stamp = stamp::epoch(line, seconds)?;
    let date = stamp.end + 1;
    if at(line, date - 1) != b' ' || digits(line, date) != 4 || at(line, date + 4) != b'.' {
        return None;
    }

    // Of two times the finer one is taken.
    let node = next_word(line, date)?;
    let finer = next_word(line, node).and_then(|position| {
        let place = Place { first: false, before: b' ' };
        let stamp = stamp::read(line, position, place, &Settings::default())?;
        matches!(stamp.what, What::Date { clock, .. } if clock.step < 1_000_000_000)
            .then_some(Located { start: position, stamp })
    });
    finer.or(Some(Located { start: seconds, stamp }))
}

/// HPC: a number, node, component and state, seconds since 1970 and a flag.
fn numbered(line: &[u8], start: usize) -> Option<Located> {
    let id = digits(line, start);
    if id > 9 || at(line, start + id) != b' ' || !at(line, start + id + 1).is_ascii_alphabetic() {
        return None;
    }
    let mut position = next_word(line, start)?;
    for _ in 0..5 {
        position = next_word(line, position)?;
        if digits(line, position) == 10
            && let Some(stamp) = stamp::epoch(line, position)
        {
            let flag = stamp.end + 1;
            let is_flag =
                at(line, flag - 1) == b' ' && at(line, flag).is_ascii_digit() && ends_here(line, flag + 1);
            return is_flag.then_some(Located { start: position, stamp });
        }
    }
    None
}

/// The beginning of the word behind the one at a position.
fn next_word(line: &[u8], start: usize) -> Option<usize> {
    let rest = line.get(start..)?;
    let blank = rest.iter().take(NEAR).position(|byte| *byte == b' ')?;
    Some(skip_blanks(line, start + blank))
}

/// The position behind what a container's runtime puts between time and message, `stdout F `, if it stands
/// here.
fn container(line: &[u8], end: usize) -> usize {
    let start = skip_blanks(line, end);
    let rest = line.get(start..).unwrap_or_default();
    let stream = [&b"stdout "[..], b"stderr "].into_iter().any(|stream| rest.starts_with(stream));
    let is_flag = matches!(at(line, start + 7), b'F' | b'P') && at(line, start + 8) == b' ';
    if stream && is_flag { start + 9 } else { end }
}

/// The time and level that a message begins with, for one whose other fields don't say them.
pub(crate) fn head_of(
    message: &[u8],
    observed: i64,
    settings: &Settings,
) -> (Option<Time>, Option<Severity<'static>>) {
    let start = beginning(message);
    let located = locate(message, start, observed, settings);
    let time = located.as_ref().and_then(|located| located.stamp.what.time(observed, settings));
    let searched = search::level(message, start, located.as_ref(), NEAR);
    let severity = searched.and_then(|searched| severity(message, searched.number, searched.text));
    (
        time,
        severity.map(|severity| Severity {
            number: severity.number,
            text: Cow::Owned(severity.text.into_owned()),
        }),
    )
}

/// The severity that a part of a line says.
fn severity(line: &[u8], number: u8, text: Range<usize>) -> Option<Severity<'_>> {
    line.get(text).map(|text| Severity { number, text: String::from_utf8_lossy(text) })
}
