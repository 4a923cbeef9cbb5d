//! Lines of `key=value` pairs. A line of which any part is something else is text.

use std::borrow::Cow;

use memchr::memchr2;

use crate::{
    Found, Settings,
    bytes::{at, skip_blanks},
    fields::{Fields, Value},
    json,
};

/// How many pairs a line has at least: `a=b` alone is text.
const PAIRS_MIN: usize = 2;

/// Reads a line that is all pairs, and of which one is a time, a level or a message.
pub(crate) fn line<'l>(line: &'l [u8], observed: i64, settings: &Settings) -> Option<Found<'l>> {
    let mut position = skip_blanks(line, 0);
    key_end(line, position)?;

    let mut fields = Fields::new(observed, settings);
    let mut pairs = 0_usize;
    while position < line.len() {
        let end = key_end(line, position)?;
        let (value, behind) = value(line, end + 1)?;
        // The Linux audit log looks like pairs, and its message is its time.
        if matches!(&value, Value::Text(text) if text.starts_with("audit(")) {
            return None;
        }

        fields.add(String::from_utf8_lossy(line.get(position..end)?), value);
        pairs += 1;
        position = skip_line_blanks(line, behind);
    }
    (pairs >= PAIRS_MIN && fields.say_anything()).then(|| fields.finish(line))
}

/// The position of the `=` behind the key at a position.
fn key_end(line: &[u8], start: usize) -> Option<usize> {
    let rest = line.get(start..)?;
    let is_key = |byte: &&u8| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'/' | b'@');
    let length = rest.iter().take_while(is_key).count();
    (length > 0 && at(rest, length) == b'=').then_some(start + length)
}

/// The value at a position and the position behind it, where a blank or the end of the line stands.
fn value(line: &[u8], start: usize) -> Option<(Value<'_>, usize)> {
    if at(line, start) == b'"' {
        return quoted(line, start + 1);
    }
    let rest = line.get(start..)?;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    let length = rest.iter().position(is_blank).unwrap_or(rest.len());
    let text = String::from_utf8_lossy(rest.get(..length)?);
    Some((Value::Text(text), start + length))
}

/// A value in quotes whose first one has been read.
fn quoted(line: &[u8], start: usize) -> Option<(Value<'_>, usize)> {
    let mut end = start;
    let mut escaped = false;
    loop {
        end += memchr2(b'"', b'\\', line.get(end..)?)?;
        if at(line, end) == b'"' {
            break;
        }
        escaped = true;
        end += 2;
    }

    let text = line.get(start..end)?;
    let text = if escaped { Cow::Owned(json::unescape(text)) } else { String::from_utf8_lossy(text) };
    let ends = end + 1 >= line.len() || matches!(at(line, end + 1), b' ' | b'\t' | b'\r');
    ends.then_some((Value::Text(text), end + 1))
}

fn skip_line_blanks(line: &[u8], mut position: usize) -> usize {
    while matches!(at(line, position), b' ' | b'\t' | b'\r') {
        position += 1;
    }
    position
}
