//! A filter of log records as a condition in SQL, for what is stored; [`super::passing`] has it for what arrives.

use std::fmt::Write;

use lapwing::v1::LogFilter;

/// `filter` and the time bounds as a SQL condition.
pub(super) fn condition(filter: &LogFilter, start: u64, end: u64) -> String {
    let mut conditions = vec!["true".to_owned()];
    if !filter.text.is_empty() {
        conditions.push(format!("strpos(lower(body), {}) > 0", literal(&filter.text.to_lowercase())));
    }
    if !filter.host.is_empty() {
        conditions.push(format!("host = {}", literal(&filter.host)));
    }
    if !filter.source.is_empty() {
        conditions.push(format!("source LIKE {}", literal(&like(&filter.source))));
    }
    if filter.min_severity_number > 0 {
        conditions.push(format!("severity >= {}", filter.min_severity_number));
    }
    for (key, value) in &filter.attributes {
        conditions.push(format!("attribute(attributes, {}) = {}", literal(key), literal(value)));
    }
    if start > 0 {
        conditions.push(format!("time >= to_timestamp_nanos({})", start.min(i64::MAX as u64)));
    }
    if end > 0 {
        conditions.push(format!("time < to_timestamp_nanos({})", end.min(i64::MAX as u64)));
    }
    conditions.join(" AND ")
}

/// A string literal of SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A glob as a pattern of LIKE.
fn like(glob: &str) -> String {
    glob.chars().fold(String::new(), |mut out, c| {
        let _ = match c {
            '*' => out.write_char('%'),
            '?' => out.write_char('_'),
            '%' | '_' | '\\' => write!(out, "\\{c}"),
            other => out.write_char(other),
        };
        out
    })
}

/// Whether `text` matches a glob of `*` (any bytes) and `?` (one character).
pub(super) fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    // Where to go on when a star has to take one byte more.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(b'?') => {
                g += 1;
                t += 1;
                while t < text.len() && text[t] & 0xc0 == 0x80 {
                    t += 1;
                }
            }
            Some(byte) if *byte == text[t] => {
                g += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (g, t) = (at + 1, from + 1);
            }
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_a_shell_but_through_slashes() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("/var/log/*.log", "/var/log/a/b.log", true),
            ("/var/log/*.log", "/var/log/b.txt", false),
            ("a?c", "abc", true),
            ("a?c", "a\u{20ac}c", true),
            ("a?c", "ac", false),
            ("*a*a*b", "aaaaaaaaaaaaaaaaaaaac", false),
            ("*b", "ab", true),
        ] {
            assert_eq!(glob_matches(glob.as_bytes(), text.as_bytes()), expected, "{glob} {text}");
        }
    }

    #[test]
    fn quotes_and_wildcards_of_like_are_taken_literally() {
        let filter =
            LogFilter { text: "It's".to_owned(), source: "100%_*".to_owned(), ..LogFilter::default() };
        let text = condition(&filter, 0, 0);
        assert_eq!(text, "true AND strpos(lower(body), 'it''s') > 0 AND source LIKE '100\\%\\_%'");
    }
}
