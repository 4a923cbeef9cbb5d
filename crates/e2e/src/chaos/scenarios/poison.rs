//! Batches that the collector refuses for good.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};

use super::Scenario;
use crate::{
    RigOptions,
    chaos::{
        Stage,
        stage::Program::{Agent, Collector},
    },
    process::binary,
    rig::PATIENCE,
    wait,
};

/// Some of the writer's longest lines have more bytes.
const LIMIT: &str = "[limits]\nbody_bytes = 5290\n";

pub(super) const ALL: &[Scenario] = &[Scenario::new(
    "poison",
    "batches refused for good, set aside, and sent again once the collector takes them",
    refuse,
)
.with(|_| RigOptions { collector: LIMIT, ..RigOptions::default() })
.short()
.reorders()];

fn refuse(stage: &mut Stage) -> Result<()> {
    stage.write(2, 20, std::time::Duration::from_millis(5))?;
    let dead = || stage.figure(Agent, "lapwing_agent_events_total{cause=\"dead_letter\"}");
    wait::until("batches are set aside", PATIENCE, || Ok((dead()? > 0).then_some(())))?;
    // What is behind them goes on.
    let visible = stage.visible()?;
    wait::until("lines behind them arrive", PATIENCE, || {
        Ok((stage.visible()? > visible + 1_000).then_some(()))
    })?;
    let refused = dead()?;
    let config = stage.rig.root().join("collector.toml");
    fs::write(&config, fs::read_to_string(&config)?.replace(LIMIT, ""))?;
    stage.stop(Collector)?;
    stage.start(Collector)?;
    stage.note("the collector takes all lines");
    let now = stage.visible()?;
    wait::until("lines arrive", PATIENCE, || Ok((stage.visible()? > now).then_some(())))?;
    for _ in 0..2 {
        replay(stage)?;
    }
    stage.prove("lines set aside", refused, 1);
    Ok(())
}

/// Sends all dead letters again, as an operator does.
fn replay(stage: &mut Stage) -> Result<()> {
    let config = stage.rig.root().join("agent.toml");
    let output = Command::new(binary("lapwing")?)
        .args(["deadletter", "replay", "--all", "--config"])
        .arg(&config)
        .output()
        .context("replay dead letters")?;
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
    ensure!(output.status.success(), "lapwing deadletter replay: {told}");
    stage.note(told);
    Ok(())
}
