//! Questions to a collector that must not be hurt by them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lapwing_e2e::{Rig, RigOptions, Writer, http, oracle, rig::PATIENCE, tools, wait};

const SHORT: &str = "[limits]\nquery_seconds = 3\nquery_memory_bytes = 67108864";

fn begin(rig: &Rig, query: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(&rig.http)?;
    let query = http::encode(query);
    write!(stream, "GET /api/v1/sql?q={query} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", rig.http)?;
    Ok(stream)
}

#[test]
fn lines_come_in_and_health_is_answered_while_queries_ask_for_everything() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { collector: SHORT, ..RigOptions::default() })?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    writer.write(1_000)?;
    rig.start_agent()?;
    rig.wait_for_rows(writer.written())?;
    let before = rig.collector.memory()?;

    for query in [
        "SELECT count(*) FROM range(0, 10000000) a CROSS JOIN range(0, 10000000) b WHERE a.value * b.value = -1",
        "SELECT range(0, 1000000000)",
        "SELECT length(rpad(body, 1073741824, 'a')) FROM logs",
        "SELECT length(string_agg(repeat(body, 100000), ',')) FROM logs",
    ] {
        // Two that wait for an answer, and one that is gone at once.
        let waiting = [begin(&rig, query)?, begin(&rig, query)?];
        drop(begin(&rig, query)?);
        writer.write(200)?;
        let begun = Instant::now();
        let healthy = http::get(&rig.http, "/healthz").context("health under a query")?;
        assert!(healthy.contains("ok") && begun.elapsed() < Duration::from_secs(1), "{healthy}");
        for mut stream in waiting {
            let mut answer = String::new();
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read_to_string(&mut answer)?;
            assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("\"error\""), "{query}: {answer}");
        }
        let now = rig.collector.memory()?;
        assert!(now < before + (32 << 20), "{query}: {before} bytes before, {now} now");
    }
    rig.wait_for_rows(writer.written())?;
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    rig.collector.stop(Duration::from_secs(20))?;
    Ok(())
}

#[test]
fn a_large_answer_says_in_a_trailer_whether_it_was_cut_and_a_small_one_in_a_header() -> Result<()> {
    let rig = Rig::new(&RigOptions { collector: "[limits]\nquery_rows = 2000", ..RigOptions::default() })?;
    let read = |query: &str| -> Result<String> {
        let mut answer = Vec::new();
        begin_with_trailers(&rig, query)?.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let small = read("SELECT 1")?;
    let (head, _) = small.split_once("\r\n\r\n").context("no head")?;
    assert!(head.contains("lapwing-truncated: false"), "{head}");
    for (rows, truncated) in [(2_000, false), (2_001, true)] {
        let large = read(&format!("SELECT repeat('x', 1000) FROM generate_series(1, {rows})"))?;
        let (head, body) = large.split_once("\r\n\r\n").context("no head")?;
        assert!(
            !head.contains("lapwing-truncated:") && head.contains("trailer: lapwing-truncated"),
            "{head}"
        );
        let end = &body[body.len().saturating_sub(100)..];
        assert!(end.contains(&format!("lapwing-truncated: {truncated}")), "{end}");
        assert!(body.contains(&format!("\"truncated\":{truncated}")), "{end}");
    }
    Ok(())
}

fn begin_with_trailers(rig: &Rig, query: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(&rig.http)?;
    let query = http::encode(query);
    write!(
        stream,
        "GET /api/v1/sql?q={query} HTTP/1.1\r\nHost: {}\r\nTE: trailers\r\nConnection: close\r\n\r\n",
        rig.http
    )?;
    Ok(stream)
}

#[test]
fn files_that_duckdb_merges_under_the_collector_stop_nothing_and_are_named() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { flush_interval_secs: 1, ..RigOptions::default() })?;
    let python = tools::duckdb_python().context("DuckDB is missing: run `make setup`")?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    let lake = rig.data_dir.join("lake");
    let flushes = |rig: &Rig| http::figure(&rig.http, "lapwing_collector_flushes_total");
    for _ in 0..2 {
        for _ in 0..3 {
            let before = flushes(&rig)?;
            writer.write(1_000)?;
            rig.wait_for_rows(writer.written())?;
            wait::until("it is flushed", PATIENCE, || Ok((flushes(&rig)? > before).then_some(())))?;
        }
        let output = Command::new(&python).arg("tests/duckdb_merge.py").arg(&lake).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let before = flushes(&rig)?;
    writer.write(1_000)?;
    rig.wait_for_rows(writer.written())?;
    wait::until("it is flushed after the merge", PATIENCE, || Ok((flushes(&rig)? > before).then_some(())))?;
    assert!(
        rig.collector.output().contains("another program has changed the lake"),
        "{}",
        rig.collector.output()
    );

    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    rig.collector.stop(PATIENCE)?;
    rig.start_collector()?;
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
    assert!(verdict.is_clean(), "after a restart: {verdict:?}");
    let output = Command::new(&python).arg("tests/duckdb_count.py").arg(&lake).output()?;
    let counted = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(counted.contains(&format!("\"rows\": {}", writer.written())), "{counted}");
    Ok(())
}
