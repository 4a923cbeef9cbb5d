//! Many seeds, with no bug planted.

use std::collections::BTreeMap;

use crate::world::World;

/// Seeds that found something once.
const REGRESSIONS: &str = include_str!("regressions.txt");
const SEEDS: u64 = 3_000;
/// What the seeds together must have seen: else they prove less than they seem to.
const MARKS: [&str; 25] = [
    "beyond the window",
    "collector restored",
    "conflict",
    "disk full",
    "duplicate",
    "early batch",
    "fenced",
    "fenced agent restarted",
    "fsync failed",
    "inode freed",
    "journal full",
    "journal poisoned, collector restarted",
    "lease refused",
    "lease renewed",
    "loss counted",
    "message twice",
    "oldest points dropped",
    "restore noticed by the agent",
    "restore noticed by the collector",
    "sender locked",
    "set aside",
    "snapshot and trim",
    "spool lost",
    "torn tail of the journal",
    "truncated in place",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed and gives the hash of its trace; what it saw is added to `marks`.
fn run(seed: u64, print: bool, marks: &mut BTreeMap<&'static str, u64>) -> u64 {
    let mut world = World::new(seed, print);
    let ended = world.run();
    for (mark, times) in &world.trace.marks {
        *marks.entry(mark).or_default() += times;
    }
    if let Err(violation) = ended {
        panic!(
            "seed {seed}: {}: {}\n{}replay: LAPWING_SIM_SEED={seed} cargo test -p lapwing-delivery --test simulator",
            violation.invariant,
            violation.detail,
            world.trace.tail()
        );
    }
    world.trace.hash
}

#[test]
fn every_line_is_stored_once_under_every_seed() {
    let mut marks = BTreeMap::new();
    if let Some(seed) = number("LAPWING_SIM_SEED") {
        run(seed, true, &mut marks);
        return;
    }
    for seed in 0..number("LAPWING_SIM_SEEDS").unwrap_or(SEEDS) {
        run(seed, false, &mut marks);
    }
    println!("{marks:#?}");
    let unseen: Vec<_> = MARKS.iter().filter(|mark| !marks.contains_key(*mark)).collect();
    assert!(unseen.is_empty(), "no seed saw {unseen:?}");
}

#[test]
fn what_was_found_once_is_not_found_again() {
    let seeds = REGRESSIONS.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    for seed in seeds {
        run(seed, false, &mut BTreeMap::new());
    }
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..50 {
        let (once, again) = (run(seed, false, &mut BTreeMap::new()), run(seed, false, &mut BTreeMap::new()));
        assert_eq!(once, again, "seed {seed}");
    }
}
