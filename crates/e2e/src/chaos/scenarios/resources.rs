//! Too little memory, too few descriptors, too many agents.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Scenario, needs};
use crate::{
    RigOptions, Writer,
    chaos::{Stage, stage::Program::Agent},
    process::{Process, binary},
    rig::{PATIENCE, free_addresses},
    wait,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("backlog", "a backlog as fast as it goes, under the memory caps (96 and 384 MB)", drain)
        .short(),
    Scenario::new("descriptors", "64 descriptors for 200 files", starve_of_descriptors)
        .short()
        .where_possible(|| needs("prlimit")),
    Scenario::new("twenty-agents", "twenty agents with a backlog each", overload)
        .with(|_| RigOptions { collector: "[limits]\nqueries = 2", ..RigOptions::default() }),
];

fn drain(stage: &mut Stage) -> Result<()> {
    stage.stop(Agent)?;
    for file in 1..=4 {
        let mut writer = Writer::new(&stage.rig.logs().join(format!("app-{file}.log")), file)?;
        for _ in 0..stage.form.pick(10, 100) {
            writer.write(5_000)?;
        }
        stage.wrote(&writer);
    }
    let lines = stage.form.pick(200_000, 2_000_000);
    let started = Instant::now();
    stage.start(Agent)?;
    stage.wait_for("the backlog", Duration::from_secs(180), |stage| {
        Ok((stage.visible()? >= lines).then_some(()))
    })?;
    stage.note(format!("{:.0} lines/s", lines as f64 / started.elapsed().as_secs_f64()));
    stage.prove("lines drained", lines, lines);
    Ok(())
}

fn starve_of_descriptors(stage: &mut Stage) -> Result<()> {
    stage.stop(Agent)?;
    stage.rig.agent.start_by(&["prlimit", "--nofile=64:64"]);
    stage.start(Agent)?;
    let mut writers = (1..=200)
        .map(|file| Writer::new(&stage.rig.logs().join(format!("app-{file}.log")), file))
        .collect::<Result<Vec<_>>>()?;
    let rounds = stage.form.pick(3, 10);
    for _ in 0..rounds {
        writers.iter_mut().try_for_each(|writer| writer.write(20))?;
        stage.pause(100, 300);
    }
    writers.iter().for_each(|writer| stage.wrote(writer));
    let all = 200 * 20 * rounds;
    wait::until("all files had their turns", PATIENCE, || Ok((stage.visible()? >= all).then_some(())))?;
    let (cpu, since) = (stage.rig.agent.cpu()?, Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let share = (stage.rig.agent.cpu()? - cpu).as_secs_f64() / since.elapsed().as_secs_f64();
    ensure!(share < 0.2, "the agent uses {:.0} % of a core while it has no descriptors", share * 100.0);
    ensure!(stage.rig.agent.ended()?.is_none(), "the agent ended for want of descriptors");
    stage.prove("told of too few descriptors", stage.figure(Agent, "lapwing_agent_file_errors_total")?, 1);
    Ok(())
}

/// Agents of the overload.
const AGENTS: u32 = 20;

fn overload(stage: &mut Stage) -> Result<()> {
    let root = stage.rig.root().to_owned();
    let mut command = Command::new(binary("lapwing")?);
    command.args(["certs", "create", "--dir"]).arg(root.join("certs"));
    for n in 1..=AGENTS {
        command.args(["--agent", &format!("fleet-{n}")]);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "certs create: {}", String::from_utf8_lossy(&output.stderr));
    let config = fs::read_to_string(root.join("agent.toml"))?;
    let lines = stage.form.pick(5_000, 200_000);
    let mut fleet = Vec::new();
    for n in 1..=AGENTS {
        let folder = root.join(format!("fleet-{n}"));
        fs::create_dir_all(folder.join("logs"))?;
        let mut writer = Writer::new(&folder.join("logs/app.log"), n)?;
        for _ in 0..lines / 5_000 {
            writer.write(5_000)?;
        }
        stage.wrote(&writer);
        let [admin] = free_addresses()?;
        let own = config
            .replace("agent-agent-001", &format!("agent-fleet-{n}"))
            .replace("id = \"agent-001\"", &format!("id = \"fleet-{n}\""))
            .replace(&format!("{}/agent\"", root.display()), &format!("{}/state\"", folder.display()))
            .replace(&format!("{}/logs", root.display()), &format!("{}/logs", folder.display()))
            .replace(&stage.rig.admin, &admin);
        fs::write(folder.join("agent.toml"), own)?;
        let path = folder.join("agent.toml").display().to_string();
        fleet.push(Process::new("lapwing-agent", &["--config", &path], &folder.join("log"))?);
    }
    fleet.iter_mut().try_for_each(Process::start)?;
    let all = u64::from(AGENTS) * lines;
    // Half way each has at least half of its share.
    wait::until("half of the backlog is visible", Duration::from_secs(180), || {
        Ok((stage.visible()? >= all / 2).then_some(()))
    })?;
    let shares =
        stage.rig.sql("SELECT agent, count(*) AS n FROM logs WHERE agent LIKE 'fleet-%' GROUP BY agent")?;
    let shares: Vec<u64> =
        shares.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["n"].as_u64()).collect();
    let (least, sum) = (shares.iter().min().copied().unwrap_or(0), shares.iter().sum::<u64>());
    stage.note(format!(
        "half way: {} agents, the slowest has {least} of {sum} lines: {shares:?}",
        shares.len()
    ));
    ensure!(shares.len() as u32 == AGENTS, "only {} of {AGENTS} agents got anything through", shares.len());
    ensure!(least * u64::from(AGENTS) * 2 >= sum, "the slowest agent has {least} of {sum} lines");
    wait::until("the backlog is visible", Duration::from_secs(180), || {
        Ok((stage.visible()? >= all).then_some(()))
    })?;
    for mut agent in fleet {
        agent.stop(Duration::from_secs(15))?;
    }
    stage.prove("agents", u64::from(AGENTS), u64::from(AGENTS));
    Ok(())
}
