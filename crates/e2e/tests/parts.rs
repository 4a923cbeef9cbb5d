//! Threads and tasks of the collector panic and hang, as planted: health says which, it is started again, and every line is there once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use lapwing_e2e::{Rig, RigOptions, Writer, http, oracle, rig::PATIENCE, wait};

/// A pair of which the collector's parts take faults: both programs have parts of the same name.
struct Planted {
    rig: Rig,
    folder: PathBuf,
}

impl Planted {
    fn start() -> Result<Self> {
        let mut rig =
            Rig::new(&RigOptions { metrics_secs: 1, flush_interval_secs: 1, ..RigOptions::default() })?;
        let folder = rig.root().join("plant");
        fs::create_dir(&folder)?;
        let path = folder.display().to_string();
        rig.collector.kill()?;
        rig.collector.env("LAPWING_PLANT", &path);
        rig.start_collector()?;
        rig.start_agent()?;
        rig.wait_for_agent()?;
        Ok(Self { rig, folder })
    }

    fn plant(&self, part: &str, fault: &str) -> Result<()> {
        Ok(fs::write(self.folder.join(part), fault)?)
    }

    /// Plants a fault, waits until health names it, and until all is well again.
    fn outlives(&self, address: &str, part: &str, fault: &str) -> Result<()> {
        self.plant(part, fault)?;
        let told = wait::until("health names the part", PATIENCE, || {
            let body = http::request(address, "/healthz").map(|(_, body)| body).unwrap_or_default();
            Ok(body.contains(&format!("{part}: ")).then_some(()))
        });
        told.with_context(|| format!("{part} {fault}: {}", self.rig.collector.output()))?;
        let well =
            wait::until("all is well again", PATIENCE, || Ok(http::get(address, "/healthz").ok().map(drop)));
        well.with_context(|| format!("{part} {fault}: {}", self.rig.collector.output()))
    }
}

fn every_line_is_there_once(planted: &Planted, writer: lapwing_e2e::writer::RunningWriter) -> Result<()> {
    let writer = writer.stop()?;
    planted.rig.wait_for_rows(writer.written())?;
    let verdict = oracle::judge(&planted.rig.http, &BTreeMap::from([(writer.file_id(), writer.written())]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    Ok(())
}

#[test]
fn a_collector_outlives_a_panic_and_a_hang_of_what_can_be_started_again() -> Result<()> {
    let planted = Planted::start()?;
    let writer = Writer::new(&planted.rig.logs().join("app-1.log"), 1)?.run(20, Duration::from_millis(5));
    for part in ["health", "trim"] {
        for fault in ["panic", "hang"] {
            planted.outlives(&planted.rig.http, part, fault)?;
        }
    }
    every_line_is_there_once(&planted, writer)
}

#[test]
fn what_can_not_be_started_again_ends_the_process_and_a_start_brings_every_line() -> Result<()> {
    let mut planted = Planted::start()?;
    let writer = Writer::new(&planted.rig.logs().join("app-1.log"), 1)?.run(20, Duration::from_millis(5));
    planted.plant("flush", "panic")?;
    let ended = planted.rig.collector.wait(PATIENCE)?;
    assert_eq!(ended.code(), Some(1));
    assert!(planted.rig.collector.output().contains("flush: panicked"), "{}", planted.rig.collector.output());
    planted.rig.start_collector()?;
    every_line_is_there_once(&planted, writer)
}
