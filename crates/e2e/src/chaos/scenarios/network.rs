//! Networks that cut, swallow, crawl and garble.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{Scenario, needs, needs_root};
use crate::{
    chaos::{Stage, stage::Program::Agent},
    proxy::{
        Direction::{self, Down, Up},
        Proxy,
    },
    rig::PATIENCE,
    wait,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("cuts", "connection cut after a random number of bytes, 200 times", cut).short(),
    Scenario::new("black-hole", "black hole in both directions for 60 s", |stage| {
        swallow(stage, &Direction::ALL)
    }),
    Scenario::new("one-way", "black hole from collector to agent for 60 s", |stage| swallow(stage, &[Down])),
    Scenario::new("slow-link", "1 Mbit/s and 300 ms there and back for 30 s", crawl),
    Scenario::new("bit-flips", "a flipped bit on the wire, 30 times", flip).short(),
    Scenario::new("unreachable", "connections refused for 20 s", refuse),
    Scenario::new("new-address", "the collector's name leads to another address, under load", move_away)
        .where_possible(|| needs_root().and_then(|()| needs("unshare"))),
];

fn cut(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    let cuts = stage.form.pick(30, 200);
    for _ in 0..cuts {
        let direction = Direction::ALL[stage.random.within(0..2) as usize];
        let after = stage.random.within(1..if direction == Up { 60_000 } else { 300 });
        let (proxy, before) = (stage.proxy()?, stage.proxy()?.cuts());
        proxy.weather(direction, |weather| weather.cut_after = Some(after));
        wait::until(
            "the connection is cut",
            PATIENCE,
            || Ok((stage.proxy()?.cuts() > before).then_some(())),
        )?;
        stage.note(format!("cut {direction:?} after {after} bytes"));
    }
    stage.prove("cuts", stage.proxy()?.cuts(), cuts);
    stage.prove("tries beyond the first", stage.figure(Agent, "lapwing_agent_retries_total")?, cuts / 4);
    Ok(())
}

fn swallow(stage: &mut Stage, directions: &[Direction]) -> Result<()> {
    stage.write_as_usual()?;
    stage.pause(500, 1500);
    for direction in directions {
        stage.proxy()?.weather(*direction, |weather| weather.stalled = true);
    }
    stage.note("nothing comes through");
    let connections = stage.proxy()?.connections();
    let since = Instant::now();
    std::thread::sleep(Duration::from_secs(stage.form.pick(5, 60)));
    let again = stage.proxy()?.connections() - connections;
    stage.proxy()?.heal();
    stage.note(format!("healed after {:?}", since.elapsed()));
    // A dead connection is noticed by its keep-alive: 10 s of silence and 10 s without an answer.
    stage.prove("connections made anew", again, stage.form.pick(0, 1));
    Ok(())
}

fn crawl(stage: &mut Stage) -> Result<()> {
    for direction in Direction::ALL {
        stage.proxy()?.weather(direction, |weather| {
            (weather.rate, weather.delay) = (125_000, Duration::from_millis(150));
        });
    }
    let before = stage.figure(Agent, "lapwing_agent_retries_total")?;
    stage.write(2, 20, Duration::from_millis(20))?;
    std::thread::sleep(Duration::from_secs(stage.form.pick(5, 30)));
    let batches = stage.figure(Agent, "lapwing_agent_batches_total")?;
    let retries = stage.figure(Agent, "lapwing_agent_retries_total")? - before;
    stage.prove("batches over the slow link", batches, stage.form.pick(2, 10));
    anyhow::ensure!(retries * 100 <= batches, "{retries} retries for {batches} batches: at most one in 100");
    stage.proxy()?.heal();
    Ok(())
}

fn flip(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    let flips = stage.form.pick(8, 30);
    for n in 0..flips {
        let direction = Direction::ALL[stage.random.within(0..2) as usize];
        let after = stage.random.within(1..if direction == Up { 60_000 } else { 300 });
        stage.proxy()?.weather(direction, |weather| weather.flip_after = Some(after));
        wait::until("a bit is flipped", PATIENCE, || Ok((stage.proxy()?.flips() > n).then_some(())))?;
        stage.note(format!("flipped a bit {direction:?} after {after} bytes"));
    }
    stage.prove("flipped bits", stage.proxy()?.flips(), flips);
    Ok(())
}

fn refuse(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    stage.pause(500, 1500);
    stage.proxy()?.refuse(true);
    stage.proxy()?.cut();
    stage.note("unreachable");
    std::thread::sleep(Duration::from_secs(stage.form.pick(3, 20)));
    stage.proxy()?.heal();
    stage.prove("tries beyond the first", stage.figure(Agent, "lapwing_agent_retries_total")?, 2);
    Ok(())
}

/// Has a program see a hosts file of its own, in the first argument.
const OWN_HOSTS: &str = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";

fn move_away(stage: &mut Stage) -> Result<()> {
    let hosts = stage.rig.root().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n")?;
    let (config, old) = (stage.rig.root().join("agent.toml"), stage.proxy()?.address());
    let port = old.rsplit_once(':').context("no port")?.1.to_owned();
    fs::write(&config, fs::read_to_string(&config)?.replace(&old, &format!("localhost:{port}")))?;
    stage.stop(Agent)?;
    stage.rig.agent.start_by(&["unshare", "--mount", "sh", "-c", OWN_HOSTS, &hosts.display().to_string()]);
    stage.start(Agent)?;
    stage.rig.wait_for_agent()?;
    stage.write_as_usual()?;
    stage.pause(500, 1500);
    // In place: the file is what is bound.
    fs::write(&hosts, "127.0.0.2 localhost\n")?;
    // The proxy at the old address goes, and its connections with it.
    stage.rig.proxy = Some(Proxy::start_at(&format!("127.0.0.2:{port}"), &stage.rig.grpc)?);
    stage.note("localhost is 127.0.0.2 now, and 127.0.0.1 is gone");
    wait::until("the agent finds the new address", PATIENCE, || {
        Ok((stage.proxy()?.connections() > 0).then_some(()))
    })?;
    stage.pause(500, 1500);
    stage.prove("connections to the new address", stage.proxy()?.connections(), 1);
    Ok(())
}
