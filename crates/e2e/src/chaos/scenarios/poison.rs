//! Batches that the collector refuses for good.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use super::Scenario;
use crate::{
    RigOptions,
    chaos::{
        Stage,
        stage::Program::{Agent, Collector},
    },
    http,
    process::binary,
    proxy::Direction,
    rig::PATIENCE,
    wait,
};

/// Some of the writer's longest lines have more bytes.
const LIMIT: &str = "[limits]\nbody_bytes = 5290\n";
/// All of its long lines have more bytes, one in 97.
const LOW: &str = "[limits]\nbody_bytes = 1000\n";
/// Bytes that dead letters may take on the disk: the least that can be configured.
const BUDGET: u64 = 1 << 20;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "poison",
        "batches refused for good, set aside, and sent again once the collector takes them",
        |stage| {
            stage.write(2, 20, Duration::from_millis(5))?;
            refuse(stage, LIMIT)
        },
    )
    .with(|_| RigOptions { collector: LIMIT, ..RigOptions::default() })
    .short()
    .reorders(),
    Scenario::new("poison-50", "batches refused for good over a link of 50 ms there and back", |stage| {
        refuse_far_away(stage, Duration::from_millis(25))
    })
    .with(|_| RigOptions { collector: LOW, ..RigOptions::default() })
    .reorders(),
    Scenario::new("poison-300", "batches refused for good over a link of 300 ms there and back", |stage| {
        refuse_far_away(stage, Duration::from_millis(150))
    })
    .with(|_| RigOptions { collector: LOW, ..RigOptions::default() })
    .short()
    .reorders(),
    Scenario::new(
        "dead-letters-full",
        "no more room for refused batches: reading stops, and goes on once the collector takes them",
        fill,
    )
    .with(|_| RigOptions {
        collector: LOW,
        buffer: "max_dead_letter_bytes = 1048576",
        ..RigOptions::default()
    })
    .short()
    .reorders(),
];

/// Lines that come one by one, so that several small batches share a call.
fn refuse_far_away(stage: &mut Stage, one_way: Duration) -> Result<()> {
    for direction in Direction::ALL {
        stage.proxy()?.weather(direction, |weather| weather.delay = one_way);
    }
    stage.write(2, 2, Duration::from_millis(30))?;
    refuse(stage, LOW)?;
    stage.proxy()?.heal();
    Ok(())
}

/// Waits for refusals, sees that what is behind them goes on, and sends them again once the collector takes them.
fn refuse(stage: &mut Stage, limit: &str) -> Result<()> {
    let dead = || stage.figure(Agent, "lapwing_agent_events_total{cause=\"dead_letter\"}");
    wait::until("batches are set aside", PATIENCE, || Ok((dead()? > 0).then_some(())))?;
    let refused = dead()?;
    // Again and again: one that holds up what is behind it would be the last one.
    wait::until("more are set aside", PATIENCE, || Ok((dead()? > refused + 2).then_some(())))?;
    let visible = stage.visible()?;
    wait::until("lines behind them arrive", PATIENCE, || {
        Ok((stage.visible()? > visible + 100).then_some(()))
    })?;
    let refused = dead()?;
    take_all(stage, limit)?;
    for _ in 0..2 {
        replay(stage)?;
    }
    stage.prove("lines set aside", refused, 1);
    Ok(())
}

/// The collector again, without the limit.
fn take_all(stage: &mut Stage, limit: &str) -> Result<()> {
    let config = stage.rig.root().join("collector.toml");
    fs::write(&config, fs::read_to_string(&config)?.replace(limit, ""))?;
    stage.stop(Collector)?;
    stage.start(Collector)?;
    stage.note("the collector takes all lines");
    let now = stage.visible()?;
    wait::until("lines arrive", PATIENCE, || Ok((stage.visible()? > now).then_some(())))
}

fn fill(stage: &mut Stage) -> Result<()> {
    stage.write(2, 20, Duration::from_millis(10))?;
    let told = wait::until("health says that there is no room", PATIENCE, || {
        let told = http::get(&stage.rig.admin, "/healthz").err().map(|error| format!("{error:#}"));
        Ok(told.filter(|told| told.contains("max_dead_letter_bytes")))
    })?;
    ensure!(told.contains("lapwing deadletter"), "health does not say what to do: {told}");
    stage.note(told);
    let letters = stage.rig.root().join("agent/dead-letters");
    // It goes on trying, and sets nothing more aside.
    stage.pause(6_000, 7_000);
    let bytes = on_disk(&letters)?;
    ensure!(bytes <= BUDGET, "{bytes} bytes of dead letters");
    take_all(stage, LOW)?;
    wait::until("the agent is well", PATIENCE, || Ok(http::get(&stage.rig.admin, "/healthz").ok()))?;
    for _ in 0..2 {
        replay(stage)?;
    }
    stage.prove("bytes set aside", bytes, BUDGET / 2);
    Ok(())
}

/// Disk space of the files in a folder.
fn on_disk(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        bytes += entry?.metadata()?.blocks() * 512;
    }
    Ok(bytes)
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
