//! `lapwing spool` on the real programs' directories.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result};
use lapwing_e2e::{Rig, RigOptions, Writer, http, process::binary, rig::PATIENCE, wait};
use serde_json::Value;

const ROUNDS: usize = 50;

fn spool(args: &[&str]) -> Result<Output> {
    Ok(Command::new(binary("lapwing")?).arg("spool").args(args).output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check(path: &str) -> Result<Value> {
    let output = spool(&["check", path])?;
    serde_json::from_slice(&output.stdout).with_context(|| text(&output.stderr))
}

#[test]
fn a_journal_under_load_is_never_told_damaged_and_gives_every_row() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { metrics_secs: 1, ..RigOptions::default() })?;
    let data_dir = rig.data_dir.display().to_string();
    let state_dir = rig.root().join("agent").display().to_string();
    let writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    rig.wait_for_agent()?;
    let running = writer.run(200, Duration::from_millis(5));
    rig.wait_for_rows(1)?;
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let found = check(&data_dir)?;
        assert_eq!(found["whole"], true, "round {round}: {found}");
        assert_eq!(found["holder"]["program"], "lapwing-collecto", "round {round}: {found}");
        seen.push(found["segments"].as_array().unwrap().last().unwrap()["next"].as_u64().unwrap());
        let agent = check(&state_dir)?;
        assert_eq!(agent["whole"], true, "round {round}: {agent}");
        let shown = spool(&["show", &data_dir, "--limit", "5"])?;
        assert!(shown.status.success(), "round {round}: {}", text(&shown.stderr));
        let exported = spool(&["export", &data_dir, "--from", &seen[round].saturating_sub(3).to_string()])?;
        assert!(exported.status.success(), "round {round}: {}", text(&exported.stderr));
    }
    let written = running.stop()?.written();
    assert!(seen.is_sorted() && seen.first() < seen.last(), "no load: {seen:?}");
    rig.wait_for_rows(written)?;
    let held = spool(&["repair", &data_dir])?;
    assert_eq!(held.status.code(), Some(2));
    assert!(text(&held.stderr).contains("has it open; stop that first"), "{}", text(&held.stderr));
    Ok(())
}

#[test]
fn rows_are_exported_from_a_dead_journal_and_a_damaged_one_is_repaired_and_started_again() -> Result<()> {
    // The store is given nothing: all rows are in the journal.
    let mut rig = Rig::new(&RigOptions { flush_interval_secs: 3_600, ..RigOptions::default() })?;
    let data_dir = rig.data_dir.display().to_string();
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    for batch in 1..=5 {
        writer.write(200)?;
        rig.wait_for_rows(batch * 200)?;
    }
    rig.collector.kill()?;
    rig.agent.kill()?;
    let file = rig.root().join("rows.ndjson");
    let exported = spool(&["export", &data_dir, "--output", &file.display().to_string()])?;
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    let rows = fs::read_to_string(&file)?;
    assert_eq!(rows.lines().filter(|line| line.contains(r#""body":"lw 0001 "#)).count(), 1_000);

    let listed = spool(&["show", &data_dir, "--limit", "1000"])?;
    let records: Vec<Value> =
        text(&listed.stdout).lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<_>>()?;
    let kinds = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
    assert!(kinds("lease") >= 1 && kinds("batch") >= 5 && kinds("unknown") == 0, "{records:?}");

    // A torn end, as a crash leaves it.
    let newest = newest(&rig.data_dir.join("journal"))?;
    let whole = fs::read(&newest)?;
    fs::write(&newest, [&whole[..], &[0xa5; 100]].concat())?;
    assert_eq!(check(&data_dir)?["tail"]["bytes"], 100);
    let dry = spool(&["repair", &data_dir, "--dry-run"])?;
    assert!(text(&dry.stdout).contains("100 bytes would be cut"), "{}", text(&dry.stdout));
    assert_eq!(fs::read(&newest)?.len(), whole.len() + 100);
    let repaired = spool(&["repair", &data_dir])?;
    assert!(repaired.status.success(), "{}", text(&repaired.stderr));
    assert!(text(&repaired.stdout).contains("100 bytes was cut"), "{}", text(&repaired.stdout));
    assert_eq!(fs::read(&newest)?, whole);
    let after = check(&data_dir)?;
    assert_eq!((&after["whole"], &after["tail"]), (&Value::Bool(true), &Value::Null), "{after}");
    rig.start_collector()?;
    rig.wait_for_rows(1_000)?;
    Ok(())
}

#[test]
fn the_agents_spool_shows_its_points() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { metrics_secs: 1, ..RigOptions::default() })?;
    let state_dir = rig.root().join("agent").display().to_string();
    rig.start_agent()?;
    rig.wait_for_agent()?;
    // Points stay in memory while the collector takes them; without it they go to the disk when the agent stops.
    rig.collector.kill()?;
    let read = points_read(&rig)?;
    wait::until("two more readings of metrics", PATIENCE, || {
        Ok((points_read(&rig)? > read + 50).then_some(()))
    })?;
    rig.agent.stop(PATIENCE)?;
    let shown = spool(&["show", &state_dir, "--rows", "--limit", "1"])?;
    let row = text(&shown.stdout).lines().next().map(str::to_owned).context("no row")?;
    let row: Value = serde_json::from_str(&row)?;
    assert!(row["name"].is_string() && row["kind"].is_string(), "{row}");
    Ok(())
}

fn points_read(rig: &Rig) -> Result<u64> {
    let page = http::get(&rig.admin, "/metrics")?;
    let line = page.lines().find(|line| line.starts_with("lapwing_agent_read_total{signal=\"metrics\"}"));
    Ok(line.and_then(|line| line.rsplit(' ').next()).context("no count of points")?.parse()?)
}

fn newest(journal: &Path) -> Result<std::path::PathBuf> {
    let files = fs::read_dir(journal)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let segments = files.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "spool"));
    segments.max().context("no segment")
}
