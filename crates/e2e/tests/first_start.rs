//! Where reading begins at an agent's very first start.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use anyhow::{Context, Result};
use lapwing_e2e::{Rig, RigOptions, Writer, http, oracle, proxy::Direction, rig::PATIENCE, wait};

const AT_THE_END: &str = "start_at = \"end\"";
/// How late answers come: late enough to cut the connection before one does.
const LATE: Duration = Duration::from_millis(1500);

/// The agent asks for its lease again when the answer is lost; that is still its first start.
#[test]
fn files_begin_at_their_end_when_the_first_answer_is_lost_too() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { logs: AT_THE_END, proxied: true, ..RigOptions::default() })?;
    Writer::new(&rig.logs().join("old.log"), 1)?.write(500)?;
    let proxy = rig.proxy.as_ref().context("no proxy")?;
    proxy.weather(Direction::Down, |down| down.delay = LATE);
    rig.agent.start()?;
    wait::until("a lease is given", PATIENCE, || {
        Ok((http::figure(&rig.http, "lapwing_collector_leases_total")? > 0).then_some(()))
    })?;
    // Its answer is on the way.
    proxy.cut();
    proxy.heal();
    only_new_lines_are_read(&rig)
}

/// A run that died before it delivered anything changes nothing either.
#[test]
fn files_begin_at_their_end_after_a_run_that_delivered_nothing() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { logs: AT_THE_END, ..RigOptions::default() })?;
    rig.start_agent()?;
    rig.wait_for_agent()?;
    rig.agent.kill()?;
    Writer::new(&rig.logs().join("old.log"), 1)?.write(500)?;
    rig.start_agent()?;
    only_new_lines_are_read(&rig)
}

fn only_new_lines_are_read(rig: &Rig) -> Result<()> {
    let followed = wait::until("the old file is followed", PATIENCE, || {
        Ok((http::figure(&rig.admin, "lapwing_agent_batches_total")? > 0).then_some(()))
    });
    followed.with_context(|| rig.agent.output())?;
    Writer::new(&rig.logs().join("new.log"), 2)?.write(10)?;
    rig.wait_for_rows(10)?;
    assert_eq!(oracle::count(&rig.http)?, 10, "what was there before the first start was read");
    Ok(())
}
