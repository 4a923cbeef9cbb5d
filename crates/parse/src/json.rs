//! Lines of JSON, taken apart in one pass without recursion.
//!
//! Lenient where a line can still be read: bytes that aren't UTF-8 and half surrogates become U+FFFD. A line
//! that isn't one whole object is text.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use crate::{
    Found, Settings,
    bytes::{at, skip_blanks},
    fields::{Fields, KEY_MAX, Value},
};

/// How deep objects are taken apart. What is deeper stays JSON.
const DEPTH_MAX: usize = 8;

/// Reads a line that is one JSON object.
pub(crate) fn line<'l>(line: &'l [u8], observed: i64, settings: &Settings) -> Option<Found<'l>> {
    within(line, skip_blanks(line, 0), observed, settings)
}

/// Reads the JSON object that a line ends with, if one begins at a position.
pub(crate) fn within<'l>(
    line: &'l [u8],
    start: usize,
    observed: i64,
    settings: &Settings,
) -> Option<Found<'l>> {
    if at(line, start) != b'{' {
        return None;
    }
    let whole = line.get(start..)?.trim_ascii_end();
    if whole.last() != Some(&b'}') {
        return None;
    }

    let mut fields = Fields::new(observed, settings);
    let mut parser = Parser { line: whole, position: 1 };
    parser.object(&mut fields)?;
    (parser.position == whole.len()).then(|| fields.finish(whole))
}

/// What may come next in an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    KeyOrEnd,
    Key,
    CommaOrEnd,
}

struct Parser<'l> {
    line: &'l [u8],
    position: usize,
}

impl<'l> Parser<'l> {
    /// Reads the fields of an object whose brace has been read, those of objects within it under
    /// `outer.inner`.
    fn object(&mut self, fields: &mut Fields<'l, '_>) -> Option<()> {
        let mut path = String::new();
        // How long the path was before each object that is open.
        let mut open = Vec::new();
        let mut next = Next::KeyOrEnd;

        loop {
            match (self.byte(), next) {
                (b'}', Next::KeyOrEnd | Next::CommaOrEnd) => {
                    self.position += 1;
                    let Some(length) = open.pop() else { return Some(()) };
                    path.truncate(length);
                    next = Next::CommaOrEnd;
                }
                (b',', Next::CommaOrEnd) => {
                    self.position += 1;
                    next = Next::Key;
                }
                (b'"', Next::Key | Next::KeyOrEnd) => {
                    let key = self.key()?;
                    let length = path.len() + key.len();
                    if self.byte() == b'{' && open.len() < DEPTH_MAX && length < KEY_MAX {
                        self.position += 1;
                        open.push(path.len());
                        path.push_str(&key);
                        path.push('.');
                        next = Next::KeyOrEnd;
                        continue;
                    }

                    match self.value()? {
                        Some(_) if length > KEY_MAX => fields.leave_out(),
                        Some(value) if path.is_empty() => fields.add(key, value),
                        Some(value) => fields.add(Cow::Owned(format!("{path}{key}")), value),
                        None => {}
                    }
                    next = Next::CommaOrEnd;
                }
                _ => return None,
            }
        }
    }

    /// The next byte that isn't blank.
    fn byte(&mut self) -> u8 {
        while matches!(at(self.line, self.position), b' ' | b'\t' | b'\r' | b'\n') {
            self.position += 1;
        }
        at(self.line, self.position)
    }

    /// A key and its colon.
    fn key(&mut self) -> Option<Cow<'l, str>> {
        let key = self.string()?;
        if self.byte() != b':' {
            return None;
        }
        self.position += 1;
        Some(key)
    }

    /// A value that isn't taken apart. `Some(None)` is `null`, which says nothing.
    fn value(&mut self) -> Option<Option<Value<'l>>> {
        match self.byte() {
            b'"' => self.string().map(|text| Some(Value::Text(text))),
            b'{' | b'[' => self.raw().map(|text| Some(Value::Other(text))),
            _ => self.scalar(),
        }
    }

    /// A number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Option<Option<Value<'l>>> {
        let rest = self.line.get(self.position..)?;
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.');
        let text = rest.get(..rest.iter().take_while(is_part).count())?;
        self.position += text.len();

        let is_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'e' | b'E' | b'+' | b'-' | b'.');
        match text {
            b"null" => Some(None),
            b"true" | b"false" => Some(Some(Value::Other(String::from_utf8_lossy(text)))),
            [b'-' | b'0'..=b'9', ..] if text.iter().all(is_number) => {
                Some(Some(Value::Number(String::from_utf8_lossy(text))))
            }
            _ => None,
        }
    }

    /// An array or object as it is written.
    fn raw(&mut self) -> Option<Cow<'l, str>> {
        let start = self.position;
        let mut depth = 0_usize;
        loop {
            match at(self.line, self.position) {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ if self.position >= self.line.len() => return None,
                _ => {}
            }
            self.position += 1;
            if depth == 0 {
                return Some(String::from_utf8_lossy(self.line.get(start..self.position)?));
            }
        }
    }

    /// Moves behind a string, and returns whether it has escapes.
    fn skip_string(&mut self) -> Option<bool> {
        self.position += 1;
        let mut escaped = false;
        loop {
            self.position += memchr2(b'"', b'\\', self.line.get(self.position..)?)?;
            if at(self.line, self.position) == b'"' {
                self.position += 1;
                return Some(escaped);
            }
            escaped = true;
            self.position += 2;
        }
    }

    /// A string without its quotes and escapes.
    fn string(&mut self) -> Option<Cow<'l, str>> {
        let start = self.position + 1;
        let escaped = self.skip_string()?;
        let text = self.line.get(start..self.position - 1)?;
        Some(if escaped { Cow::Owned(unescape(text)) } else { String::from_utf8_lossy(text) })
    }
}

/// Resolves the escapes of a string. What is no escape stays as it is.
pub(crate) fn unescape(mut text: &[u8]) -> String {
    let mut plain = Vec::with_capacity(text.len());
    while let Some(escape) = memchr(b'\\', text) {
        plain.extend_from_slice(text.get(..escape).unwrap_or_default());
        let used = match at(text, escape + 1) {
            b'n' => push(&mut plain, b'\n'),
            b't' => push(&mut plain, b'\t'),
            b'r' => push(&mut plain, b'\r'),
            b'b' => push(&mut plain, 0x08),
            b'f' => push(&mut plain, 0x0c),
            byte @ (b'"' | b'\\' | b'/') => push(&mut plain, byte),
            b'u' => push_unicode(&mut plain, text.get(escape..).unwrap_or_default()),
            _ => {
                plain.push(b'\\');
                1
            }
        };
        text = text.get(escape + used..).unwrap_or_default();
    }
    plain.extend_from_slice(text);
    String::from_utf8(plain).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Adds the byte of an escape of two bytes.
fn push(plain: &mut Vec<u8>, byte: u8) -> usize {
    plain.push(byte);
    2
}

/// Adds the character of `\u00e9`, or of the two halves `\ud83d\ude00`, and returns how long it is written.
fn push_unicode(plain: &mut Vec<u8>, text: &[u8]) -> usize {
    let Some(first) = hex(text, 2) else {
        plain.push(b'\\');
        return 1;
    };
    let low = if at(text, 6) == b'\\' && at(text, 7) == b'u' { hex(text, 8) } else { None };

    let (character, used) = match (first, low) {
        (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
            (char::from_u32(0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00)), 12)
        }
        _ => (char::from_u32(first), 6),
    };
    let mut buffer = [0; 4];
    let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
    plain.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
    used
}

/// Four hexadecimal digits at a position.
fn hex(text: &[u8], start: usize) -> Option<u32> {
    let digits = text.get(start..start + 4)?;
    digits.iter().try_fold(0, |sum, byte| Some(sum << 4 | (*byte as char).to_digit(16)?))
}
