//! How many times and levels of a log are right, beside its truth.
//!
//! usage: accuracy LOG TRUTH [LOG TRUTH ...]
//!
//! A line of TRUTH is the number of the line in LOG, its time, its level, and what else there may be,
//! separated by tabs. A time is `2026-03-04T05:06:07.123`, `--03-04T05:06:07` without a year, and `-` for
//! none; a level is one of OpenTelemetry's six names, or `-`. A time is right when it is so to the precision
//! that TRUTH has it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints its findings")]

use std::{fs, process::ExitCode, time::SystemTime};

use lapwing_parse::{Settings, Time, recognise};

/// How many wrong lines are shown.
const SHOWN: usize = 3;

fn main() -> ExitCode {
    let paths = std::env::args().skip(1).collect::<Vec<_>>();
    if paths.is_empty() || paths.len() % 2 != 0 {
        eprintln!("usage: accuracy LOG TRUTH [LOG TRUTH ...]");
        return ExitCode::from(2);
    }

    println!("{:<60} {:>7} {:>12} {:>12}", "log", "lines", "times right", "levels right");
    for pair in paths.chunks(2) {
        match (fs::read(&pair[0]), fs::read_to_string(&pair[1])) {
            (Ok(log), Ok(truth)) => judge(&pair[0], &log, &truth),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("{} or {} can't be read: {error}", pair[0], pair[1]);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn judge(name: &str, log: &[u8], truth: &str) {
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos() as u64);
    let settings = Settings::default();
    let (mut lines, mut times, mut levels, mut with_level, mut shown) = (0, 0, 0, 0, 0);

    for (line, truth) in log.split(|byte| *byte == b'\n').zip(truth.lines()) {
        let expected = truth.split('\t').skip(1).take(2).collect::<Vec<_>>();
        let [time, level] = expected[..] else { continue };
        let found = recognise(line, now, &settings);
        let severity = found.severity.as_ref().map_or(0, |severity| severity.number);

        let time_right = is_right(found.time.as_ref(), time);
        let level_right = level == "-" || level == level_name(severity);
        lines += 1;
        times += usize::from(time_right);
        with_level += usize::from(level != "-");
        levels += usize::from(level != "-" && level_right);
        if shown < SHOWN && !(time_right && level_right) {
            shown += 1;
            println!("  expected {time} {level}, found {found:?} in {}", String::from_utf8_lossy(line));
        }
    }

    let share = |part: usize, of: usize| {
        if of == 0 { "-".to_owned() } else { format!("{:.2} %", 100.0 * part as f64 / of as f64) }
    };
    println!("{name:<60} {lines:>7} {:>12} {:>12}", share(times, lines), share(levels, with_level));
}

fn is_right(time: Option<&Time>, expected: &str) -> bool {
    let written = time.map(|time| iso(time.unix_nano)).unwrap_or_else(|| "-".to_owned());
    match expected.strip_prefix("--") {
        Some(without_year) => written.get(5..).is_some_and(|written| written.starts_with(without_year)),
        None => written.starts_with(expected),
    }
}

fn level_name(severity: u8) -> &'static str {
    match severity {
        0 => "-",
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        _ => "fatal",
    }
}

/// An instant in UTC, to the nanosecond. Counted year by year and month by month, so that it shares no
/// mistake with what it judges.
fn iso(unix_nano: i64) -> String {
    let (seconds, nanos) = (unix_nano.div_euclid(1_000_000_000), unix_nano.rem_euclid(1_000_000_000));
    let (mut days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    let mut year = 1970;
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let months = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }

    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}", month + 1, days + 1)
}
