//! Cutting a chunk of a file into runs of whole lines.

use memchr::{memchr_iter, memrchr};

/// What a chunk begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// `bytes` bytes hold `rows` whole lines, none of them too long.
    Lines { bytes: usize, rows: u32 },
    /// The first line is too long; with its end it is `bytes` long.
    TooLong { bytes: usize },
    /// The first line has no end here.
    Unfinished,
}

/// Looks at a chunk that begins with a line. At most `max_rows` lines are taken, of at most `max_line` bytes each.
pub(super) fn cut(chunk: &[u8], max_line: usize, max_rows: u32) -> Cut {
    let Some(last) = memrchr(b'\n', chunk) else {
        return Cut::Unfinished;
    };
    let whole = &chunk[..=last];
    if whole.len() <= max_line {
        // No line in it can be too long: counting is all there is to do.
        let rows = memchr_iter(b'\n', whole).count();
        if rows <= max_rows as usize {
            return Cut::Lines { bytes: whole.len(), rows: rows as u32 };
        }
    }
    let (mut bytes, mut rows) = (0, 0);
    for end in memchr_iter(b'\n', whole) {
        if end - bytes > max_line {
            break;
        }
        (bytes, rows) = (end + 1, rows + 1);
        if rows == max_rows {
            break;
        }
    }
    if rows > 0 {
        return Cut::Lines { bytes, rows };
    }
    let end = memchr::memchr(b'\n', whole).unwrap_or(last);
    Cut::TooLong { bytes: end + 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chunk_is_cut_behind_its_last_whole_line() {
        assert_eq!(cut(b"a\nbb\nccc", 100, 10), Cut::Lines { bytes: 5, rows: 2 });
        assert_eq!(cut(b"\n\n\n", 100, 10), Cut::Lines { bytes: 3, rows: 3 });
        assert_eq!(cut(b"abc", 100, 10), Cut::Unfinished);
        assert_eq!(cut(b"", 100, 10), Cut::Unfinished);
        assert_eq!(cut(b"a\nb\nc\n", 100, 2), Cut::Lines { bytes: 4, rows: 2 });
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_taken_and_a_longer_one_is_not() {
        assert_eq!(cut(b"abcd\n", 4, 10), Cut::Lines { bytes: 5, rows: 1 });
        assert_eq!(cut(b"abcde\nx\n", 4, 10), Cut::TooLong { bytes: 6 });
        assert_eq!(cut(b"x\nabcde\n", 4, 10), Cut::Lines { bytes: 2, rows: 1 });
    }

    proptest! {
        #[test]
        fn cutting_again_and_again_gives_every_line_once(text in "[ab\n]{0,80}", max_line in 1usize..9, max_rows in 1u32..5) {
            let mut rest = text.as_bytes();
            let mut lines = Vec::new();
            loop {
                match cut(rest, max_line, max_rows) {
                    Cut::Unfinished => break,
                    Cut::TooLong { bytes } => {
                        prop_assert!(bytes - 1 > max_line);
                        lines.push(&rest[..bytes - 1]);
                        rest = &rest[bytes..];
                    }
                    Cut::Lines { bytes, rows } => {
                        prop_assert!(rows >= 1 && rows <= max_rows);
                        let run = &rest[..bytes - 1];
                        let before = lines.len();
                        lines.extend(run.split(|byte| *byte == b'\n'));
                        prop_assert_eq!(lines.len() - before, rows as usize);
                        rest = &rest[bytes..];
                    }
                }
            }
            let end = text.rfind('\n').map_or(0, |end| end + 1);
            let expected: Vec<&[u8]> = text.as_bytes()[..end].split_inclusive(|b| *b == b'\n').map(|l| &l[..l.len() - 1]).collect();
            prop_assert_eq!(lines, expected);
        }
    }
}
