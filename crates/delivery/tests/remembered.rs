//! What a sender can make a collector keep in memory, measured. Memory is a process's: each sender has one of its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, and what its own process tells it")]

use std::{fs, process::Command};

use lapwing::v1::{Batch, FilePosition, Origin, SourcePosition, source_position::Position};
use lapwing_delivery::{Agent, Snapshots, accounts::SourceRows};

/// What is left of an attack is less than this.
const MOST: usize = 30 << 20;
/// What a snapshot takes beside its records.
const BESIDE: usize = 8 << 20;
/// Which sender a process measures.
const SENDER: &str = "LAPWING_TEST_SENDER";

fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<usize>().unwrap() << 10
}

fn batch(sequence: u64, positions: Vec<SourcePosition>) -> Batch {
    let origin = Origin { agent_id: "evil".to_owned(), epoch: 7, sequence, ..Origin::default() };
    Batch { origin: Some(origin), positions, ..Batch::default() }
}

/// New sources, in every third round with causes of their own.
fn positions(round: u64, name: usize) -> Vec<SourcePosition> {
    let causes = if round % 3 == 1 { 16 } else { 0 };
    let position = |n: u64| SourcePosition {
        source: format!("file:{n:x}"),
        display_name: format!("/var/log/{n:0>name$}"),
        position: Some(Position::File(FilePosition { offset: round, ..FilePosition::default() })),
        events_dropped: (0..causes).map(|cause| (format!("{n}:{cause:0>40}"), 1)).collect(),
        ..SourcePosition::default()
    };
    (round * 500..(round + 1) * 500).map(position).collect()
}

/// Names positions and rows as long as something of it is taken.
fn numbered(names: &[usize]) -> Agent {
    let mut agent = Agent::default();
    agent.lease(7, 0);
    let mut sequence = 0;
    for round in 0..200 {
        let positions = positions(round, names[round as usize % names.len()]);
        let rows = |position: &SourcePosition| SourceRows { source: position.display_name.clone(), rows: 1 };
        let rows: Vec<SourceRows> = positions.iter().map(rows).collect();
        for positions in [positions, Vec::new()] {
            let batch = batch(sequence + 1, positions);
            if let Ok(booking) = agent.booking(&batch, &rows, 5) {
                agent.deliver(&batch, booking);
                sequence += 1;
            }
        }
    }
    agent
}

fn keyed() -> Agent {
    let mut agent = Agent::default();
    for n in 0..150_000 {
        let idempotency_key = format!("{n}{}", "k".repeat(n % 2 * 200));
        agent.apply(&Batch { idempotency_key, ..Batch::default() }, &[], 5);
    }
    agent
}

/// Measures one of the senders, in a process that did nothing before.
fn measure(sender: fn() -> Agent) {
    let before = resident();
    let agent = sender();
    let kept = resident().saturating_sub(before);
    println!("{} KiB are kept", kept >> 10);
    assert!(kept < MOST);

    let mut snapshots = Snapshots::default();
    snapshots.add("evil", &agent);
    let records = snapshots.finish();
    let written: usize = records.iter().map(|record| record.len()).sum();
    let beside = resident().saturating_sub(before + kept + written);
    println!("{} KiB beside {} KiB of snapshots", beside >> 10, written >> 10);
    assert!(beside < BESIDE);
}

#[test]
fn whatever_a_sender_names_is_remembered_in_thirty_megabytes() {
    let senders: [fn() -> Agent; 4] =
        [|| numbered(&[190]), || numbered(&[1]), || numbered(&[190, 1, 4_000]), keyed];
    if let Ok(number) = std::env::var(SENDER) {
        return measure(senders[number.parse::<usize>().unwrap()]);
    }
    for number in 0..senders.len() {
        let mut own = Command::new(std::env::current_exe().unwrap());
        let ended = own.arg("--nocapture").env(SENDER, number.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "sender {number}: {said}{}", String::from_utf8_lossy(&ended.stderr));
        print!("{said}");
    }
}
