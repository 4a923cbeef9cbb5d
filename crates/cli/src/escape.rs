//! Text from logs on a terminal: nothing in it may move the cursor, change colours or turn the direction.

use std::{borrow::Cow, fmt::Write};

/// `text` with control characters as `\n`, `\t`, `\u{1b}` and the like: one line that shows what it holds.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if steers(char) {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
    Cow::Owned(out)
}

/// Bytes as text, what is not UTF-8 as `\xff`.
pub(crate) fn bytes(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::new(), |mut out, chunk| {
        out.push_str(&text(chunk.valid()));
        let _ = write!(out, "{}", chunk.invalid().escape_ascii());
        out
    })
}

/// JSON text with the control characters that JSON lets through (DEL, U+0080 to U+009F) as `\u009b`.
pub(crate) fn json(json: String) -> String {
    if !json.chars().any(steers) {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len() + 16), |mut out, char| {
        let _ = if steers(char) { write!(out, "\\u{:04x}", u32::from(char)) } else { write!(out, "{char}") };
        out
    })
}

/// Control characters, and those that turn the direction of writing (Unicode TR9).
fn steers(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_the_rest_is_left_alone() {
        assert_eq!(text("größer 大 \u{1f426}"), "größer 大 \u{1f426}");
        assert_eq!(text("a\tb\r\n\u{1b}[31mred\u{9b}2J"), r"a\tb\r\n\u{1b}[31mred\u{9b}2J");
        assert_eq!(text("\u{202e}live"), r"\u{202e}live");
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_one_by_one() {
        assert_eq!(bytes(b"ok \xff\xfe\x1b end"), r"ok \xff\xfe\u{1b} end");
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = "del \u{7f} csi \u{9b} turn \u{202e} tab \t";
        let written = json(serde_json::to_string(value).unwrap());
        assert!(!written.chars().any(steers), "{written}");
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), value);
    }
}
