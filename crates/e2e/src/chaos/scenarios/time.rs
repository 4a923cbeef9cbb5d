//! Clocks that jump.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;

use super::Scenario;
use crate::chaos::{
    Stage,
    stage::Program::{Agent, Collector},
};

/// Where Debian puts it.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

pub(super) const ALL: &[Scenario] = &[Scenario::new(
    "clock-jumps",
    "the wall clock of both jumps a day forward, a day back, to 1970, and home",
    jump,
)
.where_possible(|| {
    if Path::new(LIBRARY).exists() { Ok(()) } else { Err("libfaketime is not installed".to_owned()) }
})];

fn jump(stage: &mut Stage) -> Result<()> {
    let clock = stage.rig.root().join("clock");
    fs::write(&clock, "+0")?;
    stage.stop(Agent)?;
    stage.stop(Collector)?;
    for process in [&mut stage.rig.agent, &mut stage.rig.collector] {
        process.env("LD_PRELOAD", LIBRARY);
        process.env("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string());
        process.env("FAKETIME_NO_CACHE", "1");
        process.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        process.env("DONT_FAKE_MONOTONIC", "1");
    }
    stage.start(Collector)?;
    stage.start(Agent)?;
    stage.rig.wait_for_agent()?;
    stage.write_as_usual()?;
    for time in ["+86400", "-86400", "@1970-01-02 00:00:00", "+0"] {
        stage.note(format!("the clock goes to {time}"));
        fs::write(&clock, time)?;
        let before = stage.visible()?;
        std::thread::sleep(Duration::from_secs(stage.form.pick(1, 3)));
        let came = stage.visible()? - before;
        stage.prove(&format!("lines at {time}"), came, 1);
    }
    Ok(())
}
