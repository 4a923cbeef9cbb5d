//! The simulator is judged by bugs that are planted, one at a time: each must be found, and without them nothing.

use lapwing_delivery::planted::{self as rules, Bug as Rule};
use lapwing_spool::planted::{self as spool, Bug as Disk};

use crate::{
    bugs::{self, Driver},
    oracle::Violation,
    world::World,
};

/// Seeds within which each bug must be found.
const SEEDS: u64 = 6_000;

#[derive(Debug, Clone, Copy)]
enum Planted {
    Spool(Disk),
    Rules(Rule),
    Driver(Driver),
}

const BUGS: [Planted; 25] = [
    Planted::Spool(Disk::AckBeforeFsync),
    Planted::Spool(Disk::NoDirectoryFsync),
    Planted::Spool(Disk::FsyncRetried),
    Planted::Spool(Disk::PageCacheBelieved),
    Planted::Spool(Disk::SegmentUnlinkedEarly),
    Planted::Spool(Disk::ChecksumIgnored),
    Planted::Rules(Rule::DigestIgnored),
    Planted::Rules(Rule::WatermarkJumpsGap),
    Planted::Rules(Rule::LeaseDoesNotFence),
    Planted::Rules(Rule::LeaseComesBack),
    Planted::Rules(Rule::SnapshotWithoutPositions),
    Planted::Rules(Rule::ReplayForgetsNumbers),
    Planted::Rules(Rule::ReplayFromCommitted),
    Planted::Rules(Rule::TrimBeforeCommit),
    Planted::Rules(Rule::ClosedSourceBookedOn),
    Planted::Rules(Rule::GapNotCounted),
    Planted::Rules(Rule::ReplacementUnderNextNumber),
    Planted::Rules(Rule::RestoreUnnoticed),
    Planted::Rules(Rule::LeaseGivenAgain),
    Planted::Driver(Driver::AppliedBeforeDurable),
    Planted::Driver(Driver::EpochReused),
    Planted::Driver(Driver::RotationByInodeOnly),
    Planted::Driver(Driver::TrimmedWhenSent),
    Planted::Driver(Driver::RepackedOnRetry),
    Planted::Driver(Driver::LocalPositionsBelieved),
];

fn plant(bug: Option<Planted>) {
    spool::plant(match bug {
        Some(Planted::Spool(bug)) => Some(bug),
        _ => None,
    });
    rules::plant(match bug {
        Some(Planted::Rules(bug)) => Some(bug),
        _ => None,
    });
    bugs::plant(match bug {
        Some(Planted::Driver(bug)) => Some(bug),
        _ => None,
    });
}

/// The first seed that finds a bug, and the promise that it sees broken.
fn found(bug: Option<Planted>, seeds: u64) -> Option<(u64, Violation)> {
    plant(bug);
    let found =
        (0..seeds).find_map(|seed| World::new(seed, false).run().err().map(|violation| (seed, violation)));
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found_and_without_it_nothing() {
    let clean = found(None, SEEDS / 4);
    assert!(clean.is_none(), "without a bug: {clean:?}");
    let mut most = 0;
    let mut missed = Vec::new();
    for bug in BUGS {
        match found(Some(bug), SEEDS) {
            Some((seed, violation)) => {
                println!("{bug:?}: seed {seed}, \"{}\" ({})", violation.invariant, violation.detail);
                most = most.max(seed);
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "{SEEDS} seeds do not find {missed:?}");
    let clean = found(None, most + 1);
    assert!(clean.is_none(), "without a bug: {clean:?}");
}
