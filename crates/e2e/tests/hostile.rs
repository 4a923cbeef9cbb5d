//! The short form of the attack harness: a part of its attacks, each for a few seconds. `make hostile` runs all of them
//! at length, and judges speed, too.
#![allow(clippy::print_stdout, reason = "the table is shown")]

use lapwing_e2e::{
    chaos::Form,
    hostile::{self, HEAD, Outcome, attacks},
};

/// Attacks of the short form; fewer that ran mean that some were lost.
const LEAST: usize = 13;

#[test]
fn no_attack_of_the_short_form_stops_bloats_or_forges_and_each_line_of_others_is_there_once() {
    let runs: Vec<_> = attacks::all()
        .filter(|attack| attack.short)
        .map(|attack| hostile::run(&attack, Form::Short))
        .collect();
    let table: Vec<String> = runs.iter().map(hostile::Figures::row).collect();
    println!("{HEAD}\n{}", table.join("\n"));
    let broken: Vec<String> = runs
        .iter()
        .filter(|figures| figures.outcome != Outcome::Holds)
        .map(|figures| format!("{}: {:?}", figures.attack, figures.outcome))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(runs.len() >= LEAST, "{} attacks ran, at least {LEAST} must", runs.len());
}
