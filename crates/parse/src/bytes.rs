//! Reading a line byte by byte, without ever reading past its end.

/// The byte at a position; 0 behind the end, which no pattern expects.
#[inline]
pub(crate) fn at(line: &[u8], position: usize) -> u8 {
    line.get(position).copied().unwrap_or(0)
}

/// How many digits stand at a position, at most 20: no number in a time is longer.
#[inline]
pub(crate) fn digits(line: &[u8], position: usize) -> usize {
    let rest = line.get(position..).unwrap_or_default();
    rest.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count()
}

/// The number of `count` digits at a position. Callers pass at most 19 digits that are there, which fit.
#[inline]
pub(crate) fn number(line: &[u8], position: usize, count: usize) -> u64 {
    let digits = line.get(position..position + count).unwrap_or_default();
    digits.iter().fold(0, |sum, byte| sum * 10 + u64::from(byte.wrapping_sub(b'0')))
}

/// Exactly two digits at a position.
#[inline]
pub(crate) fn two(line: &[u8], position: usize) -> Option<u32> {
    let (tens, ones) = (at(line, position), at(line, position + 1));
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

/// One or two digits at a position, and the position behind them.
#[inline]
pub(crate) fn one_or_two(line: &[u8], position: usize) -> Option<(u32, usize)> {
    let first = at(line, position);
    if !first.is_ascii_digit() {
        return None;
    }

    let (value, second) = (u32::from(first - b'0'), at(line, position + 1));
    if second.is_ascii_digit() {
        return Some((value * 10 + u32::from(second - b'0'), position + 2));
    }
    Some((value, position + 1))
}

/// The position behind spaces and tabs.
#[inline]
pub(crate) fn skip_blanks(line: &[u8], mut position: usize) -> usize {
    while matches!(at(line, position), b' ' | b'\t') {
        position += 1;
    }
    position
}

/// The position behind the colour codes of a terminal (`ESC [ 2 ; 3 2 m`) that stand at a position.
#[inline]
pub(crate) fn skip_colours(line: &[u8], mut position: usize) -> usize {
    while at(line, position) == 0x1b && at(line, position + 1) == b'[' {
        let mut end = position + 2;
        while matches!(at(line, end), b'0'..=b'9' | b';') {
            end += 1;
        }
        if !at(line, end).is_ascii_alphabetic() {
            return position;
        }
        position = end + 1;
    }
    position
}

/// How many letters stand at a position, at most 16: no level and no name of a month is longer.
#[inline]
pub(crate) fn letters(line: &[u8], position: usize) -> usize {
    let rest = line.get(position..).unwrap_or_default();
    rest.iter().take(16).take_while(|byte| byte.is_ascii_alphabetic()).count()
}

/// Whether a time may end here: what follows is not part of a longer word, number or file name.
#[inline]
pub(crate) fn ends_here(line: &[u8], position: usize) -> bool {
    match at(line, position) {
        b'_' | b'/' => false,
        b'.' | b'-' => !at(line, position + 1).is_ascii_alphanumeric(),
        byte => !byte.is_ascii_alphanumeric(),
    }
}
