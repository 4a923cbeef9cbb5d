//! Dates with the name of a month: syslog, C's `ctime`, mail, web servers, Java, Redis. And glog, whose level
//! is part of it.

use super::{
    Place, Stamp, behind_date,
    clock::{Clock, Digits, clock, zone_behind},
    dated,
};
use crate::{
    bytes::{at, digits, ends_here, letters, number, one_or_two, skip_blanks, two},
    civil::century,
};

const MONTHS: [&[u8]; 12] = [
    b"january",
    b"february",
    b"march",
    b"april",
    b"may",
    b"june",
    b"july",
    b"august",
    b"september",
    b"october",
    b"november",
    b"december",
];

const WEEKDAYS: [&[u8]; 7] =
    [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];

/// Reads a date that begins with a word.
pub(super) fn read(line: &[u8], start: usize, place: Place) -> Option<Stamp> {
    if at(line, start + 1).is_ascii_digit() {
        return if place.first { glog(line, start) } else { None };
    }
    // Other words, which are the most, are left by their first letter.
    let first = at(line, start) | 0x20;
    if !matches!(first, b'm' | b't' | b'w' | b'f' | b's') && !place.first {
        return None;
    }
    if let Some(end) = weekday(line, start) {
        let date = skip_blanks(line, end + usize::from(at(line, end) == b','));
        return month_first(line, date).or_else(|| day_first(line, date));
    }
    place.first.then(|| month_first(line, start)).flatten()
}

/// `I0304 05:06:07.123456`
fn glog(line: &[u8], start: usize) -> Option<Stamp> {
    let letter = at(line, start);
    if !matches!(letter, b'I' | b'W' | b'E' | b'F' | b'D' | b'V' | b'C') || digits(line, start + 1) != 4 {
        return None;
    }
    let clock = clock(line, skip_blanks(line, start + 5), Digits::Two)?;
    let stamp = dated(None, two(line, start + 1)?, two(line, start + 3)?, clock)?;
    Some(Stamp { letter: Some(letter), ..stamp })
}

/// `Mar  4 05:06:07`, `Mar 04 2026 05:06:07`, `March 4, 2026, 5:06:07 PM`, `Mar  4 05:06:07 CET 2026`
fn month_first(line: &[u8], start: usize) -> Option<Stamp> {
    let (month, end) = month(line, start)?;
    let (day, end) = one_or_two(line, skip_blanks(line, end))?;
    let comma = at(line, end) == b',';
    let next = skip_blanks(line, end + usize::from(comma));
    if next == end {
        return None;
    }

    if digits(line, next) == 4 {
        let year = number(line, next, 4) as i64;
        let clock = clock(line, behind_date(line, next + 4)?, Digits::Two)?;
        return dated(Some(year), month, day, clock);
    }
    let clock = clock(line, next, Digits::Two)?;
    let (year, clock) = year_behind(line, clock);
    dated(year, month, day, clock)
}

/// The year that C's `ctime` and `date` write behind the time, also behind a zone that isn't known, and a
/// numeric zone behind that.
fn year_behind(line: &[u8], clock: Clock) -> (Option<i64>, Clock) {
    let mut start = skip_blanks(line, clock.end);
    let zone = line.get(start..start + letters(line, start)).unwrap_or_default();
    if (3..=5).contains(&zone.len())
        && zone.iter().all(u8::is_ascii_uppercase)
        && at(line, start + zone.len()) == b' '
    {
        start += zone.len() + 1;
    }
    if digits(line, start) != 4
        || !matches!(line.get(start..start + 2), Some(b"19" | b"20"))
        || !ends_here(line, start + 4)
    {
        return (None, clock);
    }

    let mut clock = Clock { end: start + 4, ..clock };
    if let (None, Some((offset, end))) = (clock.offset, zone_behind(line, clock.end)) {
        clock.offset = Some(offset);
        clock.end = end;
    }
    (Some(number(line, start, 4) as i64), clock)
}

/// `04 Mar 2026 05:06:07`, `04/Mar/2026:05:06:07 +0100`, `04-Mar-26 05:06:07`, `04 Mar 05:06:07.123`
pub(super) fn day_first(line: &[u8], start: usize) -> Option<Stamp> {
    let (day, end) = one_or_two(line, start)?;
    let separator = at(line, end);
    if !matches!(separator, b' ' | b'/' | b'-') {
        return None;
    }
    let (month, end) = month(line, end + 1)?;
    if at(line, end) != separator {
        return None;
    }

    let next = end + 1;
    let (year, end) = match digits(line, next) {
        4 => (Some(number(line, next, 4) as i64), next + 4),
        2 if at(line, next + 2) != b':' => (Some(century(two(line, next)?)), next + 2),
        2 if separator == b' ' => return dated(None, month, day, clock(line, next, Digits::Two)?),
        _ => return None,
    };
    dated(year, month, day, clock(line, behind_date(line, end)?, Digits::Two)?)
}

/// The month whose name stands at a position, short or whole, and the position behind it.
fn month(line: &[u8], start: usize) -> Option<(u32, usize)> {
    named(line, start, &MONTHS).map(|(index, end)| (index as u32 + 1, end))
}

/// The position behind the name of a weekday that stands here.
fn weekday(line: &[u8], start: usize) -> Option<usize> {
    named(line, start, &WEEKDAYS).map(|(_, end)| end)
}

/// Which of the names stands at a position: its first three letters or more of them.
fn named(line: &[u8], start: usize, names: &[&[u8]]) -> Option<(usize, usize)> {
    let end = start + letters(line, start);
    let word = line.get(start..end).filter(|word| word.len() >= 3)?;

    // Almost every line that isn't one is left here, by its first letter.
    let first = word.first()? | 0x20;
    let is_it = |name: &&[u8]| {
        name.first() == Some(&first)
            && name.get(..word.len()).is_some_and(|name| name.eq_ignore_ascii_case(word))
    };
    names.iter().position(is_it).map(|index| (index, end))
}
