//! Points in time as text: RFC 3339, UTC.

use prost_types::Timestamp;

const NANOS: u64 = 1_000_000_000;

/// Nanoseconds since the Unix epoch as RFC 3339 in UTC. A fraction has three, six or nine digits, as it needs.
pub(crate) fn rfc3339(unix_nano: u64) -> String {
    let seconds = i64::try_from(unix_nano / NANOS).unwrap_or(i64::MAX);
    let nanos = i32::try_from(unix_nano % NANOS).unwrap_or_default();
    Timestamp { seconds, nanos }.to_string()
}

/// As [`rfc3339`], in milliseconds: always 24 characters.
pub(crate) fn rfc3339_millis(unix_nano: u64) -> String {
    let text = rfc3339(unix_nano / 1_000_000 * 1_000_000);
    match text.strip_suffix('Z') {
        Some(whole) if !whole.contains('.') => format!("{whole}.000Z"),
        _ => text,
    }
}

/// Seconds since the Unix epoch as RFC 3339 in UTC.
pub(crate) fn rfc3339_seconds(unix: u64) -> String {
    Timestamp { seconds: i64::try_from(unix).unwrap_or(i64::MAX), nanos: 0 }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(rfc3339_seconds(1_767_225_600), "2026-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_767_225_600_123_456_789), "2026-01-01T00:00:00.123456789Z");
        assert_eq!(rfc3339_millis(1_767_225_600_123_456_789), "2026-01-01T00:00:00.123Z");
        assert_eq!(rfc3339_millis(1_767_225_600_000_456_789), "2026-01-01T00:00:00.000Z");
    }

    #[test]
    fn no_time_is_too_far_away_to_be_printed() {
        assert!(rfc3339(u64::MAX).starts_with("2554-"), "{}", rfc3339(u64::MAX));
        assert!(!rfc3339_seconds(u64::MAX).is_empty());
    }
}
