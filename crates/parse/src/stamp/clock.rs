//! The time of day: `05:06:07`, its fraction, `AM` or `PM`, and the zone behind it.

use crate::{
    bytes::{at, digits, ends_here, letters, number, one_or_two, two},
    civil::SECOND,
};

/// A time of day as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// Seconds since midnight. A leap second is the first second of the next minute.
    pub(crate) seconds: u32,
    /// Nanoseconds of the fraction.
    pub(crate) nanos: u32,
    /// The smallest step that is written, in nanoseconds.
    pub(crate) step: u64,
    /// Seconds east of Greenwich, when a zone is written that says so.
    pub(crate) offset: Option<i32>,
    /// Where it ends in the line.
    pub(crate) end: usize,
}

/// Minutes and seconds as some programs write them: `7:5` for five past seven.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digits {
    /// Two digits each.
    Two,
    /// One or two digits each.
    OneOrTwo,
}

/// Reads a time of day with its zone: `05:06`, `05:06:07`, `5:06:07.123 PM`, `05:06:07,123 +0100`.
pub(crate) fn clock(line: &[u8], start: usize, width: Digits) -> Option<Clock> {
    let (hour, end) = one_or_two(line, start)?;
    let separator = at(line, end);
    if hour > 23 || !matches!(separator, b':' | b'.') {
        return None;
    }
    let (minute, end) = sixty(line, end + 1, width)?;

    // With dots this would also be a number or an address, so it needs its seconds.
    let has_seconds = at(line, end) == separator && at(line, end + 1).is_ascii_digit();
    if !has_seconds && separator == b'.' {
        return None;
    }
    let mut clock =
        Clock { seconds: (hour * 60 + minute) * 60, nanos: 0, step: 60 * SECOND as u64, offset: None, end };
    if has_seconds {
        let (second, end) = sixty(line, end + 1, width)?;
        clock.seconds += second;
        clock.step = SECOND as u64;
        clock.end = end;
        read_fraction(line, &mut clock);
    }

    read_half(line, hour, &mut clock)?;
    read_zone(line, &mut clock);
    ends_here(line, clock.end).then_some(clock)
}

/// Reads `050607` with its fraction and zone.
pub(crate) fn compact_clock(line: &[u8], start: usize) -> Option<Clock> {
    let length = digits(line, start);
    if !matches!(length, 6 | 9) {
        return None;
    }
    let (hour, minute, second) = (two(line, start)?, two(line, start + 2)?, two(line, start + 4)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }

    let seconds = (hour * 60 + minute) * 60 + second;
    let mut clock = Clock { seconds, nanos: 0, step: SECOND as u64, offset: None, end: start + 6 };
    if length == 9 {
        take_fraction(line, start + 6, 3, &mut clock);
    } else {
        read_fraction(line, &mut clock);
    }
    read_zone(line, &mut clock);
    ends_here(line, clock.end).then_some(clock)
}

/// A minute or a second, where 60 is a leap second.
fn sixty(line: &[u8], start: usize, width: Digits) -> Option<(u32, usize)> {
    let (value, end) = match width {
        Digits::Two => (two(line, start)?, start + 2),
        Digits::OneOrTwo => one_or_two(line, start)?,
    };
    (value <= 60).then_some((value, end))
}

/// Reads `.123456`, `,123` or `:123` behind the seconds.
fn read_fraction(line: &[u8], clock: &mut Clock) {
    let start = clock.end + 1;
    let count = digits(line, start);
    match (at(line, clock.end), count) {
        (b'.', 1..) => take_fraction(line, start, count, clock),
        // A comma may also begin the next field, whose number has no such length.
        (b',', 3 | 6 | 9) => take_fraction(line, start, count, clock),
        // WebSphere and HealthApp: milliseconds as a number, not as a fraction.
        (b':', 1..=3) => {
            clock.nanos = number(line, start, count) as u32 * 1_000_000;
            clock.step = 1_000_000;
            clock.end = start + count;
        }
        _ => {}
    }
}

/// Takes `count` digits as the fraction; what is finer than a nanosecond is left out.
fn take_fraction(line: &[u8], start: usize, count: usize, clock: &mut Clock) {
    let kept = count.min(9);
    let step = 10_u32.pow(9 - kept as u32);
    clock.nanos = number(line, start, kept) as u32 * step;
    clock.step = u64::from(step);
    clock.end = start + count;
}

/// Reads `AM` or `PM`, and `None` when the hour doesn't go with it.
fn read_half(line: &[u8], hour: u32, clock: &mut Clock) -> Option<()> {
    // Newer Java puts a narrow no-break space before it.
    let start = match at(line, clock.end) {
        b' ' => clock.end + 1,
        0xe2 if line.get(clock.end..clock.end + 3) == Some(&[0xe2, 0x80, 0xaf]) => clock.end + 3,
        _ => clock.end,
    };
    let afternoon = match at(line, start) | 0x20 {
        b'a' => false,
        b'p' => true,
        _ => return Some(()),
    };
    if at(line, start + 1) | 0x20 != b'm' || !ends_here(line, start + 2) {
        return Some(());
    }

    if !(1..=12).contains(&hour) {
        return None;
    }
    let hours_to_add = u32::from(afternoon) * 12;
    clock.seconds = clock.seconds - hour * 3600 + (hour % 12 + hours_to_add) * 3600;
    clock.end = start + 2;
    Some(())
}

/// Reads the zone that follows at once or behind a space, when there is one.
fn read_zone(line: &[u8], clock: &mut Clock) {
    if let Some((offset, end)) = zone_behind(line, clock.end) {
        clock.offset = Some(offset);
        clock.end = end;
    }
}

/// The zone that stands at a position or behind a space, in seconds east of Greenwich, and the position
/// behind it.
pub(super) fn zone_behind(line: &[u8], position: usize) -> Option<(i32, usize)> {
    let behind_space = at(line, position) == b' ';
    let start = position + usize::from(behind_space);
    match at(line, start) {
        b'+' | b'-' => numeric_offset(line, start, behind_space),
        byte if byte.is_ascii_alphabetic() => named_offset(line, start),
        _ => None,
    }
}

/// `+01:00`, `+0100`, `+01`, and DB2's minutes, `+060`. Behind a space it could be any number, so that it
/// needs its minutes.
fn numeric_offset(line: &[u8], start: usize, behind_space: bool) -> Option<(i32, usize)> {
    let first = start + 1;
    let (minutes, end) = match digits(line, first) {
        2 if at(line, first + 2) == b':' => (two(line, first)? * 60 + two(line, first + 3)?, first + 5),
        2 if !behind_space => (two(line, first)? * 60, first + 2),
        3 if !behind_space => (number(line, first, 3) as u32, first + 3),
        4 => (two(line, first)? * 60 + two(line, first + 2)?, first + 4),
        _ => return None,
    };

    let is_zone = minutes <= 14 * 60 && minutes % 15 == 0 && ends_here(line, end);
    let seconds = minutes as i32 * 60;
    is_zone.then(|| (if at(line, start) == b'-' { -seconds } else { seconds }, end))
}

/// Zones by their letters, as far as all the world means the same by them (`CST` and `IST` are two or three).
fn named_offset(line: &[u8], start: usize) -> Option<(i32, usize)> {
    let length = letters(line, start);
    let end = start + length;
    let minutes = match line.get(start..end)? {
        b"Z" | b"z" | b"UTC" | b"GMT" | b"UT" | b"WET" => 0,
        b"CET" | b"WEST" => 60,
        b"CEST" | b"EET" | b"SAST" => 120,
        b"EEST" | b"MSK" => 180,
        b"JST" | b"KST" => 540,
        b"AEST" => 600,
        b"AEDT" => 660,
        b"NZST" => 720,
        b"EDT" => -240,
        b"EST" => -300,
        b"MST" => -420,
        b"MDT" => -360,
        b"PDT" => -420,
        b"PST" => -480,
        _ => return None,
    };

    // `GMT+1` and the like say more than the letters.
    if matches!(at(line, end), b'+' | b'-') && at(line, end + 1).is_ascii_digit() {
        return numeric_offset(line, end, false);
    }
    ends_here(line, end).then_some((minutes * 60, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(u32, u32, u64, Option<i32>, &str)> {
        let clock = clock(text.as_bytes(), 0, Digits::Two)?;
        Some((clock.seconds, clock.nanos, clock.step, clock.offset, &text[clock.end..]))
    }

    const NOON: u32 = 12 * 3600;

    #[test]
    fn fractions_have_the_precision_that_is_written() {
        assert_eq!(read("12:00:00 x"), Some((NOON, 0, 1_000_000_000, None, " x")));
        assert_eq!(read("12:00 x"), Some((NOON, 0, 60_000_000_000, None, " x")));
        assert_eq!(read("12:00:00.5 x"), Some((NOON, 500_000_000, 100_000_000, None, " x")));
        assert_eq!(read("12:00:00,047 x"), Some((NOON, 47_000_000, 1_000_000, None, " x")));
        assert_eq!(read("12:00:00.123456789"), Some((NOON, 123_456_789, 1, None, "")));
        assert_eq!(read("12:00:00.1234567891234"), Some((NOON, 123_456_789, 1, None, "")));
        assert_eq!(read("12:00:00:7|"), Some((NOON, 7_000_000, 1_000_000, None, "|")));
        assert_eq!(read("12:00:00, Info"), Some((NOON, 0, 1_000_000_000, None, ", Info")));
        assert_eq!(read("12:00:00,25,x"), Some((NOON, 0, 1_000_000_000, None, ",25,x")));
    }

    #[test]
    fn zones_are_read_in_every_spelling() {
        for (text, offset, rest) in [
            ("12:00:00Z", Some(0), ""),
            ("12:00:00 UTC: x", Some(0), ": x"),
            ("12:00:00+01:00 x", Some(3600), " x"),
            ("12:00:00+0530", Some(19800), ""),
            ("12:00:00 -0700]", Some(-25200), "]"),
            ("12:00:00-07 x", Some(-25200), " x"),
            ("12:00:00+060 x", Some(3600), " x"),
            ("12:00:00 GMT+02:00 x", Some(7200), " x"),
            ("12:00:00 CEST x", Some(7200), " x"),
            ("12:00:00 CST x", None, " CST x"),
            ("12:00:00 -1 x", None, " -1 x"),
            ("12:00:00 -1234 x", None, " -1234 x"),
            ("12:00:00 Utility", None, " Utility"),
        ] {
            let read = read(text).map(|(_, _, _, offset, rest)| (offset, rest));
            assert_eq!(read, Some((offset, rest)), "{text}");
        }
    }

    #[test]
    fn twelve_hours_become_twenty_four() {
        for (text, hour) in [("12:00:00 AM", 0), ("1:00:00 am", 1), ("12:00:00 PM", 12), ("11:00:00PM", 23)] {
            assert_eq!(read(text).map(|read| read.0), Some(hour * 3600), "{text}");
        }
        assert_eq!(read("1:00:00\u{202f}PM x").map(|read| (read.0, read.4)), Some((13 * 3600, " x")));
        assert_eq!(read("13:00:00 PM"), None);
    }

    #[test]
    fn what_is_no_time_of_day_is_none() {
        for text in [
            "24:00:00",
            "12:61:00",
            "12:00:61",
            "12:0:00",
            "1.2.3",
            "12.30 x",
            "12:00:00x",
            "12:00:00.log",
            "12",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
