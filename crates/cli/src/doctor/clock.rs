//! The clock: rows are found by their time.

use std::time::{SystemTime, UNIX_EPOCH};

use lapwing_service::client::Address;
use prost_types::Timestamp;

use super::Finding;
use crate::{duration, http, ports::Ports, time};

/// 2024-01-01 and 2100-01-01, seconds since the Unix epoch.
const SANE: std::ops::Range<i64> = 1_704_067_200..4_102_444_800;
/// How far clocks may be apart, in seconds, before tokens and queries by time go wrong.
const APART: u64 = 5;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const ADVICE: &str = "set the time, and keep it with NTP (`timedatectl set-ntp true`)";

/// Compares the clock with good sense, and with the collector's when that answers.
pub(super) async fn check(collector: &Address) -> Finding {
    let Address { host, port, .. } = collector;
    let answer = http::get(&format!("{host}:{}", Ports::from(*port).http), "/healthz").await.ok();
    judge(now(), answer.and_then(|head| unix(&head.date?)))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn judge(now: i64, collector: Option<i64>) -> Finding {
    let shown = time::rfc3339_seconds(now.unsigned_abs());
    if !SANE.contains(&now) {
        return Finding::fault("clock", format!("it is not {shown}"), ADVICE);
    }
    let Some(collector) = collector else {
        return Finding::good("clock", format!("{shown} (no collector answers to compare with)"));
    };
    let apart = now.abs_diff(collector);
    if apart > APART {
        let apart = duration::words(std::time::Duration::from_secs(apart));
        return Finding::warning("clock", format!("{apart} apart from the collector's"), ADVICE);
    }
    Finding::good("clock", format!("{shown}, as the collector's"))
}

/// The seconds of an HTTP date such as `Thu, 01 Jan 2026 00:00:00 GMT` (RFC 9110 section 5.6.7).
fn unix(date: &str) -> Option<i64> {
    let words: Vec<&str> = date.split(' ').collect();
    let [_, day, month, year, clock, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let stamp: Timestamp = format!("{year}-{month:02}-{day}T{clock}Z").parse().ok()?;
    Some(stamp.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn an_http_date_is_read() {
        assert_eq!(unix("Thu, 01 Jan 2026 00:00:00 GMT"), Some(1_767_225_600));
        for other in ["", "yesterday", "Thu, 01 Foo 2026 00:00:00 GMT", "Thu, 01 Jan 2026 00:00:00 CET"] {
            assert_eq!(unix(other), None, "{other}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_is_told() {
        let now = 1_767_225_600;
        assert_eq!(judge(0, None).level, Level::Fault);
        assert_eq!(judge(now, None).level, Level::Good);
        assert_eq!(judge(now, Some(now + 5)).level, Level::Good);
        let warning = judge(now, Some(now - 120));
        assert!(warning.level == Level::Warning && warning.detail.starts_with("2 min apart"), "{warning}");
    }
}
