//! No line makes the parser panic, costs more than its length, or changes what it says of another.
#![allow(clippy::unwrap_used, reason = "tests")]

use lapwing_parse::{ATTRIBUTES_MAX, DayOrder, Found, KEY_MAX, Settings, Zone, recognise};
use proptest::{collection::vec, prelude::*, sample::select};

/// One line of each style, to be cut, joined and changed.
const LINES: [&str; 26] = [
    "2026-03-04T05:06:07.123Z INFO x",
    "2026-03-04-05.06.07.123456+060 x",
    "20260304-5:6:7:606|x",
    "20260304050607123 x",
    "[Wed Mar 04 05:06:07.123 2026] [core:error] x",
    "Wed, 04 Mar 2026 05:06:07 +0100 x",
    "<165>1 2026-03-04T05:06:07Z host app - - x",
    "Mar  4 05:06:07 CET 2026 x",
    "Mar 04, 2026 5:06:07\u{202f}PM x",
    "1.1.1.1 - - [04/Mar/2026:05:06:07 +0100] \"GET\"",
    "26/03/04 05:06:07 INFO a: b",
    "260304 050607 35 INFO x",
    "I0304 05:06:07.123456 1 a.go:1] x",
    "03-04 05:06:07.123  1702  2395 D Tag: x",
    "[03.04 05:06:07] x",
    "@4000000069a7bdc90c2b1a74 x",
    "- 1772600767 2026.03.04 R0 2026-03-04-05.06.07.123456 R0 RAS KERNEL INFO x",
    "134681 node-246 unix.hw state 1772600767 1 x",
    "1772600767123456789 x",
    "type=A msg=audit(1772600767.123:42): x",
    "1:M 04 Mar 2026 05:06:07.123 * x",
    "*Mar  4 05:06:07.123: %SYS-5-CONFIG_I: x",
    "2026-03-04T05:06:07Z stdout F {\"level\":\"info\"}",
    "\x1b[2m2026-03-04T05:06:07Z\x1b[0m \x1b[32mINFO\x1b[0m app.ERROR: x",
    r#"{"time":"2026-03-04T05:06:07Z","level":30,"msg":"a\u00e9\n","o":{"a":[1,{}]}}"#,
    r#"time=2026-03-04T05:06:07Z level=info msg="a \"b\"" c=d"#,
];

fn settings() -> impl Strategy<Value = Settings> {
    const RULES: [&str; 3] =
        ["CET-1CEST,M3.5.0,M10.5.0/3", "AEST-10AEDT,M10.1.0,M4.1.0/3", "ABC24DEF-24,0/167,365/-167"];

    let order = select(vec![None, Some(DayOrder::DayFirst), Some(DayOrder::MonthFirst)]);
    let zones = prop_oneof![
        any::<i32>().prop_map(Zone::fixed),
        select(&RULES[..]).prop_map(|rule| rule.parse().unwrap()),
    ];
    (zones, order).prop_map(|(zone, day_order)| Settings { zone, day_order })
}

/// Bytes as they come, bytes that occur in heads, and parts of real lines one behind the other.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let heads = b"0123456789 :./,-TZ[]()<>{}\"=|\\AMPMJanFebINFO@+\t\x1b\xe2\x80\xaf".to_vec();
    let part = (select(&LINES[..]), 0_usize..40, 1_usize..40)
        .prop_map(|(line, from, length)| line.bytes().skip(from).take(length).collect::<Vec<_>>());
    prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(select(heads), 0..200),
        vec(part, 0..6).prop_map(|parts| parts.concat()),
    ]
}

/// What must hold of anything that is found.
fn check(line: &[u8], found: &Found<'_>) {
    assert!(found.attributes.len() <= ATTRIBUTES_MAX);
    assert!(found.attributes.iter().all(|(key, _)| key.len() <= KEY_MAX));
    // An invalid byte becomes a character of three.
    assert!(found.message.len() <= line.len() * 3);
    assert!(found.severity.iter().all(|severity| (1..=24).contains(&severity.number)));
    assert!(found.time.iter().all(|time| time.step >= 1 && found.doubt.is_none()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_bytes_are_accepted(line in bytes(), observed in any::<u64>(), settings in settings()) {
        check(&line, &recognise(&line, observed, &settings));
    }

    #[test]
    fn a_line_says_the_same_whatever_was_read_before_it(lines in vec(bytes(), 1..6), observed in any::<u64>()) {
        let settings = Settings::default();
        let forwards = lines.iter().map(|line| recognise(line, observed, &settings)).collect::<Vec<_>>();
        let mut backwards = lines.iter().rev().map(|line| recognise(line, observed, &settings)).collect::<Vec<_>>();
        backwards.reverse();
        prop_assert_eq!(forwards, backwards);
    }

    #[test]
    fn when_a_line_is_read_matters_only_where_its_year_is_missing(line in bytes(), a in any::<u64>(), b in any::<u64>()) {
        let (a, b) = (recognise(&line, a, &Settings::default()), recognise(&line, b, &Settings::default()));
        if let (Some(a), Some(b)) = (a.time, b.time) {
            prop_assert!(a.year_assumed || b.year_assumed || a == b);
        }
    }
}

#[test]
fn every_beginning_and_every_changed_byte_of_every_style_is_accepted() {
    let settings = Settings::default();
    for line in LINES {
        for end in 0..line.len() {
            check(line.as_bytes(), &recognise(&line.as_bytes()[..end], u64::MAX, &settings));
            for byte in 0..=255 {
                let mut changed = line.as_bytes().to_vec();
                changed[end] = byte;
                check(&changed, &recognise(&changed, 0, &settings));
            }
        }
    }
}

#[test]
fn megabytes_of_anything_are_accepted() {
    let settings = Settings::default();
    let parts = [
        "0",
        "9",
        " ",
        "[",
        "{",
        "\"",
        "\\",
        "{\"a\":",
        "[{",
        "a=",
        "a=b ",
        "<",
        "\x1b[",
        "\x1b[0m",
        ":",
        "2026-03-04 ",
        "INFO",
        "Mar ",
        "1.",
        "1772600767 ",
        "{\"a\":\"",
        "\\u",
        "\u{e9}",
        "\0",
    ];
    for begin in
        ["", "{\"a\":", "{\"a\":\"", "level=info msg=\"", "2026-03-04 05:06:07", "2026-03-04 05:06:07."]
    {
        for part in parts {
            for end in ["", "}", "\"}"] {
                let line = format!("{begin}{}{end}", part.repeat(1_000_000 / part.len()));
                check(line.as_bytes(), &recognise(line.as_bytes(), 1_795_851_095_000_000_000, &settings));
            }
        }
    }
}
