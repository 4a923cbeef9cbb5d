//! The zone of a host's clock, in the form of POSIX's `TZ`: `UTC0`, `<+0530>-5:30`, `CET-1CEST,M3.5.0,M10.5.0/3`.
//!
//! It is a rule and no table, so that it is short enough to travel with each batch, and says when summer time
//! begins in every year without a data base of zones. What a government has changed since is not in it: times
//! of years ago are read by the rule of today.

use std::str::FromStr;

use crate::{
    bytes::{at, digits, number},
    civil::{self, DAY, SECOND},
};

/// A zone: how far its clocks are east of Greenwich, and when in the year they are changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Seconds east of Greenwich.
    standard: i32,
    summer: Option<Summer>,
}

/// The other time of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summer {
    /// Seconds east of Greenwich.
    offset: i32,
    begins: Change,
    ends: Change,
}

/// When clocks are changed, by the clock as it is before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    day: Day,
    /// Seconds since the day's midnight; some zones have more than a day, or less than nothing.
    seconds: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    /// `J60`: 1 to 365; 29 February is not counted.
    NotLeap(i64),
    /// `59`: 0 to 365.
    OfYear(i64),
    /// `M3.5.0`: month, week (5 is the last one) and weekday (0 is Sunday).
    OfWeek { month: u32, week: i64, weekday: i64 },
}

/// A text is no zone in the form of POSIX's `TZ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoZone;

impl Zone {
    /// A zone that is always so many seconds east of Greenwich.
    pub const fn fixed(seconds_east: i32) -> Self {
        Self { standard: seconds_east, summer: None }
    }

    /// The second since 1970 at which clocks show a second of the local calendar.
    ///
    /// An hour that the clocks show twice is the later one, unless that has not come yet when the line is read.
    /// In one that they leave out, the time before the change is meant.
    pub(crate) fn to_utc(self, local: i64, observed: i64) -> i64 {
        let standard = local - i64::from(self.standard);
        let Some(summer) = self.summer else { return standard };

        let other = local - i64::from(summer.offset);
        let shows = |utc: i64| self.offset_at(&summer, utc) == local - utc;
        match (shows(standard), shows(other)) {
            (false, true) => other,
            (true, true) => {
                let later = standard.max(other);
                if later > observed.div_euclid(SECOND) { standard.min(other) } else { later }
            }
            _ => standard,
        }
    }

    /// Seconds east of Greenwich at a second since 1970.
    fn offset_at(self, summer: &Summer, utc: i64) -> i64 {
        let (standard, other) = (i64::from(self.standard), i64::from(summer.offset));
        let year = civil::year_of(utc + standard);
        let Some((begins, ends)) = summer.begins.local(year).zip(summer.ends.local(year)) else {
            return standard;
        };

        let (begins, ends) = (begins - standard, ends - other);
        // South of the equator it begins in one year and ends in the next.
        let is_other =
            if begins < ends { (begins..ends).contains(&utc) } else { !(ends..begins).contains(&utc) };
        if is_other { other } else { standard }
    }
}

impl Change {
    /// The second since 1970 of a year's change, as if the clock before it were in Greenwich.
    fn local(self, year: i64) -> Option<i64> {
        let day = match self.day {
            Day::NotLeap(day) => {
                let first = civil::days(year, 1, 1)?;
                let is_behind = day >= 60 && civil::days(year, 2, 29).is_some();
                first + day - 1 + i64::from(is_behind)
            }
            Day::OfYear(day) => civil::days(year, 1, 1)? + day,
            Day::OfWeek { month, week, weekday } => {
                let first = civil::days(year, month, 1)?;
                // 1 January 1970 was a Thursday.
                let day = (weekday - (first + 4)).rem_euclid(7) + (week - 1) * 7;
                let exists = civil::days(year, month, u32::try_from(day + 1).ok()?).is_some();
                first + if exists { day } else { day - 7 }
            }
        };
        Some(day * DAY + i64::from(self.seconds))
    }
}

impl FromStr for Zone {
    type Err = NoZone;

    fn from_str(text: &str) -> Result<Self, NoZone> {
        let mut reader = Reader { text: text.as_bytes(), position: 0 };
        reader.zone().filter(|_| reader.position == text.len()).ok_or(NoZone)
    }
}

struct Reader<'t> {
    text: &'t [u8],
    position: usize,
}

impl Reader<'_> {
    fn zone(&mut self) -> Option<Zone> {
        self.name()?;
        // POSIX counts to the west.
        let standard = -self.clock(24)?;
        if self.byte() == 0 {
            return Some(Zone::fixed(standard));
        }

        self.name()?;
        let offset = if self.byte() == b',' { standard + 3600 } else { -self.clock(24)? };
        let (begins, ends) = (self.change()?, self.change()?);
        Some(Zone { standard, summer: Some(Summer { offset, begins, ends }) })
    }

    /// `CET` or `<+0530>`.
    fn name(&mut self) -> Option<()> {
        let start = self.position;
        if self.takes(b'<') {
            while self.byte().is_ascii_alphanumeric() || matches!(self.byte(), b'+' | b'-') {
                self.position += 1;
            }
            return self.takes(b'>').then_some(());
        }
        while self.byte().is_ascii_alphabetic() {
            self.position += 1;
        }
        (self.position - start >= 3).then_some(())
    }

    /// `-5:30`, as seconds.
    fn clock(&mut self, hours_max: i32) -> Option<i32> {
        let is_negative = self.takes(b'-');
        if !is_negative {
            self.takes(b'+');
        }

        let mut seconds = self.number(0, hours_max)? * 3600;
        for unit in [60, 1] {
            if self.takes(b':') {
                seconds += self.number(0, 59)? * unit;
            }
        }
        Some(if is_negative { -seconds } else { seconds })
    }

    /// `,M3.5.0/3`: when clocks are changed.
    fn change(&mut self) -> Option<Change> {
        if !self.takes(b',') {
            return None;
        }
        let day = if self.takes(b'M') {
            let month = self.number(1, 12)?.unsigned_abs();
            let week = self.takes(b'.').then(|| self.number(1, 5))??;
            let weekday = self.takes(b'.').then(|| self.number(0, 6))??;
            Day::OfWeek { month, week: week.into(), weekday: weekday.into() }
        } else if self.takes(b'J') {
            Day::NotLeap(self.number(1, 365)?.into())
        } else {
            Day::OfYear(self.number(0, 365)?.into())
        };
        let seconds = if self.takes(b'/') { self.clock(167)? } else { 2 * 3600 };
        Some(Change { day, seconds })
    }

    fn number(&mut self, least: i32, most: i32) -> Option<i32> {
        let length = digits(self.text, self.position);
        if !(1..=3).contains(&length) {
            return None;
        }
        let value = i32::try_from(number(self.text, self.position, length)).ok()?;
        self.position += length;
        (least..=most).contains(&value).then_some(value)
    }

    fn byte(&self) -> u8 {
        at(self.text, self.position)
    }

    fn takes(&mut self, byte: u8) -> bool {
        let stands = self.byte() == byte;
        self.position += usize::from(stands);
        stands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-29T00:00:00Z, an hour before the clocks of central Europe are changed.
    const SPRING: i64 = 1_774_742_400;
    /// 2026-10-25T00:00:00Z, as before the change back.
    const AUTUMN: i64 = 1_792_886_400;
    const HOUR: i64 = 3600;

    fn utc(zone: &str, local: i64) -> i64 {
        zone.parse::<Zone>().unwrap().to_utc(local, i64::MAX)
    }

    #[test]
    fn zones_without_summer_time_are_always_as_far_from_greenwich() {
        for (zone, east) in [
            ("UTC0", 0),
            ("JST-9", 9 * HOUR),
            ("<+0530>-5:30", 19_800),
            ("<-03>3", -3 * HOUR),
            ("ABC+1:02:03", -3723),
        ] {
            assert_eq!(utc(zone, SPRING), SPRING - east, "{zone}");
        }
    }

    #[test]
    fn clocks_are_changed_by_the_rule_of_the_zone() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        // 01:59 and 03:00 on the clocks.
        assert_eq!(utc(berlin, SPRING + 2 * HOUR - 60), SPRING + HOUR - 60);
        assert_eq!(utc(berlin, SPRING + 3 * HOUR), SPRING + HOUR);
        // What the clocks leave out: 02:30.
        assert_eq!(utc(berlin, SPRING + 2 * HOUR + 1800), SPRING + HOUR + 1800);
        assert_eq!(utc(berlin, AUTUMN + 2 * HOUR - 60), AUTUMN - 60);
        assert_eq!(utc(berlin, AUTUMN + 3 * HOUR), AUTUMN + 2 * HOUR);
        // Ireland's other time is that of the winter.
        assert_eq!(utc("IST-1GMT0,M10.5.0,M3.5.0/1", SPRING), SPRING);
        assert_eq!(utc("IST-1GMT0,M10.5.0,M3.5.0/1", AUTUMN), AUTUMN - HOUR);
        // South of the equator: summer on 29 March, winter on 25 July, summer on 25 October.
        let sydney = "AEST-10AEDT,M10.1.0,M4.1.0/3";
        assert_eq!(utc(sydney, SPRING), SPRING - 11 * HOUR);
        assert_eq!(utc(sydney, AUTUMN - 92 * DAY), AUTUMN - 92 * DAY - 10 * HOUR);
        assert_eq!(utc(sydney, AUTUMN), AUTUMN - 11 * HOUR);
    }

    #[test]
    fn an_hour_that_clocks_show_twice_is_the_later_one_that_has_come() {
        let berlin: Zone = "CET-1CEST,M3.5.0,M10.5.0/3".parse().unwrap();
        let half_past_two = AUTUMN + 2 * HOUR + 1800;
        let read = |at: i64| berlin.to_utc(half_past_two, at * SECOND);
        assert_eq!(read(AUTUMN + 1801), AUTUMN + 1800);
        assert_eq!(read(AUTUMN + HOUR + 1801), AUTUMN + HOUR + 1800);
    }

    #[test]
    fn days_are_counted_with_and_without_the_leap_day() {
        // 1 March 2024 at 02:00.
        let march = 1_709_258_400;
        for begins in ["J60", "60", "M3.1.5"] {
            let zone = format!("ABC0DEF,{begins},J365");
            assert_eq!(utc(&zone, march - 1), march - 1, "{begins}");
            assert_eq!(utc(&zone, march + HOUR), march, "{begins}");
        }
        assert_eq!(utc("ABC0DEF,M3.1.5/-1,J365/25:30", march - 2 * HOUR), march - 3 * HOUR);
    }

    #[test]
    fn other_texts_are_no_zones() {
        for text in [
            "",
            "UTC",
            "0",
            "AB0",
            "Europe/Berlin",
            "+01:00",
            "ABC25",
            "ABC0000001",
            "ABC0DEF",
            "ABC0DEF,M3.5.0",
            "ABC0DEF,M13.5.0,M10.5.0",
            "ABC0DEF,M3.6.0,M10.5.0",
            "ABC0DEF,M3.5.7,M10.5.0",
            "ABC0DEF,M3.5,M10.5.0",
            "ABC0DEF,J0,J1",
            "ABC0DEF,366,1",
            "ABC0DEF,1,2/168",
            "ABC0DEF,1,2,3",
            "<ABC0",
            "ABC0 ",
            "ABC0\0",
            "\u{e9}\u{e9}\u{e9}0",
        ] {
            assert_eq!(text.parse::<Zone>(), Err(NoZone), "{text:?}");
        }
    }
}
