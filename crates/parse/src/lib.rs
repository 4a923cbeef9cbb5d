//! When a log line happened and how bad it is: times, levels and fields, recognised without configuration.
//!
//! What [`recognise`] returns depends on the line, on when it was read and on the [`Settings`], and on
//! nothing else. So a journal that is replayed after a crash gives the same rows again, in whatever batches
//! and order its lines come. No format has to be learned for that: the first bytes of a line decide which few
//! styles it can have, and only those are read.
//!
//! # What is recognised
//!
//! | style | for example |
//! |---|---|
//! | ISO 8601, RFC 3339, and what looks like it | `2026-03-04T05:06:07.123Z`, `2026-03-04 05:06:07,123`, `[2026/03/04 05:06:07.123456]` |
//! | ISO 8601 without separators | `20260304T050607Z`, `20260304-5:6:7:123` (HealthApp), `20260304050607` |
//! | syslog, RFC 3164 and 5424, with and without priority | `<34>Mar  4 05:06:07 host su[1]:`, `<165>1 2026-03-04T05:06:07Z host app` |
//! | C, `date`, mail, Apache's error log | `[Wed Mar 04 05:06:07.123 2026] [core:error]`, `Wed, 04 Mar 2026 05:06:07 GMT` |
//! | common log format | `10.0.0.1 - - [04/Mar/2026:05:06:07 +0100] "GET / HTTP/1.1" 200 5` |
//! | Java | `Mar 04, 2026 5:06:07 PM`, `04-Mar-2026 05:06:07.123`, `####<Mar 4, 2026 5:06:07,123 PM UTC>` |
//! | Log4j, Hadoop, Spark, HDFS | `26/03/04 05:06:07 INFO`, `260304 050607 35 INFO` |
//! | glog, klog | `I0304 05:06:07.123456` |
//! | logcat | `03-04 05:06:07.123  1702  2395 D Tag:` |
//! | Snort, Proxifier, daemontools | `03/04-05:06:07.123`, `[03.04 05:06:07]`, `@4000000069a7bdc90c2b1a74` |
//! | supercomputers: BGL, Thunderbird, HPC | `- 1772600767 2026.03.04 R02-M1 2026-03-04-05.06.07.123456` |
//! | seconds to nanoseconds since 1970 | `1772600767: `, `1772600767.123`, `1772600767123`, `msg=audit(1772600767.123:42)` |
//! | JSON and logfmt | `{"ts":1772600767.5,"level":"warn","msg":"slow"}`, `time=... level=warn msg=slow` |
//!
//! Levels are recognised as words (`INFO`, `[error]`, `[core:error]`, `Warning:`, `<notice>`, `|WARN|`),
//! letters (glog, logcat, Ruby, etcd, MongoDB, Redis), and numbers (syslog, Bunyan, pino, Monolog, Cisco),
//! and follow OpenTelemetry's severity numbers.
//!
//! # What is not guessed
//!
//! A date that may be read as two ([`Doubt::DayOrMonth`]) and a time of day without a date
//! ([`Doubt::NoDate`]) are no times: the line says so and keeps the time it was read at. A missing year is
//! the latest one that doesn't put the line into the future, a missing zone is that of the settings, and the
//! [`Time`] says what was assumed.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod bytes;
mod civil;
mod fields;
mod json;
mod level;
mod logfmt;
mod plain;
mod search;
mod stamp;
mod timeline;
mod zone;

use std::borrow::Cow;

pub use fields::{ATTRIBUTES_MAX, KEY_MAX};
pub use timeline::Timeline;
pub use zone::{NoZone, Zone};

/// What must be known about a source, because its lines don't say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The zone of times that are written without one.
    pub zone: Zone,
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

/// What a line says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'l> {
    /// When it happened.
    pub time: Option<Time>,
    /// Why there is no time although something in the line looks like one.
    pub doubt: Option<Doubt>,
    /// How bad it is.
    pub severity: Option<Severity<'l>>,
    /// The message: the field of that name, or the text behind time and level. The whole line when it has
    /// neither.
    pub message: Cow<'l, [u8]>,
    /// The message is a field of a line of JSON or logfmt, and not a part of its text.
    pub is_message_field: bool,
    /// The other fields of a line of JSON or logfmt, in its order. Objects within are `outer.inner`, arrays
    /// are JSON.
    pub attributes: Vec<(Cow<'l, str>, Cow<'l, str>)>,
    /// How many fields are not among the attributes, because there are more than [`ATTRIBUTES_MAX`] or their
    /// names are longer than [`KEY_MAX`]. The line then says more than what was found in it.
    pub attributes_left_out: usize,
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

/// How bad a line says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Severity<'l> {
    /// OpenTelemetry's severity number, 1 to 24.
    pub number: u8,
    /// The word, letter or number that says so, as it is written.
    pub text: Cow<'l, str>,
}

/// What a line says about when it happened and how bad it is, given when it was read.
///
/// The result is a function of the arguments alone. Any bytes are accepted, and the time taken is linear in
/// their number.
///
/// ```
/// use lapwing_parse::{Settings, recognise};
///
/// let line = b"2026-03-04 05:06:07,123 [main] WARN  com.example.Pool - no connection for 30 s";
/// let found = recognise(line, 1_772_600_800_000_000_000, &Settings::default());
///
/// assert_eq!(found.time.unwrap().unix_nano, 1_772_600_767_123_000_000);
/// assert_eq!(found.severity.unwrap().number, 13);
/// ```
pub fn recognise<'l>(line: &'l [u8], observed_unix_nano: u64, settings: &Settings) -> Found<'l> {
    let observed = i64::try_from(observed_unix_nano).unwrap_or(i64::MAX);
    json::line(line, observed, settings)
        .or_else(|| logfmt::line(line, observed, settings))
        .unwrap_or_else(|| plain::line(line, observed, settings))
}
