//! Every line once: clean, through rotations, and through `kill -9` of either side and of both.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{collections::BTreeMap, process::Command, thread, time::Duration};

use anyhow::Result;
use lapwing_e2e::{Rig, RigOptions, Verdict, Writer, http, ledger, oracle, rig::PATIENCE, wait};

/// Pauses between kills in milliseconds: irregular, so that they fall at different moments of the path.
const PAUSES: [u64; 10] = [211, 97, 403, 153, 320, 61, 277, 509, 131, 353];

#[derive(Clone, Copy)]
enum Victim {
    Agent,
    Collector,
    Both,
}

/// Kills ten times while two files are written, then lets everything settle and judges.
fn kill_ten_times(victim: Victim) -> Result<Verdict> {
    let mut rig = Rig::new(&RigOptions::default())?;
    let writers = [1, 2].map(|id| Writer::new(&rig.logs().join(format!("app-{id}.log")), id));
    let writers: Vec<_> =
        writers.into_iter().map(|w| Ok(w?.run(200, Duration::from_millis(4)))).collect::<Result<_>>()?;
    rig.start_agent()?;
    rig.wait_for_agent()?;
    for pause in PAUSES {
        thread::sleep(Duration::from_millis(pause));
        match victim {
            Victim::Agent => {
                rig.agent.kill()?;
                rig.start_agent()?;
            }
            Victim::Collector => {
                rig.collector.kill()?;
                rig.start_collector()?;
            }
            Victim::Both => {
                rig.agent.kill()?;
                rig.collector.kill()?;
                rig.start_agent()?;
                rig.start_collector()?;
            }
        }
    }
    let mut written = BTreeMap::new();
    for writer in writers {
        let writer = writer.stop()?;
        written.insert(writer.file_id(), writer.written());
    }
    let lines: u64 = written.values().sum();
    rig.wait_for_rows(lines)?;
    let books = ledger::close(&rig.http)?;
    assert_eq!(books.iter().map(|books| books.journaled).sum::<u64>(), lines, "{books:?}");
    oracle::judge(&rig.http, &written)
}

fn assert_clean(verdict: &Verdict) {
    assert!(verdict.is_clean(), "{verdict:?}");
    assert!(verdict.written > 10_000, "too little was written to show anything: {verdict:?}");
}

#[test]
fn killing_the_agent_ten_times_loses_and_doubles_nothing() -> Result<()> {
    assert_clean(&kill_ten_times(Victim::Agent)?);
    Ok(())
}

#[test]
fn killing_the_collector_ten_times_loses_and_doubles_nothing() -> Result<()> {
    assert_clean(&kill_ten_times(Victim::Collector)?);
    Ok(())
}

#[test]
fn killing_both_ten_times_loses_and_doubles_nothing() -> Result<()> {
    assert_clean(&kill_ten_times(Victim::Both)?);
    Ok(())
}

#[test]
fn rotation_by_rename_under_load_loses_and_doubles_nothing() -> Result<()> {
    let mut rig = Rig::new(&RigOptions::default())?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    rig.wait_for_agent()?;
    for _ in 0..20 {
        writer.write(700)?;
        writer.rotate_by_rename()?;
        writer.write(300)?;
        thread::sleep(Duration::from_millis(40));
    }
    rig.wait_for_rows(writer.written())?;
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
    ledger::close(&rig.http)?;
    // Two files are read side by side while they rotate: order holds within each of them, not between them.
    assert_eq!(
        (verdict.lost, verdict.doubled, verdict.altered, verdict.foreign),
        (0, 0, 0, 0),
        "{verdict:?}"
    );
    Ok(())
}

#[test]
fn rotation_by_copytruncate_between_writes_loses_and_doubles_nothing() -> Result<()> {
    let mut rig = Rig::new(&RigOptions::default())?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    for _ in 0..5 {
        writer.write(1_000)?;
        rig.wait_for_rows(writer.written())?;
        writer.rotate_by_copytruncate()?;
    }
    writer.write(1_000)?;
    rig.wait_for_rows(writer.written())?;
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    Ok(())
}

#[test]
fn every_codec_carries_every_line() -> Result<()> {
    for compression in ["zstd", "lz4", "snappy", "gzip", "none"] {
        let mut rig = Rig::new(&RigOptions { compression, ..RigOptions::default() })?;
        let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
        writer.write(20_000)?;
        rig.start_agent()?;
        rig.wait_for_rows(writer.written())?;
        let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
        assert!(verdict.is_clean(), "{compression}: {verdict:?}");
    }
    Ok(())
}

#[test]
fn a_stop_drains_what_was_written_before_it() -> Result<()> {
    let mut rig = Rig::new(&RigOptions::default())?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    rig.wait_for_agent()?;
    writer.write(5_000)?;
    rig.wait_for_rows(1)?;
    let status = rig.agent.stop(Duration::from_secs(15))?;
    assert!(status.success(), "the agent ended with {status}: {}", rig.agent.output());
    let status = rig.collector.stop(Duration::from_secs(15))?;
    assert!(status.success(), "the collector ended with {status}: {}", rig.collector.output());
    rig.start_collector()?;
    rig.start_agent()?;
    rig.wait_for_rows(writer.written())?;
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    Ok(())
}

#[test]
fn a_file_that_was_rotated_away_while_the_agent_was_down_is_read_to_its_end() -> Result<()> {
    // What rotation makes of the file is matched by no glob.
    let mut rig = Rig::new(&RigOptions { logs: "exclude = [\"/**/*.log.*\"]", ..RigOptions::default() })?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    writer.write(1_000)?;
    rig.wait_for_rows(1_000)?;
    rig.agent.kill()?;
    writer.write(150_000)?;
    writer.rotate_by_rename()?;
    writer.write(1_000)?;
    // Killed again in the middle of the old file.
    rig.start_agent()?;
    rig.wait_for_rows(1_001)?;
    rig.agent.kill()?;
    rig.start_agent()?;
    rig.wait_for_rows(writer.written())?;
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
    assert_eq!((verdict.lost, verdict.doubled, verdict.altered), (0, 0, 0), "{verdict:?}");
    ledger::close(&rig.http)?;
    let sources = rig.sql("SELECT DISTINCT source FROM logs")?;
    assert_eq!(sources.lines().count(), 1, "the file keeps its name: {sources}");
    Ok(())
}

#[test]
fn an_agent_stops_in_time_while_the_collector_is_away_and_nothing_is_lost() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { metrics_secs: 1, ..RigOptions::default() })?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    rig.wait_for_agent()?;
    writer.write(1_000)?;
    rig.wait_for_rows(1_000)?;
    rig.collector.kill()?;
    writer.write(200_000)?;
    wait::until("the agent says that the collector is away", PATIENCE, || {
        let (status, body) = http::request(&rig.admin, "/healthz")?;
        Ok((status == 503 && body.contains("collector")).then_some(()))
    })?;
    let status = rig.agent.stop(Duration::from_secs(20))?;
    assert!(status.success(), "the agent ended with {status}: {}", rig.agent.output());
    rig.start_collector()?;
    rig.start_agent()?;
    rig.wait_for_rows(writer.written())?;
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    Ok(())
}

#[test]
fn a_lost_and_a_rolled_back_state_directory_double_nothing() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { metrics_secs: 1, ..RigOptions::default() })?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    let (state, backup) = (rig.root().join("agent"), rig.root().join("backup"));
    for round in 0..4 {
        rig.start_agent()?;
        writer.write(5_000)?;
        rig.wait_for_rows(writer.written())?;
        rig.agent.kill()?;
        match round {
            0 => assert!(Command::new("cp").arg("-r").arg(&state).arg(&backup).status()?.success()),
            1 => std::fs::remove_dir_all(&state)?,
            2 => {
                std::fs::remove_dir_all(&state)?;
                std::fs::rename(&backup, &state)?;
            }
            _ => {}
        }
    }
    rig.start_agent()?;
    rig.wait_for_rows(writer.written())?;
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    ledger::close(&rig.http)?;
    // New points come in although the spool began anew: their indexes went on.
    let count = || -> Result<u64> {
        let row: serde_json::Value = serde_json::from_str(&rig.sql("SELECT count(*) AS n FROM metrics")?)?;
        row["n"].as_u64().ok_or_else(|| anyhow::anyhow!("no count"))
    };
    let before = count()?;
    wait::until("new points come in", PATIENCE, || Ok((count()? > before).then_some(())))
}
