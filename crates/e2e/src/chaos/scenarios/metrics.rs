//! What can't be read again: metrics, in the agent's spool.

use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Scenario;
use crate::{
    RigOptions,
    chaos::{
        Stage,
        stage::Program::{Agent, Collector},
    },
    rig::PATIENCE,
    wait,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "kill-agent-metrics",
        "`kill -9` of the agent, 20 times, while it reads metrics each second",
        kill,
    )
    .with(|_| RigOptions { metrics_secs: 1, ..RigOptions::default() }),
    Scenario::new(
        "spool-full",
        "the agent's spool is full of metrics while the collector is away: the oldest go, and are counted",
        fill,
    )
    .with(|_| RigOptions {
        metrics_secs: 1,
        metrics: "top_processes = 1000",
        // The smallest that can be configured.
        buffer: "max_disk_bytes = 1048576",
        ..RigOptions::default()
    }),
];

fn kill(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    for _ in 0..stage.form.pick(5, 20) {
        stage.pause(1_200, 3_000);
        stage.kill(Agent)?;
        stage.start(Agent)?;
    }
    let before = points(stage)?;
    let points = wait::until("points come in after the last kill", PATIENCE, || {
        Ok(Some(points(stage)?).filter(|points| *points > before))
    })?;
    stage.prove("points", points, 500);
    no_point_twice(stage)
}

/// Processes beside the programs: each is told of in every reading.
const IDLE: usize = 300;

fn fill(stage: &mut Stage) -> Result<()> {
    let mut idle = Idle(Vec::new());
    for _ in 0..IDLE {
        idle.0.push(Command::new("sleep").arg("3600").spawn()?);
    }
    stage.write_as_usual()?;
    wait::until("points come in", PATIENCE, || Ok((points(stage)? > 0).then_some(())))?;
    stage.kill(Collector)?;
    wait::until("the spool drops its oldest records", PATIENCE * 3, || {
        Ok((stage.figure(Agent, "lapwing_agent_spool_dropped_records_total")? > 2).then_some(()))
    })?;
    stage.note("the spool is full");
    let bytes = stage.figure(Agent, "lapwing_agent_spool_bytes")?;
    ensure!(bytes <= (1 << 20) + (1 << 20) + (128 << 10), "the spool holds {bytes} bytes");
    drop(idle);
    stage.start(Collector)?;
    let dropped = wait::until("the ledger tells what was dropped", PATIENCE, || {
        let row = stage
            .rig
            .sql("SELECT dropped, dropped_by FROM ledger WHERE kind = 'source' AND source = 'metrics'")?;
        let row: Value = serde_json::from_str(&row)?;
        let by = row["dropped_by"].as_str().unwrap_or_default();
        Ok(row["dropped"].as_u64().filter(|dropped| *dropped > 0 && by.contains("spool_full")))
    })?;
    stage.note(format!("{dropped} points were dropped"));
    stage.prove("points dropped and counted", dropped, 1);
    no_point_twice(stage)
}

/// Ends them when it goes.
struct Idle(Vec<Child>);

impl Drop for Idle {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Points that are visible.
fn points(stage: &Stage) -> Result<u64> {
    count(stage, "SELECT count(*) AS n FROM metrics")
}

/// A metric of a host has one value at a time for the same attributes.
fn no_point_twice(stage: &Stage) -> Result<()> {
    let query = "SELECT count(*) AS n FROM (SELECT 1 FROM metrics \
                 GROUP BY time, name, map_keys(attributes), map_values(attributes) HAVING count(*) > 1)";
    let doubled = count(stage, query)?;
    ensure!(doubled == 0, "{doubled} points are there twice");
    Ok(())
}

fn count(stage: &Stage, query: &str) -> Result<u64> {
    serde_json::from_str::<Value>(&stage.rig.sql(query)?)?["n"].as_u64().context("no count")
}
