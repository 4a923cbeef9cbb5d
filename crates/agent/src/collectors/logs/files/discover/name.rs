//! Matching one name: a file's or a directory's. Names are bytes; `?` and `[..]` stand for one character, or for one byte of
//! what is no UTF-8.

use std::str;

/// One part of a pattern that holds wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NameGlob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[a-z]`, `[!a-z]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A character of a name, or a byte that is part of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Char(char),
    Byte,
}

impl NameGlob {
    /// Reads the part of a pattern between two slashes.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            rest = &rest[first.len_utf8()..];
            match first {
                '?' => tokens.push(Token::One),
                '*' if tokens.last() == Some(&Token::Many) => {
                    return Err(
                        "`**` stands for directories and has to be a whole part between slashes".to_owned()
                    );
                }
                '*' => tokens.push(Token::Many),
                '[' => {
                    let end = class_end(rest)
                        .ok_or("a `[` has no `]`; write `[[]` for a file whose name holds a bracket")?;
                    tokens.push(class(&rest[..end]));
                    rest = &rest[end + 1..];
                }
                literal => tokens.push(Token::Literal(literal)),
            }
        }
        Ok(Self { tokens })
    }

    /// Whether it is `*`.
    pub(super) fn takes_all(&self) -> bool {
        self.tokens == [Token::Many]
    }

    /// Whether it matches the whole of `name`. As in a shell, no wildcard stands for a dot at the beginning unless `hidden`.
    pub(super) fn matches(&self, name: &[u8], hidden: bool) -> bool {
        if !hidden && name.first() == Some(&b'.') && self.tokens.first() != Some(&Token::Literal('.')) {
            return false;
        }

        // On a mismatch only the last `*` takes one more: an earlier one can't help.
        let mut at = 0;
        let mut token = 0;
        let mut last_star: Option<(usize, usize)> = None;
        while let Some((unit, length)) = unit(&name[at..]) {
            match self.tokens.get(token) {
                Some(Token::Many) => {
                    last_star = Some((token, at));
                    token += 1;
                    continue;
                }
                Some(other) if other.takes(unit) => {
                    token += 1;
                    at += length;
                    continue;
                }
                _ => {}
            }

            let Some((star, from)) = last_star else { return false };
            let next = from + self::unit(&name[from..]).map_or(1, |(_, length)| length);
            last_star = Some((star, next));
            token = star + 1;
            at = next;
        }
        self.tokens[token..].iter().all(|token| *token == Token::Many)
    }
}

impl Token {
    fn takes(&self, unit: Unit) -> bool {
        match (self, unit) {
            (Self::Many, _) => false,
            (Self::One, _) => true,
            (Self::Literal(literal), Unit::Char(c)) => *literal == c,
            (Self::Class { negated, ranges }, Unit::Char(c)) => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
            }
            (Self::Class { negated, .. }, Unit::Byte) => *negated,
            (Self::Literal(_), Unit::Byte) => false,
        }
    }
}

/// The first character of a name and its length; of what is no UTF-8, the first byte.
fn unit(bytes: &[u8]) -> Option<(Unit, usize)> {
    let first = *bytes.first()?;
    if first.is_ascii() {
        return Some((Unit::Char(first.into()), 1));
    }

    let head = &bytes[..bytes.len().min(4)];
    let valid = match str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    Some(valid.chars().next().map_or((Unit::Byte, 1), |c| (Unit::Char(c), c.len_utf8())))
}

/// Where the `]` of a class stands: one that comes first belongs to it.
pub(super) fn class_end(rest: &str) -> Option<usize> {
    let negation = usize::from(rest.starts_with('!'));
    let first = rest[negation..].chars().next()?.len_utf8();
    rest.get(negation + first..)?.find(']').map(|end| negation + first + end)
}

fn class(text: &str) -> Token {
    let negated = text.starts_with('!');
    let chars: Vec<char> = text.chars().skip(usize::from(negated)).collect();
    let mut ranges = Vec::new();
    let mut rest = &chars[..];
    while let Some(first) = rest.first() {
        match rest {
            [from, '-', to, ..] => {
                ranges.push((*from, *to));
                rest = &rest[3..];
            }
            _ => {
                ranges.push((*first, *first));
                rest = &rest[1..];
            }
        }
    }
    Token::Class { negated, ranges }
}

#[cfg(test)]
mod tests {
    use glob::{MatchOptions, Pattern};
    use proptest::prelude::*;

    use super::*;

    fn matches(glob: &str, name: impl AsRef<[u8]>) -> bool {
        NameGlob::parse(glob).unwrap().matches(name.as_ref(), false)
    }

    #[test]
    fn a_name_that_is_no_utf8_is_matched_by_its_bytes() {
        assert!(matches("caf?.txt", b"caf\xe9.txt"));
        assert!(matches("*.txt", b"\xff\xfe.txt"));
        assert!(matches("caf[!a].txt", b"caf\xe9.txt"));
        assert!(!matches("caf[a-z].txt", b"caf\xe9.txt"));
        assert!(!matches("café.txt", b"caf\xe9.txt"));
    }

    #[test]
    fn a_question_mark_is_one_character_and_not_one_byte() {
        assert!(matches("caf?.log", "café.log"));
        assert!(!matches("caf??.log", "café.log"));
        assert!(matches("caf[è-ê].log", "café.log"));
    }

    #[test]
    fn wildcards_leave_hidden_names_to_patterns_that_name_the_dot() {
        assert!(!matches("*.log", ".a.log"));
        assert!(!matches("?a.log", ".a.log"));
        assert!(matches(".*.log", ".a.log"));
        assert!(NameGlob::parse("*.log").unwrap().matches(b".a.log", true));
    }

    #[test]
    fn brackets_stand_for_themselves_inside_brackets() {
        assert!(matches("app[[]1].txt", "app[1].txt"));
        assert!(matches("a[]]b", "a]b"));
        assert!(NameGlob::parse("app[1.txt").unwrap_err().contains("[[]"));
    }

    proptest! {
        /// `glob` is what read these patterns before.
        #[test]
        fn patterns_mean_what_they_meant(
            glob in prop::collection::vec(prop::sample::select(vec!["a", "b", "é", ".", "-", "*", "?", "[ab]", "[!a]", "[]-é]"]), 0..6),
            name in "[ab.é\\]-]{0,6}",
        ) {
            let glob = glob.concat();
            // `*.log` took `.log`, too; in a shell it does not.
            prop_assume!(!glob.contains("**"));
            prop_assume!(!glob.starts_with("*.") || !name.starts_with('.'));
            let before = Pattern::new(&glob).unwrap();
            let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
            prop_assert_eq!(matches(&glob, &name), before.matches_with(&name, options), "{} {}", glob, name);
        }
    }
}
