//! What in a file is no part of its lines: padding with NULs, carriage returns at line ends, and a byte order mark.

use bytes::Bytes;
use memchr::{memchr, memchr_iter};

/// A run of so many NULs is padding: a program has reserved space, or a machine lost its power. Fewer are content.
pub(super) const PADDING: usize = 64;
/// UTF-8's byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes that tell UTF-16 from what only begins like it.
const SAMPLE: usize = 512;

/// Length of the mark that a file begins with.
pub(super) fn mark_length(start: &[u8]) -> usize {
    if start.starts_with(MARK) { MARK.len() } else { 0 }
}

/// Whether a file that begins so may hold nothing but the first bytes of a mark.
pub(super) fn may_be_mark(start: &[u8]) -> bool {
    start.len() <= MARK.len() && MARK.starts_with(start)
}

/// Whether a file that begins so is UTF-16: it has that mark, and characters that say the same.
pub(super) fn is_utf16(start: &[u8]) -> bool {
    let place = match start {
        [0xff, 0xfe, ..] => 1,
        [0xfe, 0xff, ..] => 0,
        _ => return false,
    };
    let sample = &start[2..start.len().min(SAMPLE)];
    sample.chunks_exact(2).any(|pair| pair[place] == 0 && pair[1 - place] != 0)
}

/// Up to where `data` may be cut into lines: padding begins there, or the NULs that a file ends with so far.
pub(super) fn end_of_data(data: &[u8], is_end: bool) -> usize {
    let mut from = 0;
    while let Some(start) = memchr(0, &data[from..]).map(|at| from + at) {
        let rest = &data[start..];
        let run = rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len());
        let ends = start + run == data.len();
        if run >= PADDING || (ends && is_end) {
            return start;
        }
        from = start + run;
    }
    data.len()
}

/// Lines without the carriage returns before their line ends.
pub(super) fn without_returns(lines: Bytes) -> Bytes {
    if memchr::memmem::find(&lines, b"\r\n").is_none() {
        return lines;
    }
    let mut clean = Vec::with_capacity(lines.len());
    let mut start = 0;
    for end in memchr_iter(b'\n', &lines) {
        let line = &lines[start..end];
        clean.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        clean.push(b'\n');
        start = end + 1;
    }
    clean.extend_from_slice(&lines[start..]);
    clean.into()
}

/// How much of an unfinished line can be given out: not half a character, and not what may become a line end.
pub(super) fn whole_part(line: &[u8]) -> usize {
    let end = match std::str::from_utf8(line) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        // Bytes that are no UTF-8 before the last few tell nothing of these.
        _ => line.len(),
    };
    line[..end].strip_suffix(b"\r").map_or(end, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriage_returns_go_with_their_line_ends_only() {
        let clean = |text: &'static [u8]| without_returns(Bytes::from_static(text));
        assert_eq!(&clean(b"one\r\ntwo\n\r\na\rb\r\n")[..], b"one\ntwo\n\na\rb\n");
        assert_eq!(&clean(b"10 %\r20 %\rdone\n")[..], b"10 %\r20 %\rdone\n");
        assert_eq!(&clean(b"a\r\r\n")[..], b"a\r\n");
    }

    #[test]
    fn long_runs_of_nul_are_padding_and_short_ones_are_content() {
        let padded = [b"a\nb\0c\n".as_slice(), &[0; 64], b"d\n"].concat();
        assert_eq!(end_of_data(&padded, false), 6);
        assert_eq!(end_of_data(b"a\0\0", true), 1);
        assert_eq!(end_of_data(b"a\0\0", false), 3);
        assert_eq!(end_of_data(b"a\0\0\n", true), 4);
    }

    #[test]
    fn utf16_is_told_from_bytes_that_begin_like_it() {
        assert!(is_utf16(b"\xff\xfeo\0n\0e\0\n\0"));
        assert!(is_utf16(b"\xfe\xff\0o\0n\0e\0\n"));
        assert!(!is_utf16(b"\xff\xfe\xfd\n"));
        assert!(!is_utf16(b"one\n"));
    }

    #[test]
    fn half_a_character_and_a_carriage_return_wait_for_what_follows() {
        assert_eq!(whole_part("ab\u{20ac}".as_bytes()), 5);
        assert_eq!(whole_part(b"ab\xe2\x82"), 2);
        assert_eq!(whole_part(b"ab\r"), 2);
        assert_eq!(whole_part(b"\r"), 0);
        assert_eq!(whole_part(b"a\xffb"), 3);
    }
}
