//! Words, letters and numbers that say how bad something is, as OpenTelemetry's severity numbers.
//!
//! Words follow OpenTelemetry's table. `critical`, `crit`, `alert` and `emerg` are FATAL where they are
//! words, as its libraries for Python and .NET have it; as numbers of syslog they are ERROR2, ERROR3 and
//! FATAL, as the table has it.

use crate::bytes::letters;

/// OpenTelemetry's severity numbers, as far as anything is mapped to them.
pub(crate) mod number {
    pub(crate) const TRACE: u8 = 1;
    pub(crate) const DEBUG: u8 = 5;
    pub(crate) const DEBUG2: u8 = 6;
    pub(crate) const DEBUG3: u8 = 7;
    pub(crate) const INFO: u8 = 9;
    pub(crate) const INFO2: u8 = 10;
    pub(crate) const WARN: u8 = 13;
    pub(crate) const ERROR: u8 = 17;
    pub(crate) const ERROR2: u8 = 18;
    pub(crate) const ERROR3: u8 = 19;
    pub(crate) const FATAL: u8 = 21;
}
use number::*;

/// How sure a word is to be a level when it stands in capitals among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing else is written so: `INFO`, `ERROR`.
    Sure(u8),
    /// Only between brackets, before a colon or right behind the time: `INF`, `crit`.
    Short(u8),
    /// A word of its own, too, so that it also has to be written with a capital: `FINE:`, `LOG:`, `[Note]`.
    Vague(u8),
}

impl Word {
    /// The severity number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Sure(number) | Self::Short(number) | Self::Vague(number) => number,
        }
    }
}

/// The letters of a word as one number, in lower case; words of more than eight letters have none.
const fn packed(word: &[u8]) -> u64 {
    let mut sum = 0;
    let mut index = 0;
    while index < word.len() {
        sum = sum << 8 | (word[index] | 0x20) as u64;
        index += 1;
    }
    sum
}

macro_rules! words {
    ($word:ident: $($name:literal)|+ => $result:expr, $($rest:tt)*) => {
        { $(const _: () = assert!($name.len() <= 8);)+ }
        if $($word == const { packed($name) })||+ { return Some($result); }
        words!($word: $($rest)*);
    };
    ($word:ident:) => {};
}

/// The level that a word of letters names, in any case.
pub(crate) fn word(word: &[u8]) -> Option<Word> {
    if !(3..=13).contains(&word.len()) {
        return None;
    }
    if word.len() > 8 {
        return long_word(word);
    }

    let letters = packed(word);
    words! { letters:
        b"info" => Word::Sure(INFO),
        b"warn" | b"warning" => Word::Sure(WARN),
        b"error" | b"severe" | b"failure" => Word::Sure(ERROR),
        b"debug" => Word::Sure(DEBUG),
        b"trace" => Word::Sure(TRACE),
        b"fatal" | b"critical" | b"panic" | b"emerg" => Word::Sure(FATAL),
        b"notice" => Word::Sure(INFO2),
        b"finest" => Word::Sure(TRACE),
        b"finer" => Word::Vague(DEBUG),
        b"fine" => Word::Vague(DEBUG2),
        b"config" => Word::Vague(DEBUG3),
        b"inf" => Word::Short(INFO),
        b"log" | b"note" | b"system" => Word::Vague(INFO),
        b"wrn" => Word::Short(WARN),
        b"err" | b"eror" | b"fail" => Word::Short(ERROR),
        b"dbg" | b"dbug" | b"deb" | b"verbose" | b"vrb" => Word::Short(DEBUG),
        b"trc" | b"trce" => Word::Short(TRACE),
        b"crit" | b"crt" | b"ftl" | b"alert" => Word::Short(FATAL),
        b"dpanic" => Word::Sure(ERROR2),
    }
    None
}

fn long_word(word: &[u8]) -> Option<Word> {
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    if is(b"information") || is(b"informational") {
        return Some(Word::Sure(INFO));
    }
    is(b"emergency").then_some(Word::Sure(FATAL))
}

/// Whether a level in capitals, and nothing longer, stands at a position.
pub(crate) fn is_word(line: &[u8], start: usize) -> bool {
    let end = start + letters(line, start);
    let Some(name) = line.get(start..end) else { return false };
    let in_capitals = !name.is_empty() && name.iter().all(u8::is_ascii_uppercase);
    in_capitals && matches!(line.get(end), Some(b' ' | b'\t' | b':')) && word(name).is_some()
}

/// The level of a single letter: glog, logcat, Ruby, etcd, MongoDB, Jupyter.
pub(crate) fn letter(letter: u8) -> Option<u8> {
    Some(match letter {
        b'T' | b'V' => TRACE,
        b'D' => DEBUG,
        b'I' => INFO,
        b'N' => INFO2,
        b'W' => WARN,
        b'E' => ERROR,
        b'F' | b'C' | b'A' => FATAL,
        _ => return None,
    })
}

/// The level of a syslog severity, 0 to 7.
pub(crate) fn syslog(severity: u64) -> Option<u8> {
    Some(match severity {
        0 => FATAL,
        1 => ERROR3,
        2 => ERROR2,
        3 => ERROR,
        4 => WARN,
        5 => INFO2,
        6 => INFO,
        7 => DEBUG,
        _ => return None,
    })
}

/// The level of a number under a key like `level`: syslog's below 8, Bunyan's and pino's by tens, Monolog's
/// by hundreds.
pub(crate) fn numeric(value: u64) -> Option<u8> {
    Some(match value {
        0..=7 => return syslog(value),
        10 => TRACE,
        20 => DEBUG,
        30 => INFO,
        40 => WARN,
        50 => ERROR,
        60 => FATAL,
        100 => DEBUG,
        200 => INFO,
        250 => INFO2,
        300 => WARN,
        400 => ERROR,
        500 | 550 | 600 => FATAL,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_levels_in_any_case() {
        for (text, number) in [
            ("INFO", INFO),
            ("Info", INFO),
            ("information", INFO),
            ("Notice", INFO2),
            ("WARNING", WARN),
            ("warn", WARN),
            ("SEVERE", ERROR),
            ("FAILURE", ERROR),
            ("err", ERROR),
            ("CRITICAL", FATAL),
            ("Emergency", FATAL),
            ("FINEST", TRACE),
            ("FINER", DEBUG),
            ("FINE", DEBUG2),
            ("CONFIG", DEBUG3),
            ("vrb", DEBUG),
        ] {
            assert_eq!(word(text.as_bytes()).map(Word::number), Some(number), "{text}");
        }
    }

    #[test]
    fn other_words_are_none() {
        for text in
            ["", "in", "infos", "warned", "errors", "informationally", "debugger", "traceback", "HTTP"]
        {
            assert_eq!(word(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_follow_syslog_bunyan_and_monolog() {
        let syslog = (0..=8).map(numeric).collect::<Vec<_>>();
        let expected = [FATAL, ERROR3, ERROR2, ERROR, WARN, INFO2, INFO, DEBUG].map(Some);
        assert_eq!(syslog, [&expected[..], &[None]].concat());
        assert_eq!([10, 20, 30, 40, 50, 60].map(numeric), [TRACE, DEBUG, INFO, WARN, ERROR, FATAL].map(Some));
        assert_eq!([100, 250, 550].map(numeric), [DEBUG, INFO2, FATAL].map(Some));
        assert_eq!([15, 70, 1000, u64::MAX].map(numeric), [None; 4]);
    }
}
