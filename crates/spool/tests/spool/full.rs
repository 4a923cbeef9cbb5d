//! Budgets that are used up, disks that are full, and an fsync that fails.

use lapwing_spool::{Options, SpoolError, WhenFull, sim::SimDisk};

use super::{all, fill, indexes, open, open_with, options, payload};

#[test]
fn a_failed_fsync_is_never_acknowledged_and_poisons_the_spool() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, 10);
    spool.append(&[payload(2, 10)]).unwrap();
    disk.fail_next_sync();
    for _ in 0..2 {
        assert!(matches!(spool.sync(), Err(SpoolError::Poisoned { .. })));
    }
    assert!(matches!(spool.append(&[payload(3, 10)]), Err(SpoolError::Poisoned { .. })));
    assert_eq!(spool.stats().durable, 1);
    assert_eq!(indexes(&mut spool), [1], "nobody may act on a record that may not be there after a restart");
}

#[test]
fn what_is_found_after_a_failed_fsync_is_on_the_disk() {
    for spared in [0, 1] {
        let disk = SimDisk::default();
        let (mut spool, _) = open(&disk);
        fill(&mut spool, spared, 10);
        spool.append(&[payload(2, 10), payload(3, 10)]).unwrap();
        disk.fail_next_sync();
        assert!(matches!(spool.sync(), Err(SpoolError::Poisoned { .. })));
        drop(spool);
        // The page cache still shows what the disk does not have.
        let found = indexes(&mut open(&disk).0);
        disk.crash(|_| 0);
        assert_eq!(indexes(&mut open(&disk).0), found, "a record was believed and is gone");
    }
}

#[test]
fn a_failed_fsync_of_the_directory_poisons_the_spool_too() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 3, 90);
    disk.fail_next_sync_dir();
    assert!(matches!(spool.append(&[payload(4, 10)]), Err(SpoolError::Poisoned { .. })));
    assert!(matches!(spool.append(&[payload(4, 10)]), Err(SpoolError::Poisoned { .. })));
}

#[test]
fn a_full_disk_refuses_the_record_and_heals_when_there_is_room() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, 10);
    for room in 0..60 {
        disk.set_room(Some(room));
        assert!(matches!(spool.append(&[payload(2, 60)]), Err(SpoolError::Disk { .. })), "{room}");
    }
    disk.set_room(None);
    assert_eq!(fill(&mut spool, 1, 60), 2);
    drop(spool);
    assert_eq!(all(&mut open(&disk).0).len(), 2);
}

#[test]
fn a_full_disk_heals_at_the_edge_of_a_segment_too() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 3, 90);
    for room in 0..32 {
        disk.set_room(Some(room));
        assert!(matches!(spool.append(&[payload(4, 60)]), Err(SpoolError::Disk { .. })), "{room}");
    }
    disk.set_room(None);
    assert_eq!(fill(&mut spool, 1, 60), 4);
}

#[test]
fn dropping_the_oldest_is_counted() {
    let disk = SimDisk::default();
    let (mut spool, _) =
        open_with(&disk, Options { max_bytes: 1000, when_full: WhenFull::DropOldest, ..options() });
    for index in 1..=40 {
        spool.append(&[payload(index, 100)]).unwrap();
        assert!(spool.stats().bytes <= 1000 + 300);
    }
    let kept = all(&mut spool).len() as u64;
    assert_eq!(spool.stats().dropped_records, 40 - kept);
    assert!(kept > 3);
}

#[test]
fn dropping_the_oldest_does_not_drop_all_where_a_segment_is_larger_than_the_budget() {
    let disk = SimDisk::default();
    let options =
        Options { segment_bytes: 1 << 20, max_bytes: 4000, when_full: WhenFull::DropOldest, memory_bytes: 0 };
    let (mut spool, _) = open_with(&disk, options);
    for _ in 0..100 {
        fill(&mut spool, 1, 100);
        let stats = spool.stats();
        assert!(stats.dropped_records == 0 || stats.next - stats.first >= 20, "{stats:?}");
    }
}

#[test]
fn what_is_trimmed_makes_room_where_its_segment_is_not_full() {
    let disk = SimDisk::default();
    let options = Options { segment_bytes: 1 << 20, max_bytes: 4000, ..options() };
    let (mut spool, _) = open_with(&disk, options);
    for _ in 0..100 {
        let last = fill(&mut spool, 5, 300);
        spool.trim(last).unwrap();
        assert!(spool.stats().bytes <= 4000, "{:?}", spool.stats());
    }
}

#[test]
fn a_record_over_the_whole_budget_goes_alone() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, Options { max_bytes: 400, ..options() });
    fill(&mut spool, 2, 90);
    assert!(matches!(spool.append(&[payload(3, 5000)]), Err(SpoolError::Full { .. })));
    spool.trim(2).unwrap();
    assert_eq!(fill(&mut spool, 1, 5000), 3);
    assert_eq!(disk.names().len(), 1);
    assert!(matches!(spool.append(&[payload(4, 1)]), Err(SpoolError::Full { .. })));
}

#[test]
fn what_is_trimmed_goes_before_a_record_that_needs_its_room() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, Options { max_bytes: 4000, ..options() });
    fill(&mut spool, 1, 200);
    spool.trim(1).unwrap();
    fill(&mut spool, 1, 3900);
    assert!(spool.stats().bytes <= 4000, "{:?}", spool.stats());
}
