//! The short form of the attack harness: a part of its attacks, each for a few seconds. `make hostile` runs all of them
//! at length, and judges speed, too.
#![allow(clippy::print_stdout, reason = "the table is shown")]

use std::sync::{Mutex, PoisonError};

use lapwing_e2e::{
    chaos::Form,
    hostile::{self, Attack, HEAD, Outcome, attacks},
};

/// Attacks of the short form; fewer that ran mean that some were lost.
const LEAST: usize = 14;

#[test]
fn no_attack_of_the_short_form_stops_bloats_or_forges_and_each_line_of_others_is_there_once() {
    judge(attacks::all().filter(|attack| attack.short), LEAST);
}

#[test]
fn a_collector_with_less_memory_keeps_within_it() {
    let chosen = ["counts", "run-lengths", "many-fields", "endless-agent"];
    let attacks = attacks::all().filter(|attack| chosen.contains(&attack.name));
    judge(attacks.map(|attack| Attack { memory: 256 << 20, ..attack }), chosen.len());
}

/// One at a time: the collectors of a process share a control group.
static FIELD: Mutex<()> = Mutex::new(());

fn judge(attacks: impl Iterator<Item = Attack>, least: usize) {
    let _field = FIELD.lock().unwrap_or_else(PoisonError::into_inner);
    let runs: Vec<_> = attacks.map(|attack| hostile::run(&attack, Form::Short)).collect();
    let table: Vec<String> = runs.iter().map(hostile::Figures::row).collect();
    println!("{HEAD}\n{}", table.join("\n"));
    let broken: Vec<String> = runs
        .iter()
        .filter(|figures| figures.outcome != Outcome::Holds)
        .map(|figures| format!("{}: {:?}", figures.attack, figures.outcome))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(runs.len() >= least, "{} attacks ran, at least {least} must", runs.len());
}
