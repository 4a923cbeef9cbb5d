//! The short form of the fault machine: a part of its scenarios, each for a few seconds. `make chaos` runs all of them at length.
#![allow(clippy::print_stdout, reason = "a skipped scenario and the table are told")]

use lapwing_e2e::chaos::{self, Form, Outcome, report, scenarios};

/// Scenarios of the short form that need neither the rights of root nor a tool; fewer that ran mean that some were lost.
const LEAST: usize = 17;

#[test]
fn what_is_promised_holds_while_lapwing_is_broken_in_every_way_of_the_short_form() {
    let mut runs = Vec::new();
    for scenario in scenarios::all().filter(|scenario| scenario.short) {
        let figures = chaos::run(&scenario, Form::Short, 1);
        if let Outcome::Skipped(reason) = &figures.outcome {
            println!("SKIPPED chaos {}: {reason}", figures.scenario);
        }
        runs.push(figures);
    }
    let table: Vec<String> = runs.iter().map(report::row).collect();
    println!("{}\n{}", report::HEAD, table.join("\n"));
    let bad = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_) | Outcome::Vacuous(_));
    let broken: Vec<String> = runs
        .iter()
        .filter(|figures| bad(&figures.outcome))
        .map(|figures| {
            format!("{}: {:?}\n  {}", figures.scenario, figures.outcome, figures.schedule.join("\n  "))
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let executed = runs.iter().filter(|figures| !matches!(figures.outcome, Outcome::Skipped(_))).count();
    assert!(executed >= LEAST, "{executed} scenarios ran, at least {LEAST} must");
}
