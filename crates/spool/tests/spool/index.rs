//! Indexes are never given again.

use lapwing_spool::{Recovery, SpoolError, sim::SimDisk};

use super::{all, fill, in_memory, indexes, open, open_with, payload};

#[test]
fn the_index_goes_on_after_everything_was_trimmed_and_reopened() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 9, 90);
    spool.trim(9).unwrap();
    drop(spool);
    let (mut spool, _) = open(&disk);
    spool.trim(9).unwrap();
    assert_eq!(spool.append(&[payload(10, 1)]).unwrap(), 10);
    assert!(disk.names().len() <= 2, "{:?}", disk.names());
}

#[test]
fn the_index_goes_on_after_everything_was_trimmed_in_memory_and_closed() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, in_memory(10_000));
    fill(&mut spool, 9, 90);
    spool.trim(9).unwrap();
    spool.close().unwrap();
    drop(spool);
    let (mut spool, report) = open_with(&disk, in_memory(10_000));
    assert_eq!((spool.append(&[payload(10, 1)]).unwrap(), report), (10, Recovery::default()));
}

#[test]
fn after_lost_state_the_index_advances_to_what_others_hold() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    spool.advance(51).unwrap();
    assert_eq!((spool.stats().first, spool.stats().next), (51, 51));
    assert_eq!(spool.append(&[payload(1, 10)]).unwrap(), 51);
    assert_eq!(disk.names().len(), 1);
}

#[test]
fn after_a_roll_back_older_records_count_as_trimmed() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 10, 90);
    spool.advance(51).unwrap();
    assert!(all(&mut spool).is_empty());
    assert_eq!(fill(&mut spool, 2, 10), 52);
    assert_eq!(indexes(&mut spool), [51, 52]);
}

#[test]
fn an_advance_to_what_is_there_trims_and_never_goes_back() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 10, 90);
    for (next, first) in [(8, 8), (3, 8), (0, 8), (11, 11)] {
        spool.advance(next).unwrap();
        assert_eq!((spool.stats().first, spool.stats().next), (first, 11), "advance({next})");
    }
}

#[test]
fn an_advance_survives_a_reopen_and_is_no_missing_record() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 2, 10);
    // It gives up all there is, so no power loss takes the removals back: the owner may have appended these records again.
    spool.advance(51).unwrap();
    drop(spool);
    disk.crash(|_| 0);
    let (mut spool, report) = open(&disk);
    assert_eq!(report, Recovery::default());
    assert_eq!(fill(&mut spool, 1, 10), 51);
    drop(spool);
    assert_eq!(open(&disk).1.missing_records, 0);
}

#[test]
fn an_advance_within_memory_survives_a_crash() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, in_memory(10_000));
    fill(&mut spool, 10, 10);
    spool.advance(8).unwrap();
    assert_eq!(indexes(&mut spool), [8, 9, 10]);
    drop(spool);
    disk.crash(|_| 0);
    let (mut spool, _) = open_with(&disk, in_memory(10_000));
    assert_eq!((all(&mut spool).len(), spool.stats().next), (0, 8));
}

#[test]
fn an_advance_to_records_that_were_not_synced_survives_a_crash() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    spool.append(&[payload(1, 10), payload(2, 10)]).unwrap();
    spool.advance(3).unwrap();
    drop(spool);
    disk.crash(|_| 0);
    assert_eq!(open(&disk).0.stats().next, 3);
}

#[test]
fn an_index_beyond_every_real_one_is_refused_and_changes_nothing() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 2, 10);
    let before = spool.stats();
    for next in [(1 << 62) + 1, u64::MAX] {
        assert!(matches!(spool.advance(next), Err(SpoolError::Index { .. })));
        assert_eq!(spool.stats(), before);
    }
}
