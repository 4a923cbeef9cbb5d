//! A log record as a line.

use std::{borrow::Cow, collections::BTreeMap, io};

use lapwing::v1::{FoundLog, LogRecord, SeverityNumber, log_record::Content};
use serde::Serialize;

use crate::{
    escape,
    output::{Palette, Tone},
    time,
};

/// `time host source body` for people.
pub(crate) fn text(log: &FoundLog, palette: Palette) -> String {
    let record = log.record.clone().unwrap_or_default();
    let body = match &record.content {
        None => Cow::Borrowed(""),
        Some(Content::Body(body)) => escape::text(body),
        Some(Content::RawBody(bytes)) => Cow::Owned(escape::bytes(bytes)),
    };
    let time = palette.paint(Tone::Dim, &time::rfc3339_millis(happened(&record)));
    let host = palette.paint(Tone::Cyan, &or_dash(&log.host));
    let source = palette.paint(Tone::Dim, &or_dash(&record.source));
    format!("{time} {host} {source} {}", palette.paint(tone(record.severity_number), &body))
}

/// Columns stay countable when one is empty.
fn or_dash(text: &str) -> Cow<'_, str> {
    if text.is_empty() { Cow::Borrowed("-") } else { escape::text(text) }
}

/// A record that doesn't say when it happened happened when it was seen.
fn happened(record: &LogRecord) -> u64 {
    if record.time_unix_nano == 0 { record.observed_time_unix_nano } else { record.time_unix_nano }
}

fn tone(severity: u32) -> Tone {
    let at_least = |level: SeverityNumber| i64::from(severity) >= i64::from(i32::from(level));
    match severity {
        _ if at_least(SeverityNumber::Error) => Tone::Red,
        _ if at_least(SeverityNumber::Warn) => Tone::Yellow,
        _ => Tone::Plain,
    }
}

/// A record under the names that the columns of `logs` have.
#[derive(Serialize)]
struct Record<'a> {
    time: String,
    observed_time: Option<String>,
    host: &'a str,
    source: &'a str,
    severity: Option<u32>,
    severity_text: &'a str,
    body: Option<&'a str>,
    /// Hexadecimal, as in the answers to SQL.
    raw_body: Option<String>,
    attributes: BTreeMap<&'a str, &'a str>,
}

/// An object for programs.
pub(crate) fn json(log: &FoundLog) -> io::Result<String> {
    let record = log.record.clone().unwrap_or_default();
    let (body, raw_body) = match &record.content {
        None => (None, None),
        Some(Content::Body(body)) => (Some(body.as_str()), None),
        Some(Content::RawBody(bytes)) => (None, Some(hexadecimal(bytes))),
    };
    let object = Record {
        time: time::rfc3339(happened(&record)),
        observed_time: Some(record.observed_time_unix_nano).filter(|nanos| *nanos > 0).map(time::rfc3339),
        host: &log.host,
        source: &record.source,
        severity: Some(record.severity_number).filter(|number| *number > 0),
        severity_text: &record.severity_text,
        body,
        raw_body,
        attributes: record.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
    };
    Ok(escape::json(serde_json::to_string(&object)?))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(content: Content) -> FoundLog {
        let record = LogRecord {
            time_unix_nano: 1_767_225_600_123_456_789,
            source: "/var/log/x\n.log".to_owned(),
            severity_number: 17,
            content: Some(content),
            attributes: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            ..LogRecord::default()
        };
        FoundLog { host: "web-1".to_owned(), record: Some(record) }
    }

    #[test]
    fn a_line_is_one_line_whatever_is_in_the_record() {
        let body = log(Content::Body("a\r\n\u{1b}[31mb".to_owned()));
        let line = text(&body, Palette::none());
        assert_eq!(line, r"2026-01-01T00:00:00.123Z web-1 /var/log/x\n.log a\r\n\u{1b}[31mb");
        let raw = log(Content::RawBody(b"\xff\n".as_slice().into()));
        assert!(text(&raw, Palette::none()).ends_with(r" \xff\n"));
        assert_eq!(text(&FoundLog::default(), Palette::none()), "1970-01-01T00:00:00.000Z - - ");
    }

    #[test]
    fn an_object_has_the_names_of_the_columns() {
        let object: serde_json::Value =
            serde_json::from_str(&json(&log(Content::RawBody(b"\xff\x01".as_slice().into()))).unwrap())
                .unwrap();
        assert_eq!(object["time"], "2026-01-01T00:00:00.123456789Z");
        assert_eq!(object["raw_body"], "ff01");
        assert_eq!(object["body"], serde_json::Value::Null);
        assert_eq!(object["severity"], 17);
        assert_eq!(object["attributes"]["a"], "1");
    }

    #[test]
    fn errors_and_warnings_stand_out() {
        let tones: Vec<_> = [0, 9, 13, 16, 17, 24].into_iter().map(tone).collect();
        assert_eq!(tones, [Tone::Plain, Tone::Plain, Tone::Yellow, Tone::Yellow, Tone::Red, Tone::Red]);
    }
}
