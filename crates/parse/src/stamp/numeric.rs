//! Dates in digits, told apart by how many stand first and what follows them; and seconds since 1970.

use super::{
    Place, Stamp, What, behind_date,
    clock::{Clock, Digits, clock, compact_clock},
    dated, doubtful, named,
};
use crate::{
    DayOrder, Doubt, Settings,
    bytes::{at, digits, ends_here, number, one_or_two, skip_blanks, two},
    civil::{self, SECOND, century},
    level,
};

/// Reads a date or an instant that begins with a digit.
pub(super) fn read(line: &[u8], start: usize, place: Place, settings: &Settings) -> Option<Stamp> {
    let length = digits(line, start);
    match length {
        4 => year_first(line, start),
        8 => compact_date(line, start),
        1 | 2 => short_first(line, start, place, settings),
        6 if place.first || is_behind_letter(line, start) => short_compact_date(line, start),
        _ if !place.first => None,
        14 | 17 => compact(line, start, length),
        10 | 13 | 16 | 19 => epoch(line, start),
        _ => None,
    }
}

/// `2026-03-04T05:06:07.123Z`, `2026/03/04 05:06:07`, `2026-03-04, 5:06`, `2026-03-04-05.06.07.123456`
fn year_first(line: &[u8], start: usize) -> Option<Stamp> {
    let separator = at(line, start + 4);
    if !matches!(separator, b'-' | b'/' | b'.') {
        return None;
    }
    let (month, end) = one_or_two(line, start + 5)?;
    if at(line, end) != separator {
        return None;
    }
    let (day, end) = one_or_two(line, end + 1)?;

    let next = behind_date(line, end)?;
    let clock = clock(line, next, Digits::Two).or_else(|| compact_clock(line, next))?;
    dated(Some(number(line, start, 4) as i64), month, day, clock)
}

/// `20260304T050607Z`, `20260304-05:06:07:123`, `20260304 05:06:07`
fn compact_date(line: &[u8], start: usize) -> Option<Stamp> {
    let next = behind_date(line, start + 8)?;
    let clock = clock(line, next, Digits::OneOrTwo).or_else(|| compact_clock(line, next))?;
    let (month, day) = (two(line, start + 4)?, two(line, start + 6)?);
    dated(Some(number(line, start, 4) as i64), month, day, clock)
}

/// `260304 050607` as HDFS writes it, and `260304  5:06:07` as older MySQL does.
fn short_compact_date(line: &[u8], start: usize) -> Option<Stamp> {
    if at(line, start + 6) != b' ' {
        return None;
    }
    let next = skip_blanks(line, start + 6);
    let clock = compact_clock(line, next).or_else(|| clock(line, next, Digits::Two))?;
    dated(Some(century(two(line, start)?)), two(line, start + 2)?, two(line, start + 4)?, clock)
}

/// Whether Tornado's letter stands before a date: `[I 260304 05:06:07 web:12]`.
fn is_behind_letter(line: &[u8], start: usize) -> bool {
    let before = start.checked_sub(3).and_then(|before| line.get(before..start));
    matches!(before, Some([b'[', letter, b' ']) if level::letter(*letter).is_some())
}

/// `20260304050607` and `20260304050607123`
fn compact(line: &[u8], start: usize, length: usize) -> Option<Stamp> {
    let clock = compact_clock(line, start + 8)?;
    let (month, day) = (two(line, start + 4)?, two(line, start + 6)?);
    dated(Some(number(line, start, 4) as i64), month, day, clock).filter(|stamp| stamp.end >= start + length)
}

/// Seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their length.
pub(crate) fn epoch(line: &[u8], start: usize) -> Option<Stamp> {
    let length = digits(line, start);
    let step = match length {
        10 => SECOND,
        13 => 1_000_000,
        16 => 1000,
        19 => 1,
        _ => return None,
    };
    let mut unix_nano = i64::try_from(number(line, start, length)).ok()?.checked_mul(step)?;
    let mut end = start + length;
    let mut precision = step as u64;

    let fraction = digits(line, end + 1).min(9);
    if length == 10 && at(line, end) == b'.' && fraction > 0 {
        precision = 10_u64.pow(9 - fraction as u32);
        unix_nano += (number(line, end + 1, fraction) * precision) as i64;
        end += 1 + digits(line, end + 1);
    }

    let plausible = (1990..=2100).contains(&civil::year_of(unix_nano / SECOND));
    let what = What::Instant { unix_nano, step: precision };
    (plausible && ends_here(line, end) && at(line, end) != b'-').then_some(Stamp { what, end, letter: None })
}

/// What begins with one or two digits: a day, a month, an hour, or a year without its century.
fn short_first(line: &[u8], start: usize, place: Place, settings: &Settings) -> Option<Stamp> {
    let (first, end) = one_or_two(line, start)?;
    let separator = at(line, end);
    match separator {
        b':' if place.first => only_clock(line, start),
        b' ' | b'/' | b'-' if at(line, end + 1).is_ascii_alphabetic() => named::day_first(line, start),
        b'/' | b'-' | b'.' if place.first => {
            let (second, end) = one_or_two(line, end + 1)?;
            if at(line, end) == separator && at(line, end + 1).is_ascii_digit() {
                return three_parts(line, start, [first, second], end + 1, settings);
            }
            two_parts(line, [first, second], end, separator, place, settings)
        }
        _ => None,
    }
}

/// `05:06:07.123`: a time of some day.
fn only_clock(line: &[u8], start: usize) -> Option<Stamp> {
    let clock = clock(line, start, Digits::Two)?;
    (clock.step < 60 * SECOND as u64).then(|| doubtful(Doubt::NoDate, clock.end))
}

/// `03/04/2026 05:06:07`, `04.03.2026 05:06:07`, `26/03/04 05:06:07 INFO`, `03/04/26-05:06:07`
fn three_parts(
    line: &[u8],
    start: usize,
    [first, second]: [u32; 2],
    third: usize,
    settings: &Settings,
) -> Option<Stamp> {
    let separator = at(line, third - 1);
    let length = digits(line, third);
    let year = match length {
        4 => number(line, third, 4) as i64,
        2 => century(two(line, third)?),
        _ => return None,
    };
    let end = third + length;
    let clock = clock(line, behind_date(line, end)?, Digits::Two)?;

    // The layout that comes with Log4j, Hadoop and Spark has the year first, and the level behind it.
    let two_digits_each = third - start == 6 && length == 2;
    let year_first = separator == b'/' && (first > 31 || level::is_word(line, skip_blanks(line, clock.end)));
    if two_digits_each && year_first {
        return dated(Some(century(first)), second, two(line, third)?, clock);
    }
    let order = match separator {
        b'.' => Some(DayOrder::DayFirst),
        // Snort is the only one that has no blank here.
        b'/' if at(line, end) == b'-' => Some(DayOrder::MonthFirst),
        _ => settings.day_order,
    };
    in_order(order, Some(year), [first, second], clock)
}

/// `03-04 05:06:07.123` as Android's logcat writes it, `[03.04 05:06:07]` as Proxifier does, `03/04-05:06:07`
/// as Snort does.
fn two_parts(
    line: &[u8],
    parts: [u32; 2],
    end: usize,
    separator: u8,
    place: Place,
    settings: &Settings,
) -> Option<Stamp> {
    let closing_dot = separator == b'.' && at(line, end) == b'.';
    let clock = clock(line, behind_date(line, end + usize::from(closing_dot))?, Digits::Two)?;

    let order = match separator {
        b'-' if is_logcat(line, &clock) => Some(DayOrder::MonthFirst),
        b'/' if at(line, end) == b'-' => Some(DayOrder::MonthFirst),
        b'.' if closing_dot => Some(DayOrder::DayFirst),
        b'.' if place.before == b'[' => Some(DayOrder::MonthFirst),
        // Two numbers and a time of day that aren't at the very beginning are too little for a date.
        b'.' => return None,
        _ => settings.day_order,
    };
    in_order(order, None, parts, clock)
}

/// Whether what logcat writes follows: the ids of process and thread, or `1702-2395/com.example`, and a
/// letter; or a letter and a tag.
fn is_logcat(line: &[u8], clock: &Clock) -> bool {
    let mut next = skip_blanks(line, clock.end);
    for _ in 0..2 {
        let id = digits(line, next);
        let rest = line.get(next..).unwrap_or_default();
        let word = rest.iter().take(80).take_while(|byte| **byte != b' ').count();
        if id == 0 || (id < word && at(line, next + id) != b'-') {
            break;
        }
        next = skip_blanks(line, next + word);
    }
    matches!(at(line, next), b'V' | b'D' | b'I' | b'W' | b'E' | b'F' | b'A')
        && matches!(at(line, next + 1), b' ' | b'/')
}

/// A date of day and month in an order that is known, or that only one of them can have.
fn in_order(
    order: Option<DayOrder>,
    year: Option<i64>,
    [first, second]: [u32; 2],
    clock: Clock,
) -> Option<Stamp> {
    let day_first = dated(year, second, first, clock);
    let month_first = dated(year, first, second, clock);
    match order {
        Some(DayOrder::DayFirst) => day_first.or(month_first),
        Some(DayOrder::MonthFirst) => month_first.or(day_first),
        None if first == second => day_first,
        None => match (day_first, month_first) {
            (Some(_), Some(_)) => Some(doubtful(Doubt::DayOrMonth, clock.end)),
            (one, other) => one.or(other),
        },
    }
}
