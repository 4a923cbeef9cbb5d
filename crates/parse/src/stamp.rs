//! A date and a time of day as a line writes them, and the instant that they mean.

pub(crate) mod clock;
mod named;
mod numeric;

pub(crate) use numeric::epoch;

use crate::{
    Doubt, Settings, Time, Zone,
    bytes::{at, skip_blanks},
    civil::{self, DAY, SECOND},
};
use clock::Clock;

/// How far in the future a time without a year may lie before it is taken to be last year's: zones and clocks
/// differ.
const AHEAD: i64 = DAY;

/// How many years back a date without a year is looked for: 29 February may be eight years old.
const YEARS_BACK: i64 = 8;

/// What stands at a position of a line, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) what: What,
    pub(crate) end: usize,
    /// The severity that is part of it, as its letter in the line: `I0304 05:06:07`.
    pub(crate) letter: Option<u8>,
}

/// What a stamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An instant, as seconds since 1970 or in a form of its own.
    Instant { unix_nano: i64, step: u64 },
    /// A date and a time of day.
    Date { year: Option<i64>, month: u32, day: u32, clock: Clock },
    /// It looks like a time, and can't be one for sure.
    Doubtful(Doubt),
}

/// Where a position is in its line: what is a time at the beginning is any number further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Nothing stands before it but brackets and blanks.
    pub(crate) first: bool,
    /// The byte before it.
    pub(crate) before: u8,
}

/// The stamp that begins at a position, if there is one.
pub(crate) fn read(line: &[u8], start: usize, place: Place, settings: &Settings) -> Option<Stamp> {
    match at(line, start) {
        b'0'..=b'9' => numeric::read(line, start, place, settings),
        b'@' if place.first => tai64(line, start),
        byte if byte.is_ascii_alphabetic() => named::read(line, start, place),
        _ => None,
    }
}

/// A stamp of a date and a clock. `None` when the date can't exist in any year.
fn dated(year: Option<i64>, month: u32, day: u32, clock: Clock) -> Option<Stamp> {
    let exists = match year {
        Some(year) => civil::days(year, month, day).is_some(),
        None => civil::may_exist(month, day),
    };
    exists.then_some(Stamp { what: What::Date { year, month, day, clock }, end: clock.end, letter: None })
}

fn doubtful(doubt: Doubt, end: usize) -> Stamp {
    Stamp { what: What::Doubtful(doubt), end, letter: None }
}

/// `@4000000065e5532f0c2b1a74`, as daemontools, runit and s6 write it: seconds since 1970 in atomic time, and
/// nanoseconds.
fn tai64(line: &[u8], start: usize) -> Option<Stamp> {
    let hex = line.get(start + 1..start + 25)?;
    let mut value = 0_u128;
    for byte in hex {
        value = value << 4 | u128::from((*byte as char).to_digit(16)?);
    }

    // These programs add ten seconds, and none of the leap seconds since 1972.
    let seconds = i64::try_from((value >> 32).checked_sub((1 << 62) + 10)?).ok()?;
    let nanos = i64::try_from(value & 0xffff_ffff).ok().filter(|nanos| *nanos < SECOND)?;
    let what = What::Instant { unix_nano: seconds.checked_mul(SECOND)?.checked_add(nanos)?, step: 1 };
    Some(Stamp { what, end: start + 25, letter: None })
}

impl What {
    /// The instant, with what had to be assumed for it.
    pub(crate) fn time(&self, observed: i64, settings: &Settings) -> Option<Time> {
        match *self {
            Self::Instant { unix_nano, step } => {
                Some(Time { unix_nano, step, zone_assumed: false, year_assumed: false })
            }
            Self::Date { year, month, day, clock } => {
                let zone = clock.offset.map_or(settings.zone, Zone::fixed);
                let instant = |year| {
                    let local = civil::days(year, month, day)? * DAY + i64::from(clock.seconds);
                    Some(zone.to_utc(local, observed) * SECOND + i64::from(clock.nanos))
                };
                let unix_nano = match year {
                    Some(year) => instant(year)?,
                    None => assume_year(observed, instant)?,
                };
                let (zone_assumed, year_assumed) = (clock.offset.is_none(), year.is_none());
                Some(Time { unix_nano, step: clock.step, zone_assumed, year_assumed })
            }
            Self::Doubtful(_) => None,
        }
    }

    /// Why there is no instant.
    pub(crate) fn doubt(&self) -> Option<Doubt> {
        match self {
            Self::Doubtful(doubt) => Some(*doubt),
            _ => None,
        }
    }
}

/// The latest year in which the instant is not in the future.
fn assume_year(observed: i64, instant: impl Fn(i64) -> Option<i64>) -> Option<i64> {
    let latest = observed.saturating_add(AHEAD * SECOND);
    // A zone may carry the date over the end of the year.
    let year = civil::year_of(latest / SECOND) + 1;
    (year - YEARS_BACK..=year).rev().filter_map(instant).find(|unix_nano| *unix_nano <= latest)
}

/// Where the time of day begins behind a date: a `T`, a blank, a comma, or what else some program puts there.
fn behind_date(line: &[u8], end: usize) -> Option<usize> {
    match at(line, end) {
        b'T' | b't' | b'_' | b':' | b'-' => Some(end + 1),
        b',' | b' ' | b'\t' | b'|' => Some(skip_blanks(line, end + 1)),
        _ => None,
    }
}
