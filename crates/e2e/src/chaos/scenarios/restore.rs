//! A collector that is set back to an older copy of itself while agents run.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use super::Scenario;
use crate::{
    RigOptions,
    chaos::{
        Stage,
        stage::Program::{Agent, Collector},
    },
    http,
    rig::PATIENCE,
    wait,
};

pub(super) const ALL: &[Scenario] = &[Scenario::new(
    "restored",
    "the collector restored from an older copy while its agent runs, also with a copy older than the agent's run",
    restore,
)
.with(|_| RigOptions { metrics_secs: 1, ..RigOptions::default() })
.short()];

/// How soon the agent must be sent back.
const SOON: Duration = Duration::from_secs(15);

fn restore(stage: &mut Stage) -> Result<()> {
    stage.write(2, 10, Duration::from_millis(5))?;
    let mut rounds = 0;
    for restarts_agent in [false, true] {
        stage.pause(2_000, 3_000);
        back_up(stage)?;
        if restarts_agent {
            // The copy knows nothing of this run.
            stage.stop(Agent)?;
            stage.start(Agent)?;
            stage.rig.wait_for_agent()?;
        }
        stage.pause(2_000, 3_000);
        put_back(stage)?;
        rounds += 1;
    }
    stage.prove("times set back", rounds, 2);
    let said = stage.rig.agent.output();
    ensure!(said.contains("restored from an older copy"), "the agent does not say what happened: {said}");
    let said = stage.rig.collector.output();
    ensure!(said.contains("restored from an older copy"), "the collector does not say what happened: {said}");

    let lost = "SELECT dropped_by FROM ledger WHERE kind = 'source' AND source = 'metrics'";
    wait::until("the points that are gone are counted", PATIENCE, || {
        let rows = http::rows(&stage.rig.http, lost)?;
        Ok(rows.iter().any(|row| row.to_string().contains("collector_restored")).then_some(()))
    })
}

/// Copies the data of a collector that is stopped for it.
fn back_up(stage: &mut Stage) -> Result<()> {
    stage.stop(Collector)?;
    let (data, copy) = (stage.rig.data_dir.clone(), stage.rig.root().join("backup"));
    copy_folder(&data, &copy)?;
    stage.start(Collector)?;
    stage.note("the collector's data is copied");
    Ok(())
}

/// Puts the copy back, and waits until the agent delivers again.
fn put_back(stage: &mut Stage) -> Result<()> {
    stage.stop(Collector)?;
    let (data, copy) = (stage.rig.data_dir.clone(), stage.rig.root().join("backup"));
    copy_folder(&copy, &data)?;
    let leases = stage.figure(Agent, "lapwing_agent_leases_total")?;
    stage.start(Collector)?;
    stage.note("the copy is put back");
    wait::until("the agent takes a new lease", SOON, || {
        Ok((stage.figure(Agent, "lapwing_agent_leases_total")? > leases).then_some(()))
    })?;
    let visible = stage.visible()?;
    wait::until("lines arrive", SOON, || Ok((stage.visible()? > visible).then_some(())))?;
    stage.note("the agent delivers again");
    Ok(())
}

/// `to` is what `from` is.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().context("cp")?;
    ensure!(status.success(), "cp -a {} {}: {status}", from.display(), to.display());
    Ok(())
}
