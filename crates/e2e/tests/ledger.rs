//! The ledger: what became of each source's events, in SQL and in words.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{fs, io::Write};

use anyhow::{Context, Result};
use lapwing_e2e::{Rig, RigOptions, Writer, http, ledger, rig::PATIENCE, wait};
use serde_json::Value;

fn why(rig: &Rig, more: &[&str]) -> Result<(Option<i32>, String)> {
    let output = rig.lapwing(&[&["why", "--agent", "agent-001"], more].concat())?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn the_books_close_and_outlive_a_crash_and_are_told_in_words() -> Result<()> {
    let mut rig =
        Rig::new(&RigOptions { metrics_secs: 1, logs: "max_line_bytes = 100000", ..RigOptions::default() })?;
    let path = rig.logs().join("app.log");
    let mut writer = Writer::new(&path, 1)?;
    rig.start_agent()?;
    writer.write(5_000)?;
    fs::OpenOptions::new().append(true).open(&path)?.write_all(&[&[b'x'; 200_000][..], b"\n"].concat())?;
    writer.write(5_000)?;
    rig.wait_for_rows(10_000)?;
    rig.collector.kill()?;
    writer.write(1_000)?;
    rig.start_collector()?;
    rig.wait_for_rows(11_000)?;
    // Both are in the books once a reading of metrics has come.
    let books = wait::until("the agent has word of all lines", PATIENCE, || {
        let books = ledger::close(&rig.http)?;
        writer.write(1)?;
        let log = books.iter().find(|books| books.source.ends_with("app.log")).context("no log")?.clone();
        let metrics = books.iter().any(|books| books.source == "metrics" && books.journaled > 0);
        Ok((metrics && log.acknowledged >= 11_001).then_some(log))
    })?;
    assert_eq!((books.truncated, books.dropped), (1, 0));
    assert!(books.read >= 11_001, "{books:?}");
    let (code, words) = why(&rig, &[])?;
    assert_eq!(code, Some(0), "{words}");
    for part in [
        "every event is accounted for",
        "1 of them cut at the limit",
        "through the agent's spool",
        "nothing is missing",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let (code, words) = why(&rig, &["--source", "/no/such.log"])?;
    assert!(code == Some(1) && words.contains("nothing ever came"), "{words}");
    Ok(())
}

/// They can't be read again: what was in memory is lost, and told.
#[test]
fn points_that_a_crash_takes_are_counted() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { metrics_secs: 2, ..RigOptions::default() })?;
    rig.start_agent()?;
    let read = |rig: &Rig| http::figure(&rig.admin, "lapwing_agent_read_total{signal=\"metrics\"}");
    let metrics = |rig: &Rig| -> Result<Value> {
        let rows =
            http::rows(&rig.http, "SELECT * FROM ledger WHERE kind = 'source' AND source = 'metrics'")?;
        Ok(rows.into_iter().next().unwrap_or_default())
    };
    wait::until("points come in", PATIENCE, || Ok(metrics(&rig)?["journaled"].as_u64().filter(|n| *n > 0)))?;
    rig.collector.kill()?;
    let before = read(&rig)?;
    // A reading goes to the disk when the next one comes and it is not acknowledged by then.
    let in_memory = wait::until("points are read", PATIENCE, || {
        let read = read(&rig)?;
        Ok((read > before).then_some(read - before))
    })?;
    rig.agent.kill()?;
    rig.start_collector()?;
    rig.start_agent()?;
    let dropped = wait::until("the ledger tells what was lost", PATIENCE, || {
        Ok(metrics(&rig)?["dropped_by"].as_str().map(str::to_owned).filter(|causes| causes.len() > 2))
    })?;
    assert_eq!(serde_json::from_str::<Value>(&dropped)?, serde_json::json!({ "agent_crashed": in_memory }));
    ledger::close(&rig.http)?;
    let (code, words) = why(&rig, &["--source", "metrics"])?;
    assert!(code == Some(0) && words.contains("the agent ended before"), "{words}");
    Ok(())
}
