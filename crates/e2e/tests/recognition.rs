//! Log lines know when they happened and how bad they are, and keep it through `kill -9`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;

use anyhow::Result;
use lapwing_e2e::{Rig, RigOptions, http, rig::PATIENCE, wait};
use serde_json::{Value, json};

/// Several styles, a trace, fields, a date that may be read as two, and one that is to come.
const LINES: &str = "\
2026-03-04 05:06:07,123 [main] INFO  com.example.Pool - started
2026-03-04T05:06:08.5Z ERROR it broke
\tat com.example.Pool.get(Pool.java:12)
\tat com.example.Main.main(Main.java:3)
[Wed Mar 04 05:06:09 2026] [warn] slow
10.0.0.1 - - [04/Mar/2026:06:06:10 +0100] \"GET / HTTP/1.1\" 200 5
{\"ts\":1772600771.5,\"level\":\"warn\",\"msg\":\"no \\\"connection\\\"\",\"pool\":{\"size\":3},\"level_of\":\"x\"}
time=2026-03-04T05:06:12Z level=debug msg=\"all well\" port=80
03/04/2026 05:06:13 whose month is it
2099-01-01 00:00:00 FATAL from the future
";

const QUERY: &str = "SELECT CAST(time AS VARCHAR) AS time, CAST(observed_time AS VARCHAR) AS observed, severity, severity_text, body, \
    attribute(attributes, 'message') AS message, attribute(attributes, 'pool.size') AS size, attribute(attributes, 'port') AS port, \
    attribute(attributes, 'lapwing.time') AS doubt, attribute(attributes, 'lapwing.time_ahead') AS ahead FROM logs ORDER BY seq";

/// The rows, when all of them are there.
fn all_rows(rig: &Rig) -> Result<Vec<Value>> {
    let count = LINES.lines().count();
    wait::until("all lines are there", PATIENCE, || {
        Ok(Some(http::rows(&rig.http, QUERY)?).filter(|rows| rows.len() >= count))
    })
}

fn text<'v>(row: &'v Value, key: &str) -> &'v str {
    row[key].as_str().unwrap_or_default()
}

#[test]
fn lines_know_their_time_severity_and_fields_and_keep_them_through_kills() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { flush_interval_secs: 3600, ..RigOptions::default() })?;
    fs::write(rig.logs().join("app.log"), LINES)?;
    rig.start_agent()?;
    let before = all_rows(&rig)?;

    let bodies: Vec<&str> = before.iter().map(|row| text(row, "body")).collect();
    assert_eq!(bodies, LINES.lines().collect::<Vec<_>>(), "as written, in the order of the file");
    let times: Vec<&str> = before.iter().map(|row| text(row, "time")).collect();
    for (time, expected) in times.iter().zip([
        "2026-03-04T05:06:07.123",
        "2026-03-04T05:06:08.5",
        "2026-03-04T05:06:08.500000001",
        "2026-03-04T05:06:08.500000002",
        "2026-03-04T05:06:09",
        "2026-03-04T05:06:10",
        "2026-03-04T05:06:11.5",
        "2026-03-04T05:06:12",
        "2026-03-04T05:06:12.000000001",
    ]) {
        assert!(time.replace(' ', "T").starts_with(expected), "{time} is not {expected}");
    }
    assert_eq!(times[9], text(&before[9], "observed"), "a time that is to come gives way");
    assert!(before.iter().all(|row| row["observed"] == before[0]["observed"]), "they were read together");

    let of = |key: &str| before.iter().map(|row| row[key].clone()).collect::<Vec<_>>();
    assert_eq!(json!(of("severity")), json!([9, 17, null, null, 13, null, 13, 5, null, 21]));
    assert_eq!(
        json!(of("severity_text")),
        json!(["INFO", "ERROR", "", "", "warn", "", "warn", "debug", "", "FATAL"])
    );
    assert_eq!(text(&before[6], "message"), "no \"connection\"");
    assert_eq!((text(&before[6], "size"), text(&before[7], "port")), ("3", "80"));
    assert_eq!(text(&before[7], "message"), "all well");
    assert_eq!((text(&before[8], "doubt"), text(&before[9], "ahead")), ("ambiguous", "true"));
    assert_eq!(before.iter().filter(|row| row["message"].is_null()).count(), 8);

    let by_time = http::rows(&rig.http, "SELECT body FROM logs ORDER BY time, seq")?;
    assert_eq!(by_time.iter().map(|row| text(row, "body")).collect::<Vec<_>>(), bodies);

    // Nothing is in the lake yet: all of it comes back from the journal.
    for _ in 0..2 {
        rig.collector.kill()?;
        rig.start_collector()?;
        assert_eq!(all_rows(&rig)?, before);
    }
    Ok(())
}

#[test]
fn a_collector_that_is_told_not_to_look_into_lines_keeps_the_time_of_reading() -> Result<()> {
    let options = RigOptions { collector: "[processor]\nrecognise = false", ..RigOptions::default() };
    let mut rig = Rig::new(&options)?;
    fs::write(rig.logs().join("app.log"), LINES)?;
    rig.start_agent()?;
    for row in all_rows(&rig)? {
        assert_eq!(row["time"], row["observed"]);
        assert!(row["severity"].is_null() && row["message"].is_null());
    }
    Ok(())
}

#[test]
fn times_without_a_zone_are_those_of_the_clocks_of_the_agents_host() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { flush_interval_secs: 3600, ..RigOptions::default() })?;
    fs::write(
        rig.logs().join("app.log"),
        "2026-03-04 05:06:07 winter\n2026-07-04 05:06:07 summer\n2026-07-04 05:06:07Z said\n",
    )?;
    rig.agent.env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3");
    rig.start_agent()?;

    let rows = |rig: &Rig| {
        wait::until("all lines are there", PATIENCE, || {
            let rows = http::rows(&rig.http, "SELECT CAST(time AS VARCHAR) AS time FROM logs ORDER BY seq")?;
            Ok(Some(rows).filter(|rows| rows.len() >= 3))
        })
    };
    let before = rows(&rig)?;
    let times = before.iter().map(|row| text(row, "time").replace(' ', "T"));
    for (time, expected) in times.zip(["2026-03-04T04:06:07", "2026-07-04T03:06:07", "2026-07-04T05:06:07"]) {
        assert!(time.starts_with(expected), "{time} is not {expected}");
    }

    rig.collector.kill()?;
    rig.start_collector()?;
    assert_eq!(rows(&rig)?, before);
    Ok(())
}
