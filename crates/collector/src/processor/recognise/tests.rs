use std::time::Duration;

use lapwing::{
    columns::{Bodies, Cost},
    limits::Limits,
    v1::Signal,
};

use super::*;
use crate::{budget::Budget, processor::stage::Stages};

/// 2026-03-04 05:06:07, and when it was read: a minute later.
const WRITTEN: u64 = 1_772_600_767_000_000_000;
const READ: u64 = WRITTEN + 60_000_000_000;

fn config() -> ProcessingConfig {
    let settings = Settings::default();
    ProcessingConfig { recognise: true, settings, time_ahead: Duration::from_secs(600) }
}

fn lines(text: &str) -> LogColumns {
    LogColumns::lines("/var/log/a".into(), READ, text.lines().count() as u32, text.to_owned().into())
}

/// What is said of a batch whose host has a zone.
fn about(time_zone: &str) -> About {
    let (agent, resource) = (String::new(), Attributes::default());
    About { agent, resource, time_zone: time_zone.to_owned(), journal_index: 1 }
}

/// The rows with the room that they have on their way in.
fn room(columns: &Columns) -> (usize, Cost) {
    let rows = columns.rows() as u32;
    let encoded = Encoded::read(columns.encode().into(), Signal::Logs, rows, &Limits::journaled()).unwrap();
    let cost = encoded.cost();
    (Stages::new(&config()).room(&encoded, None), cost)
}

fn recognised(logs: LogColumns) -> LogColumns {
    recognised_by(&config(), "", logs)
}

fn recognised_by(config: &ProcessingConfig, zone: &str, logs: LogColumns) -> LogColumns {
    let mut columns = Columns::Logs(logs);
    let (room, _) = room(&columns);
    Recognise::new(config).run(&mut columns, &about(zone), room).unwrap();
    let Columns::Logs(logs) = columns else { panic!("they are logs") };
    logs
}

fn times(logs: &LogColumns) -> Vec<i64> {
    logs.time.iter().map(|time| *time as i64 - WRITTEN as i64).collect()
}

fn attribute<'l>(logs: &'l LogColumns, key: &str) -> Vec<Option<&'l str>> {
    logs.attributes.iter().map(|own| own.get(key)).collect()
}

#[test]
fn lines_have_the_time_and_severity_that_they_name_and_stay_as_written() {
    let text = "2026-03-04 05:06:07 INFO started\n\tat a.b.C(D.java:1)\n2026-03-04T05:06:08Z WARN slow\n";
    let logs = recognised(lines(text));
    assert_eq!(times(&logs), [0, 1, 1_000_000_000]);
    assert_eq!(logs.severity_number, Column::Plain(vec![9, 0, 13]));
    assert_eq!(logs.severity_text, Column::Plain(vec!["INFO".into(), "".into(), "WARN".into()]));
    assert_eq!(logs.bodies.data(), text.as_bytes());
    assert_eq!(logs.observed_time, Column::constant(3, READ));
    assert_eq!(logs.attributes, Column::constant(3, Attributes::default()));
}

#[test]
fn lines_without_a_time_stand_in_the_order_of_their_file() {
    let mut logs = lines("one\ntwo\nthree\nfour\n");
    logs.observed_time = Column::Plain(vec![READ, READ, READ + 50, READ + 50]);
    let read = (READ - WRITTEN) as i64;
    assert_eq!(times(&recognised(logs)), [read, read + 1, read + 50, read + 51]);
}

#[test]
fn what_the_sender_said_stays() {
    let mut logs = lines("{\"ts\":1772600767,\"level\":\"warn\",\"msg\":\"slow\",\"k\":\"line\",\"n\":1}\n");
    logs.time = Column::constant(1, 5);
    logs.severity_number = Column::constant(1, 17);
    logs.attributes = Column::constant(1, [("k", "sender")].into_iter().collect());
    let logs = recognised(logs);
    assert_eq!(logs.time, Column::constant(1, 5));
    assert_eq!(logs.severity_number, Column::constant(1, 17));
    assert_eq!(logs.severity_text, Column::constant(1, Text::default()));
    let expected = [("k", "sender"), ("message", "slow"), ("n", "1")].into_iter().collect();
    assert_eq!(logs.attributes, Column::constant(1, expected));
}

#[test]
fn fields_of_json_and_logfmt_become_attributes() {
    let text = "{\"ts\":\"2026-03-04T05:06:07Z\",\"level\":\"error\",\"msg\":\"a \\\"b\\\"\",\"http\":{\"status\":500}}\nplain\n\
        time=2026-03-04T05:06:08Z level=info msg=\"all well\" port=80\n";
    let logs = recognised(lines(text));
    assert_eq!(times(&logs), [0, 1, 1_000_000_000]);
    assert_eq!(logs.severity_number, Column::Plain(vec![17, 0, 9]));
    assert_eq!(attribute(&logs, "message"), [Some("a \"b\""), None, Some("all well")]);
    assert_eq!(attribute(&logs, "http.status"), [Some("500"), None, None]);
    assert_eq!(attribute(&logs, "port"), [None, None, Some("80")]);
    assert!(logs.attributes.iter().nth(1).unwrap().is_empty());
}

#[test]
fn a_line_does_not_say_of_itself_what_is_said_about_rows() {
    let logs = recognised(lines(
        "{\"level\":\"info\",\"lapwing.truncated\":\"true\",\"lapwing\":{\"time\":\"x\",\"fields_left_out\":0},\"a\":1}\n",
    ));
    let expected = [("a", "1"), (FIELDS_LEFT_OUT, "3")].into_iter().collect();
    assert_eq!(logs.attributes, Column::constant(1, expected));
}

#[test]
fn a_doubtful_time_is_that_of_reading_and_says_so() {
    let logs = recognised(lines("03/04/2026 05:06:07 a\n03/04/2026 05:06:08 b\n"));
    let read = (READ - WRITTEN) as i64;
    assert_eq!(times(&logs), [read, read + 1]);
    assert_eq!(attribute(&logs, TIME_DOUBT), [Some("ambiguous"), Some("ambiguous")]);
}

#[test]
fn a_doubtful_date_is_read_as_configured() {
    let settings = Settings { day_order: Some(lapwing_parse::DayOrder::MonthFirst), ..Settings::default() };
    let logs =
        recognised_by(&ProcessingConfig { settings, ..config() }, "", lines("03/04/2026 05:06:07 a\n"));
    assert_eq!((times(&logs), attribute(&logs, TIME_DOUBT)), (vec![0], vec![None]));
}

#[test]
fn a_time_without_a_zone_is_read_by_that_of_its_host_or_else_as_configured() {
    const HOUR: i64 = 3_600_000_000_000;
    let settings = Settings { zone: lapwing_parse::Zone::fixed(-3600), ..Settings::default() };
    let config = ProcessingConfig { settings, ..config() };
    let text = "2026-03-04 03:06:07 a\n2026-03-04T05:06:07Z b\n";
    for (zone, expected) in [
        ("CET-1CEST,M3.5.0,M10.5.0/3", -3 * HOUR),
        ("UTC0", -2 * HOUR),
        ("", -HOUR),
        ("no zone", -HOUR),
        ("UTC0,,,,", -HOUR),
    ] {
        assert_eq!(times(&recognised_by(&config, zone, lines(text))), [expected, 0], "{zone}");
    }
}

#[test]
fn a_time_far_ahead_gives_way_to_that_of_reading_and_is_marked() {
    let logs =
        recognised(lines("2026-03-04 05:16:07 near\n2026-03-04 05:27:07 far\n2099-01-01 00:00:00 far\n"));
    let read = (READ - WRITTEN) as i64;
    assert_eq!(times(&logs), [600_000_000_000, read, read]);
    assert_eq!(attribute(&logs, TIME_AHEAD), [None, Some("true"), Some("true")]);
}

#[test]
fn a_part_of_a_line_is_not_taken_for_its_beginning() {
    let mut logs = lines("2026-03-04 05:06:07 INFO long\n2026-03-01 05:06:07 ERROR is in its middle\n");
    let part = |part: &str| [(PART, part)].into_iter().collect();
    logs.attributes = Column::Plain(vec![part("first"), part("last")]);
    let logs = recognised(logs);
    assert_eq!(times(&logs), [0, 1]);
    assert_eq!(logs.severity_number, Column::Plain(vec![9, 0]));
}

#[test]
fn rows_that_were_not_read_at_any_time_keep_none() {
    let mut logs = lines("2026-03-04 05:06:07 INFO a\n");
    logs.observed_time = Column::constant(1, 0);
    let logs = recognised(logs);
    assert_eq!(logs.time, Column::constant(1, 0));
    assert_eq!(logs.severity_number, Column::constant(1, 9));
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let mut logs = lines("x\n");
    logs.bodies = [&b"2026-03-04 05:06:07 INFO \xff\xfe"[..]].into_iter().collect::<Bodies>();
    let logs = recognised(logs);
    assert_eq!(times(&logs), [0]);
    assert_eq!(logs.bodies.data(), &b"2026-03-04 05:06:07 INFO \xff\xfe"[..]);
}

/// Lines of short fields: each has a hundred of them in 700 bytes.
fn many_fields(lines: usize) -> String {
    let fields: Vec<String> = (0..100).map(|n| format!("\"k{n}\":1")).collect();
    format!("{{\"level\":\"info\",{}}}\n", fields.join(",")).repeat(lines)
}

#[test]
fn what_fields_become_is_bounded_and_what_is_left_out_is_counted() {
    let text = many_fields(20_000);
    let columns = Columns::Logs(lines(&text));
    let (room, cost) = room(&columns);
    assert!(cost.bytes + room <= Budget::LARGEST_BATCH, "{cost:?} and {room}");

    let logs = recognised(lines(&text));
    let (mut pairs, mut bytes, mut counted) = (0, 0, 0);
    for own in logs.attributes.iter() {
        pairs += own.iter().filter(|(key, _)| *key != FIELDS_LEFT_OUT).count();
        bytes += own.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        counted += own.get(FIELDS_LEFT_OUT).map_or(0, |number| number.parse::<usize>().unwrap());
    }
    assert_eq!(pairs + counted, 20_000 * 100);
    assert!(pairs * 96 <= room && bytes <= text.len() + 20_000 * 24, "{pairs} pairs of {bytes} bytes");
    assert!(counted > 0);
}

#[test]
fn fields_of_usual_lines_all_have_room() {
    let logs = recognised(lines(&many_fields(1_000)));
    assert!(logs.attributes.iter().all(|own| own.len() == 100));
}

#[test]
fn a_batch_that_has_no_room_stays_as_it_came() {
    let before = Columns::Logs(lines("2026-03-04 05:06:07 INFO a\n"));
    let mut columns = before.clone();
    Recognise::new(&config()).run(&mut columns, &about(""), 100).unwrap();
    assert_eq!(columns, before);
}

#[test]
fn columns_of_different_lengths_stay_as_they_came() {
    let mut logs = lines("2026-03-04 05:06:07 INFO a\n");
    logs.source = Column::constant(2, "a".into());
    let before = Columns::Logs(logs);
    let mut columns = before.clone();
    assert!(Recognise::new(&config()).run(&mut columns, &about(""), usize::MAX).is_err());
    assert_eq!(columns, before);
}
