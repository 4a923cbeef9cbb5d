//! The attack harness: a collector, a well-behaved agent, and somebody beside it who means harm.
//!
//! A run measures the well-behaved agent alone, then again while the attack goes on. The collector must stay up and
//! within its memory cap, must be back within [`SLACK`] of its memory once the attack is over, must start again after
//! `kill -9` with what it has journaled, and must hold each line of the well-behaved agent once. The full form also
//! judges how fast that agent was; the short form, a part of `make test`, only that nobody held it up.

pub mod attacks;
mod field;
mod figures;
mod good;
mod memory;

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

pub use self::{
    attacks::Attack,
    field::{Field, Who},
    figures::{Figures, HEAD, Outcome, page},
};
use self::{good::GoodAgent, memory::Sampler};
use crate::{chaos::Form, http, oracle, wait};

/// How much more resident memory than before an attack may be left after it, in bytes.
pub const SLACK: u64 = 32 << 20;
/// Share of its own speed that the well-behaved agent keeps.
const SPEED: f64 = 0.8;
/// Share below which it counts as held up, whatever the machine is busy with.
const HELD_UP: f64 = 0.2;
/// How many times its own 99th percentile its batches may take ...
const LATER: u32 = 3;
/// ... which counts as at least this much: what two busy processors do to any process.
const NOISE: Duration = Duration::from_millis(20);
/// How long the collector may take to give memory back.
const CALM: Duration = Duration::from_secs(40);

/// Runs an attack. What it came to, a failure of the run itself included, is in the figures.
pub fn run(attack: &Attack, form: Form) -> Figures {
    let mut figures = Figures::new(attack, form);
    let played = Field::new(attack, form).and_then(|mut field| {
        let played = play(attack, &mut field, &mut figures);
        // What the collector said is gone with the rig.
        played.with_context(|| field.last_words())
    });
    match played {
        Ok(()) => figures.judge(),
        Err(error) => figures.outcome = Outcome::Failed(format!("{error:#}")),
    }
    figures
}

fn play(attack: &Attack, field: &mut Field, figures: &mut Figures) -> Result<()> {
    let mut good = field.runtime.block_on(GoodAgent::new(field.channel(Who::Agent("good"))?))?;
    // A first question takes memory that later ones use again.
    field.rig.sql("SELECT body FROM logs ORDER BY time DESC LIMIT 10")?;
    figures.alone = field.runtime.block_on(good.send_for(field.quiet()));
    let sampler = Sampler::start(field.collector()?);
    thread::sleep(Duration::from_millis(300));
    figures.before = sampler.now();

    attack_beside(attack, field, &mut good, figures)?;
    figures.peak = sampler.peak();
    figures.after = come_to_rest(&sampler, figures.before)?;
    drop(sampler);
    ensure!(field.rig.collector.ended()?.is_none(), "the collector ended");
    ensure!(field.kills() == 0, "the memory cap killed the collector");

    field.rig.collector.kill()?;
    let started = Instant::now();
    field.start_collector().context("after kill -9")?;
    figures.restart = started.elapsed();
    let written = BTreeMap::from([(good::FILE, good.acknowledged())]);
    figures.verdict = wait::until("all acknowledged lines are visible", CALM, || {
        let verdict = oracle::judge(&field.rig.http, &written)?;
        Ok((verdict.lost == 0).then_some(verdict))
    })?;
    Ok(())
}

/// The attack, the well-behaved agent, and somebody who asks after the collector's health, all at once.
fn attack_beside(
    attack: &Attack,
    field: &mut Field,
    good: &mut GoodAgent,
    figures: &mut Figures,
) -> Result<()> {
    field.until = Instant::now() + field.span();
    let (field, span) = (&*field, field.span());
    thread::scope(|scope| {
        let attacking = scope.spawn(|| (attack.act)(field));
        let asking = scope.spawn(|| slowest_health(field));
        figures.beside = field.runtime.block_on(good.send_for(span));
        figures.health = asking.join().unwrap_or(Duration::MAX);
        figures.note = attacking.join().map_err(|_| anyhow::anyhow!("the attacker panicked"))??;
        Ok(())
    })
}

/// The longest time that `/healthz` took while the attack went on.
fn slowest_health(field: &Field) -> Duration {
    let mut slowest = Duration::ZERO;
    while field.goes_on() {
        let asked = Instant::now();
        let _ = http::request(&field.rig.http, "/healthz");
        slowest = slowest.max(asked.elapsed());
        thread::sleep(Duration::from_millis(100));
    }
    slowest
}

/// Waits until memory is back; returns what is left when it is not, too.
fn come_to_rest(sampler: &Sampler, before: u64) -> Result<u64> {
    let deadline = Instant::now() + CALM;
    while sampler.now() > before + SLACK && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(200));
    }
    Ok(sampler.now())
}
