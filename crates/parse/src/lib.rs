//! When a log line happened and how bad it is: times and levels, recognised without configuration.

#![allow(dead_code, unused_imports, reason = "nothing recognises a line yet")]

mod bytes;
mod civil;
mod level;
mod stamp;

/// What must be known about a source, because its lines don't say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The zone of times that are written without one, in seconds east of Greenwich.
    pub zone_offset_seconds: i32,
    /// How to read `03/04/2026`. Without it such a date is no time.
    pub day_order: Option<DayOrder>,
}

/// Which comes first in a date of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayOrder {
    /// `04/03/2026` is 4 March.
    DayFirst,
    /// `03/04/2026` is 4 March.
    MonthFirst,
}

/// An instant that a line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Nanoseconds since the Unix epoch.
    pub unix_nano: i64,
    /// The smallest step that is written, in nanoseconds: 1,000,000 for milliseconds.
    pub step: u64,
    /// No zone is written, or one that isn't known: that of the settings was assumed.
    pub zone_assumed: bool,
    /// No year is written: the latest one was assumed that doesn't put the line into the future.
    pub year_assumed: bool,
}

/// Why something that looks like a time is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// A date like `03/04/2026`, which is in March or in April.
    DayOrMonth,
    /// A time of day without a date.
    NoDate,
}
