//! Dates and seconds: what a calendar date is in days since 1970, and back.

/// Nanoseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000_000;
/// Seconds in a day.
pub(crate) const DAY: i64 = 86_400;

/// First and last year that a written date is believed to lie in. All of them fit into nanoseconds since
/// 1970.
const PLAUSIBLE: std::ops::RangeInclusive<i64> = 1980..=2100;

/// Days before each month in a year that is not a leap year.
const BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// How many leap days there are before 1 January of a year.
fn leap_days_before(year: i64) -> i64 {
    let years = year - 1;
    years / 4 - years / 100 + years / 400
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01, or `None` when there is no such date or its year is not plausible.
pub(crate) fn days(year: i64, month: u32, day: u32) -> Option<i64> {
    let exists = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    if !exists || !PLAUSIBLE.contains(&year) {
        return None;
    }

    let leap_days = leap_days_before(year) - leap_days_before(1970) + i64::from(month > 2 && is_leap(year));
    let whole_months = BEFORE_MONTH.get(month as usize - 1)?;
    Some((year - 1970) * 365 + leap_days + whole_months + i64::from(day) - 1)
}

/// The year that a second since 1970 lies in.
pub(crate) fn year_of(unix_seconds: i64) -> i64 {
    let days = unix_seconds.div_euclid(DAY);
    let first_day_of = |year: i64| (year - 1970) * 365 + leap_days_before(year) - leap_days_before(1970);

    // A year has at most 366 days, so the first guess is never too late by more than the leap days make.
    let mut year = 1970 + days.div_euclid(366);
    while first_day_of(year + 1) <= days {
        year += 1;
    }
    year
}

/// Whether a date may exist in some year: 29 February may, 30 February may not.
pub(crate) fn may_exist(month: u32, day: u32) -> bool {
    (1..=12).contains(&month) && day >= 1 && day <= days_in_month(2000, month)
}

/// The whole year of one that is written with two digits: 70 to 99 are the last century's.
pub(crate) fn century(two_digits: u32) -> i64 {
    i64::from(two_digits) + if two_digits >= 70 { 1900 } else { 2000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970_over_leap_years() {
        for (date, expected) in [
            ((1980, 1, 1), 3652),
            ((2000, 2, 29), 11016),
            ((2000, 3, 1), 11017),
            ((2005, 6, 3), 12937),
            ((2100, 12, 31), 47846),
        ] {
            assert_eq!(days(date.0, date.1, date.2), Some(expected), "{date:?}");
        }
    }

    #[test]
    fn dates_that_do_not_exist_or_are_not_plausible_are_none() {
        for date in [(2023, 2, 29), (2100, 2, 29), (2024, 4, 31), (2024, 13, 1), (2024, 0, 1), (2024, 1, 0)] {
            assert_eq!(days(date.0, date.1, date.2), None, "{date:?}");
        }
        assert_eq!(days(1979, 12, 31), None);
        assert_eq!(days(2101, 1, 1), None);
    }

    #[test]
    fn every_day_is_one_after_the_day_before_and_lies_in_its_year() {
        let mut expected = 3652;
        for year in 1980..=2100 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    assert_eq!(days(year, month, day), Some(expected));
                    assert_eq!(year_of(expected * DAY), year);
                    assert_eq!(year_of(expected * DAY + DAY - 1), year);
                    expected += 1;
                }
            }
        }
    }
}
