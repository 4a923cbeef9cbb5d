//! Journals that hang, or have lost a part of themselves.

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Scenario, needs, needs_root};
use crate::{
    RigOptions, Writer,
    chaos::{
        Stage,
        stage::Program::{Agent, Collector},
        volume,
        watchdog::{Undo, Watchdog},
    },
    http,
    rig::PATIENCE,
    wait,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("hung-disk", "the collector's disk hangs for 20 s: no write or fsync returns", hang)
        .with(|_| RigOptions { data_dir: Some(volume::mount_point()), ..RigOptions::default() })
        .where_possible(|| {
            needs_root()
                .and_then(|()| needs("fsfreeze"))
                .and_then(|()| volume::mount().map_err(|error| format!("{error:#}")))
        }),
    Scenario::new(
        "missing-segment",
        "a segment deleted from the middle of the journal: its lines, as the ledger counts them, and no others",
        lose_segment,
    )
    .with(|_| RigOptions {
        compression: "none",
        collector: "journal_max_bytes = 67108864",
        ..RigOptions::default()
    }),
];

/// Longest time that a disk may hang, should the run not come to an end.
const LONGEST: Duration = Duration::from_secs(90);
/// What memory may grow by while the disk hangs.
const GROWTH: u64 = 64 << 20;

fn hang(stage: &mut Stage) -> Result<()> {
    let path = volume::mount_point().display().to_string();
    stage.undo_later(&Undo::Unmount(path.clone()))?;
    stage.write_as_usual()?;
    stage.pause(500, 1500);
    stage.prove("lines before the disk hung", stage.visible()?, 100);
    let mut watchdog = Watchdog::start(LONGEST)?;
    watchdog.note(&Undo::Thaw(path))?;
    volume::freeze()?;
    stage.note("the disk hangs");
    // What was written before the freeze may still be answered.
    thread::sleep(Duration::from_secs(1));
    let (journaled, memory) = (stage.journaled()?, stage.rig.collector.memory()?);
    thread::sleep(Duration::from_secs(4));
    let (status, body) = http::request(&stage.rig.http, "/healthz")?;
    ensure!(status == 503 && body.contains("disk hangs"), "health, 5 s into the hang: {status} {body}");
    thread::sleep(Duration::from_secs(stage.form.pick(0, 15)));
    let (acknowledged, grown) =
        (stage.journaled()? - journaled, stage.rig.collector.memory()?.saturating_sub(memory));
    drop(watchdog);
    stage.note(format!("it goes on; meanwhile the collector grew by {grown} bytes"));
    ensure!(acknowledged == 0, "{acknowledged} batches were acknowledged that no fsync can have been for");
    ensure!(grown < GROWTH, "the collector grew by {grown} bytes while its disk hung");
    ensure!(stage.rig.collector.ended()?.is_none(), "the collector ended while its disk hung");
    wait::until("the collector is healthy again", PATIENCE, || {
        Ok(http::get(&stage.rig.http, "/healthz").ok())
    })?;
    Ok(())
}

/// Files of the backlog, and how many lines of each there are.
const BACKLOG: (u32, u64) = (4, 100_000);

fn lose_segment(stage: &mut Stage) -> Result<()> {
    stage.stop(Agent)?;
    for file in 1..=BACKLOG.0 {
        let mut writer = Writer::new(&stage.rig.logs().join(format!("app-{file}.log")), file)?;
        (0..BACKLOG.1 / 5_000).try_for_each(|_| writer.write(5_000))?;
        stage.wrote(&writer);
    }
    stage.start(Agent)?;
    let segments = wait::until("the journal has three segments that are not trimmed", PATIENCE, || {
        let segments = segments(stage)?;
        if segments.len() < 3 {
            return Ok(None);
        }
        stage.kill(Collector)?;
        Ok(Some(segments))
    })?;
    let lost = segments.get(1).context("a segment in the middle")?;
    fs::remove_file(lost)?;
    stage.note(format!("{} is gone", lost.display()));
    stage.start(Collector)?;
    let all = u64::from(BACKLOG.0) * BACKLOG.1;
    let missing = wait::until("everything else is visible", Duration::from_secs(120), || {
        let (missing, seen) = (missing(stage)?, stage.visible()?);
        if seen + missing == all {
            Ok(Some(missing))
        } else {
            anyhow::bail!("{seen} visible, {missing} missing of {all}")
        }
    })?;
    stage.note(format!("the ledger misses {missing} lines"));
    stage.must_lose(missing);
    stage.prove("lines in the segment", missing, 1);
    Ok(())
}

/// The journal's segments, oldest first.
fn segments(stage: &Stage) -> Result<Vec<PathBuf>> {
    let names = fs::read_dir(stage.rig.data_dir.join("journal"))?.flatten().map(|entry| entry.path());
    let mut segments: Vec<_> =
        names.filter(|path| path.extension().is_some_and(|end| end == "spool")).collect();
    segments.sort();
    Ok(segments)
}

/// Lines of which the ledger says that they were read and are nowhere.
fn missing(stage: &Stage) -> Result<u64> {
    let row = stage.rig.sql("SELECT coalesce(sum(missing), 0) AS n FROM ledger WHERE kind = 'source'")?;
    serde_json::from_str::<Value>(&row)?["n"].as_u64().context("no count")
}
