//! Lines of JSON and logfmt: their time, level, message and attributes.

use lapwing_parse::{ATTRIBUTES_MAX, Doubt, Found, KEY_MAX, Settings, recognise};

const OBSERVED: u64 = 1_795_851_095_000_000_000;
/// 2026-03-04T05:06:07Z in nanoseconds.
const T: i64 = 1_772_600_767_000_000_000;
const MS: i64 = 1_000_000;

fn found(line: &str) -> Found<'_> {
    recognise(line.as_bytes(), OBSERVED, &Settings::default())
}

/// Time, severity, message and attributes in one string, to be compared at a glance.
fn shown(line: &str) -> (i64, u8, String, String) {
    let found = found(line);
    let attributes = found.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    (
        found.time.map_or(0, |time| time.unix_nano),
        found.severity.map_or(0, |severity| severity.number),
        String::from_utf8_lossy(&found.message).into_owned(),
        attributes.join(" "),
    )
}

fn expected(time: i64, severity: u8, message: &str, attributes: &str) -> (i64, u8, String, String) {
    (time, severity, message.to_owned(), attributes.to_owned())
}

#[test]
fn json_of_common_libraries_is_understood() {
    for (line, expect) in [
        // zap, zerolog, slog
        (
            r#"{"level":"info","ts":1772600767.123,"caller":"a.go:1","msg":"x"}"#,
            expected(T + 123 * MS, 9, "x", "caller=a.go:1"),
        ),
        (r#"{"level":"warn","time":"2026-03-04T05:06:07Z","message":"x"}"#, expected(T, 13, "x", "")),
        (
            r#"{"time":"2026-03-04T05:06:07.123Z","level":"ERROR","msg":"x","n":1}"#,
            expected(T + 123 * MS, 17, "x", "n=1"),
        ),
        // pino, bunyan
        (r#"{"level":30,"time":1772600767123,"pid":1,"msg":"x"}"#, expected(T + 123 * MS, 9, "x", "pid=1")),
        (
            r#"{"v":0,"level":50,"msg":"x","time":"2026-03-04T05:06:07.123Z"}"#,
            expected(T + 123 * MS, 17, "x", "v=0"),
        ),
        // logstash, ECS, Log4j, Serilog
        (
            r#"{"@timestamp":"2026-03-04T05:06:07.123Z","log":{"level":"WARN","logger":"a"},"message":"x"}"#,
            expected(T + 123 * MS, 13, "x", "log.logger=a"),
        ),
        (
            r#"{"instant":{"epochSecond":1772600767,"nanoOfSecond":123456789},"level":"DEBUG","message":"x"}"#,
            expected(T + 123_456_789, 5, "x", ""),
        ),
        (r#"{"@t":"2026-03-04T05:06:07Z","@m":"x","@l":"Fatal"}"#, expected(T, 21, "x", "")),
        // MongoDB, journald, GELF, Monolog, Python, Google, OpenTelemetry
        (
            r#"{"t":{"$date":"2026-03-04T05:06:07.123+00:00"},"s":"I","c":"NETWORK","msg":"x"}"#,
            expected(T + 123 * MS, 9, "x", "c=NETWORK"),
        ),
        (
            r#"{"__REALTIME_TIMESTAMP":"1772600767123456","PRIORITY":"3","MESSAGE":"x"}"#,
            expected(T + 123_456_000, 17, "x", ""),
        ),
        (
            r#"{"version":"1.1","short_message":"x","timestamp":1772600767,"level":5}"#,
            expected(T, 10, "x", "version=1.1"),
        ),
        (r#"{"message":"x","level":400,"level_name":"ERROR"}"#, expected(0, 17, "x", "level=400")),
        (
            r#"{"asctime":"2026-03-04 05:06:07,123","levelno":40,"msg":"x"}"#,
            expected(T + 123 * MS, 17, "x", ""),
        ),
        (r#"{"severity":"NOTICE","textPayload":1,"timestamp":"2026-03-04T05:06:07Z"}"#, {
            let line = r#"{"severity":"NOTICE","textPayload":1,"timestamp":"2026-03-04T05:06:07Z"}"#;
            expected(T, 10, line, "textPayload=1")
        }),
        (r#"{"severityNumber":14,"body":"x"}"#, expected(0, 14, "x", "")),
        // Docker, around a line with a level of its own
        (
            r#"{"log":"WARN no room\n","stream":"stderr","time":"2026-03-04T05:06:07Z"}"#,
            expected(T, 13, "WARN no room", "stream=stderr"),
        ),
    ] {
        assert_eq!(shown(line), expect, "{line}");
    }
}

#[test]
fn json_values_become_attributes() {
    let line = r#" {"msg":"a \"b\"\n\u00e9\ud83d\ude00\ud83d","a":{"b":{"c":1.5e3},"d":true},"e":[1,{"f":"]"}],"g":null,"h":""} "#;
    assert_eq!(
        shown(line),
        expected(0, 0, "a \"b\"\né😀\u{fffd}", r#"a.b.c=1.5e3 a.d=true e=[1,{"f":"]"}] h="#)
    );
}

#[test]
fn a_time_or_level_that_is_none_stays_an_attribute() {
    assert_eq!(
        shown(r#"{"time":"soon","level":"very","msg":"x","ts":12.5}"#),
        expected(0, 0, "x", "time=soon level=very ts=12.5")
    );
}

#[test]
fn a_time_of_two_readings_stays_an_attribute_and_says_so() {
    let found = found(r#"{"time":"03/04/2026 05:06:07","msg":"x"}"#);
    assert_eq!((found.time, found.doubt), (None, Some(Doubt::DayOrMonth)));
    assert_eq!(found.attributes, [("time".into(), "03/04/2026 05:06:07".into())]);
}

#[test]
fn what_is_not_one_whole_object_is_text() {
    for line in [
        "{",
        "{}}",
        r#"{"a":1"#,
        r#"{"a" 1}"#,
        r#"{"a":1,}"#,
        r#"{"a":1}{"b":2}"#,
        r#"{"a":tru}"#,
        r#"{a:1}"#,
        r#"{"a":"b}"#,
        r#"{"a":[1}"#,
        r#"{"a":1 "b":2}"#,
        "{}x}",
        r#"{"a":"\"}"#,
    ] {
        let found = found(line);
        assert!(found.attributes.is_empty(), "{line}: {found:?}");
        assert_eq!(found.message.as_ref(), line.as_bytes());
    }
}

#[test]
fn logfmt_is_understood() {
    for (line, expect) in [
        (
            r#"time="2026-03-04T05:06:07Z" level=warning msg="a \"b\"" path=/c ms=12"#,
            expected(T, 13, r#"a "b""#, "path=/c ms=12"),
        ),
        (
            "ts=2026-03-04T05:06:07.123Z caller=main.go:12 level=info msg=done q=a=b",
            expected(T + 123 * MS, 9, "done", "caller=main.go:12 q=a=b"),
        ),
        ("level=error ts=1772600767.123 err=", {
            expected(T + 123 * MS, 17, "level=error ts=1772600767.123 err=", "err=")
        }),
    ] {
        assert_eq!(shown(line), expect, "{line}");
    }
}

#[test]
fn pairs_that_are_no_record_are_text() {
    for line in ["a=b", "a=b c=d", "level=info and so on", "msg=\"open", "x=1 msg=\"a\"b"] {
        assert!(found(line).attributes.is_empty(), "{line}");
    }
    assert_eq!(found("level=info and so on").severity.map(|severity| severity.number), Some(9));
}

#[test]
fn attributes_are_bounded_in_number_and_name() {
    let many = (0..1000).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",");
    let line = format!("{{{many},\"level\":\"error\"}}");
    let many = found(&line);
    assert_eq!((many.attributes.len(), many.attributes_left_out), (ATTRIBUTES_MAX, 1000 - ATTRIBUTES_MAX));
    assert_eq!(many.severity.map(|severity| severity.number), Some(17));

    let long = "k".repeat(KEY_MAX);
    let line = format!("{{\"{long}\":1,\"{long}k\":2,\"a\":{{\"{long}\":3}}}}");
    let found = found(&line);
    assert_eq!((found.attributes.len(), found.attributes_left_out), (1, 2));
}

#[test]
fn objects_too_deep_stay_json() {
    let deep = format!("{}1{}", "{\"a\":".repeat(20), "}".repeat(20));
    let found = found(&deep);
    let (key, value) = &found.attributes[0];
    assert_eq!(key, "a.a.a.a.a.a.a.a.a");
    assert!(value.starts_with("{\"a\":{\"a\":") && value.ends_with("}}"), "{value}");
}
