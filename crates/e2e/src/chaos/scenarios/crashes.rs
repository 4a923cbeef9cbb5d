//! Programs that die, freeze, stop, or lose their memory of themselves.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::{Scenario, needs, needs_root};
use crate::{
    chaos::{
        Stage,
        stage::Program::{self, Agent, Collector},
        tracer::Tracer,
        watchdog::Undo,
    },
    http,
    process::Process,
    proxy::Direction,
    rig::{PATIENCE, free_addresses},
    wait,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("kill-agent", "`kill -9` of the agent, 20 times", |stage| kill(stage, &[Agent])).short(),
    Scenario::new("kill-collector", "`kill -9` of the collector, 20 times", |stage| {
        kill(stage, &[Collector])
    })
    .short(),
    Scenario::new("kill-both", "`kill -9` of both at once, 20 times", |stage| {
        kill(stage, &[Agent, Collector])
    })
    .short(),
    Scenario::new(
        "crash-points",
        "the end of a process at each kind of system call that moves state, 8 times each",
        crash_at_calls,
    )
    .where_possible(|| needs_root().and_then(|()| needs("strace")))
    .short(),
    Scenario::new(
        "lost-acks",
        "acknowledgements lost on the wire after the write, 20 times",
        lose_acknowledgements,
    )
    .short(),
    Scenario::new("freeze-agent", "agent frozen (SIGSTOP) for 30 s", |stage| freeze(stage, Agent)),
    Scenario::new("freeze-collector", "collector frozen (SIGSTOP) for 30 s", |stage| {
        freeze(stage, Collector)
    }),
    Scenario::new("stop", "SIGTERM of each under load, 5 times: exit code 0 within 15 s", stop),
    Scenario::new("state-lost", "the agent's state directory deleted, then rolled back", lose_state).short(),
    Scenario::new("cloned-agent", "a second agent with the same id and a copy of the state", clone_agent),
];

fn kill(stage: &mut Stage, programs: &[Program]) -> Result<()> {
    stage.write_as_usual()?;
    let kills = stage.form.pick(5, 20);
    for _ in 0..kills {
        let (from, to) = stage.form.pick((100, 500), (200, 1500));
        stage.pause(from, to);
        programs.iter().try_for_each(|program| stage.kill(*program))?;
        for program in programs.iter().rev() {
            stage.start(*program)?;
        }
    }
    stage.rig.wait_for_agent()?;
    stage.prove("rows in the end", stage.visible()?, 1_000);
    Ok(())
}

/// All that outlives a process goes through a system call: there are no other moments at which a crash could leave something half done.
const CALLS: [(Program, &str); 11] = [
    (Collector, "writev"),
    (Collector, "write"),
    (Collector, "pwrite64"),
    (Collector, "fdatasync"),
    (Collector, "fsync"),
    (Collector, "rename"),
    (Agent, "openat"),
    (Agent, "pread64"),
    (Agent, "writev"),
    (Agent, "recvfrom"),
    (Agent, "fdatasync"),
];

fn crash_at_calls(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    let (limit, mut crashes) = (Duration::from_millis(stage.form.pick(1_200, 3_000)), 0);
    for round in 0..stage.form.pick(1, 8) {
        for (program, calls) in CALLS {
            let most = if calls == "rename" { 2 } else { 12 };
            let when = stage.random.within(1..most);
            let id = stage.process(program).id().context("it does not run")?;
            let tracer = Tracer::attach(id, None, calls, &format!("signal=KILL:when={when}"))?;
            // Some are rare: another round may meet them.
            let ended = stage.process(program).wait(limit).is_ok();
            tracer.detach()?;
            if ended {
                crashes += 1;
                stage.note(format!("round {round}: {program:?} ended at {calls} number {when}"));
                stage.start(program)?;
            }
        }
    }
    stage.rig.wait_for_agent()?;
    stage.prove("crashes at a system call", crashes, stage.form.pick(6, 50));
    Ok(())
}

fn lose_acknowledgements(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    let duplicates = |stage: &Stage| stage.figure(Collector, "lapwing_collector_duplicate_batches_total");
    let before = duplicates(stage)?;
    for _ in 0..stage.form.pick(6, 20) {
        stage.pause(50, 300);
        wait_for_batches(stage, 2, PATIENCE)?;
        stage.proxy()?.weather(Direction::Down, |down| down.stalled = true);
        // Its answer is held back, and lost with the connection. A large batch may get stuck half way: word that more may come is held back,
        // too.
        let is_lost = wait_for_batches(stage, 1, Duration::from_secs(2)).is_ok();
        stage.proxy()?.cut();
        stage.proxy()?.heal();
        stage.note(if is_lost { "acknowledgement lost" } else { "nothing was journaled" });
    }
    let hits = wait::until("the batches come again", PATIENCE, || {
        let hits = duplicates(stage)? - before;
        Ok((hits >= 3).then_some(hits))
    })?;
    stage.prove("batches recognised as duplicates", hits, 3);
    Ok(())
}

/// Waits until so many more batches are journaled.
fn wait_for_batches(stage: &Stage, more: u64, patience: Duration) -> Result<()> {
    let before = stage.journaled()?;
    wait::until("batches are journaled", patience, || Ok((stage.journaled()? >= before + more).then_some(())))
}

fn freeze(stage: &mut Stage, program: Program) -> Result<()> {
    stage.write_as_usual()?;
    stage.pause(500, 1500);
    let process = if program == Agent { &stage.rig.agent } else { &stage.rig.collector };
    let id = process.id().context("it does not run")?;
    stage.undo_later(&Undo::Continue(id))?;
    stage.note(format!("freeze {program:?}"));
    let send = |stage: &Stage, signal| {
        if program == Agent { stage.rig.agent.signal(signal) } else { stage.rig.collector.signal(signal) }
    };
    send(stage, Signal::STOP)?;
    std::thread::sleep(Duration::from_secs(stage.form.pick(4, 30)));
    send(stage, Signal::CONT)?;
    stage.note(format!("thaw {program:?}"));
    Ok(())
}

fn stop(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    for _ in 0..stage.form.pick(2, 5) {
        for program in [Agent, Collector] {
            stage.pause(300, 1000);
            stage.stop(program)?;
            stage.start(program)?;
        }
    }
    Ok(())
}

fn lose_state(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    let (state, backup) = (stage.rig.root().join("agent"), stage.rig.root().join("backup"));
    for round in 0..stage.form.pick(3, 6) {
        stage.pause(300, 1200);
        stage.kill(Agent)?;
        match round {
            0 => copy(&state, &backup)?,
            1 => fs::remove_dir_all(&state)?,
            _ => {
                fs::remove_dir_all(&state)?;
                copy(&backup, &state)?;
            }
        }
        stage.start(Agent)?;
    }
    stage.rig.wait_for_agent()
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status()?;
    ensure!(copied.success(), "cp: {copied}");
    Ok(())
}

fn clone_agent(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    stage.pause(500, 1500);
    let root = stage.rig.root().to_owned();
    copy(&root.join("agent"), &root.join("clone"))?;
    let [admin] = free_addresses()?;
    let config = fs::read_to_string(root.join("agent.toml"))?;
    let own = root.join("agent").display().to_string();
    let config = config.replace(&format!("\"{own}\""), &format!("\"{}\"", root.join("clone").display()));
    fs::write(root.join("clone.toml"), config.replace(&stage.rig.admin, &admin))?;
    let path = root.join("clone.toml").display().to_string();
    let mut clone = Process::new("lapwing-agent", &["--config", &path], &root.join("clone.log"))?;
    clone.start()?;
    stage.note("the clone starts");
    let fenced = wait::until("one of the two is told that the other took over", PATIENCE, || {
        let told = |address: &str| {
            http::request(address, "/healthz").is_ok_and(|(_, body)| body.contains("took over"))
        };
        Ok((told(&stage.rig.admin) || told(&admin)).then_some(()))
    });
    fenced.with_context(|| format!("the clone said: {}", clone.output()))?;
    stage.pause(500, 1500);
    clone.stop(Duration::from_secs(15))?;
    // As its message says: the other one is restarted.
    stage.stop(Agent)?;
    stage.start(Agent)?;
    stage.rig.wait_for_agent()
}
