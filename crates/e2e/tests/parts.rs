//! Threads and tasks of both programs panic and hang, as planted: health says which, it is started again, and every line is there once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use lapwing_e2e::{Rig, RigOptions, Writer, http, oracle, rig::PATIENCE, wait};

/// A pair whose parts take faults.
struct Planted {
    rig: Rig,
    folder: PathBuf,
}

impl Planted {
    fn start() -> Result<Self> {
        let mut rig =
            Rig::new(&RigOptions { metrics_secs: 1, flush_interval_secs: 1, ..RigOptions::default() })?;
        // One each: both have a part `trim`.
        let folder = rig.root().join("plant");
        let path = |program: &str| folder.join(program).display().to_string();
        for program in ["agent", "collector"] {
            fs::create_dir_all(path(program))?;
        }
        rig.collector.kill()?;
        rig.collector.env("LAPWING_PLANT", &path("collector"));
        rig.agent.env("LAPWING_PLANT", &path("agent"));
        rig.start_collector()?;
        rig.start_agent()?;
        rig.wait_for_agent()?;
        Ok(Self { rig, folder })
    }

    fn plant(&self, program: &str, part: &str, fault: &str) -> Result<()> {
        Ok(fs::write(self.folder.join(program).join(part), fault)?)
    }

    /// Plants a fault, waits until health names it, and until all is well again.
    fn outlives(&self, program: &Program<'_>, part: &str, fault: &str) -> Result<()> {
        let Program { name, address } = *program;
        self.plant(name, part, fault)?;
        let told = wait::until("health names the part", PATIENCE, || {
            let body = http::request(address, "/healthz").map(|(_, body)| body).unwrap_or_default();
            let word = if fault == "panic" { "panicked" } else { "hangs" };
            Ok(body.contains(&format!("{part}: {word}")).then_some(()))
        });
        let output = || if name == "agent" { self.rig.agent.output() } else { self.rig.collector.output() };
        told.with_context(|| format!("{part} {fault}: {}", output()))?;
        let well =
            wait::until("all is well again", PATIENCE, || Ok(http::get(address, "/healthz").ok().map(drop)));
        well.with_context(|| format!("{part} {fault}: {}", output()))
    }
}

/// One of the two, and where its health is asked for.
struct Program<'a> {
    name: &'static str,
    address: &'a str,
}

fn every_line_is_there_once(planted: &Planted, writer: lapwing_e2e::writer::RunningWriter) -> Result<()> {
    let writer = writer.stop()?;
    planted.rig.wait_for_rows(writer.written())?;
    let verdict = oracle::judge(&planted.rig.http, &BTreeMap::from([(writer.file_id(), writer.written())]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    Ok(())
}

#[test]
fn an_agent_outlives_a_panic_and_a_hang_of_each_of_its_parts() -> Result<()> {
    let planted = Planted::start()?;
    let agent = Program { name: "agent", address: &planted.rig.admin };
    let writer = Writer::new(&planted.rig.logs().join("app-1.log"), 1)?.run(20, Duration::from_millis(50));
    // A reading thread that hangs keeps its finder, which would take the fault of the next one: so that one is first.
    for part in ["discover", "tail", "metrics", "recorder", "replay", "trim", "pipeline", "admin"] {
        for fault in ["panic", "hang"] {
            planted.outlives(&agent, part, fault)?;
        }
    }
    every_line_is_there_once(&planted, writer)
}

#[test]
fn an_agent_whose_runtime_panics_or_hangs_ends_and_a_start_brings_every_line() -> Result<()> {
    let mut planted = Planted::start()?;
    let writer = Writer::new(&planted.rig.logs().join("app-1.log"), 1)?.run(20, Duration::from_millis(50));
    for fault in ["panic", "hang"] {
        planted.plant("agent", "runtime", fault)?;
        let ended = planted.rig.agent.wait(PATIENCE)?;
        let output = planted.rig.agent.output();
        assert_eq!(ended.code(), Some(1), "{output}");
        assert!(output.contains("runtime: hangs") && output.contains("so the process ends"), "{output}");
        planted.rig.start_agent()?;
        planted.rig.wait_for_agent()?;
    }
    every_line_is_there_once(&planted, writer)
}

#[test]
fn a_collector_outlives_a_panic_and_a_hang_of_what_can_be_started_again() -> Result<()> {
    let planted = Planted::start()?;
    let collector = Program { name: "collector", address: &planted.rig.http };
    let writer = Writer::new(&planted.rig.logs().join("app-1.log"), 1)?.run(20, Duration::from_millis(5));
    for part in ["health", "trim", "heap", "grpc", "http"] {
        for fault in ["panic", "hang"] {
            planted.outlives(&collector, part, fault)?;
        }
    }
    every_line_is_there_once(&planted, writer)
}

#[test]
fn what_can_not_be_started_again_ends_the_process_and_a_start_brings_every_line() -> Result<()> {
    let mut planted = Planted::start()?;
    let writer = Writer::new(&planted.rig.logs().join("app-1.log"), 1)?.run(20, Duration::from_millis(5));
    let faults = [
        ("flush", "panic", "flush: panicked"),
        ("sequencer", "panic", "sequencer: panicked"),
        ("sequencer", "hang", "sequencer: hangs"),
        ("worker-1", "panic", "worker-1: panicked"),
        ("worker-2", "hang", "worker-2: hangs"),
    ];
    for (part, fault, words) in faults {
        planted.plant("collector", part, fault)?;
        let ended = planted.rig.collector.wait(PATIENCE).with_context(|| format!("{part} {fault}"))?;
        let said = planted.rig.collector.output();
        assert_eq!(ended.code(), Some(1), "{part} {fault}: {said}");
        assert!(said.contains(words), "{part} {fault}: {said}");
        planted.rig.start_collector()?;
    }
    every_line_is_there_once(&planted, writer)
}
