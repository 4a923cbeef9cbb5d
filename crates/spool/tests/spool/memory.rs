//! Records that stay in memory first.

use lapwing_spool::{Options, Recovery, SpoolError, WhenFull, sim::SimDisk};

use super::{all, fill, format::contents, in_memory, indexes, open_with, options, payload};

/// What a record of 76 bytes takes.
const RECORD: u64 = 100;

fn bytes_on_disk(disk: &SimDisk) -> usize {
    disk.names().iter().map(|name| contents(disk, name).len() - 32).sum()
}

#[test]
fn what_is_acknowledged_in_memory_never_touches_the_disk() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, in_memory(3 * RECORD));
    for _ in 0..50 {
        let last = fill(&mut spool, 3, 76);
        assert_eq!((spool.stats().memory_records, spool.stats().memory_bytes), (3, 3 * RECORD));
        spool.trim(last).unwrap();
    }
    assert_eq!(bytes_on_disk(&disk), 0);
    assert_eq!((spool.stats().next, spool.stats().memory_bytes), (151, 0));
}

#[test]
fn memory_over_its_budget_is_spilled_and_both_are_read_as_one() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, in_memory(3 * RECORD));
    fill(&mut spool, 4, 76);
    let stats = spool.stats();
    assert_eq!((stats.durable, stats.memory_records, stats.next), (3, 1, 5));
    assert_eq!(indexes(&mut spool), [1, 2, 3, 4]);
    assert_eq!(spool.read(3, 76).unwrap().len(), 1);
    assert_eq!(spool.read(3, 2 * 76).unwrap().len(), 2, "one of the disk and one of the memory");
    disk.crash(|_| 0);
    assert_eq!(indexes(&mut open_with(&disk, options()).0), [1, 2, 3]);
}

#[test]
fn what_is_flushed_or_closed_is_durable() {
    for close in [false, true] {
        let disk = SimDisk::default();
        let (mut spool, _) = open_with(&disk, in_memory(10_000));
        fill(&mut spool, 5, 76);
        if close {
            spool.close().unwrap();
        } else {
            assert_eq!(spool.flush().unwrap(), 5);
        }
        assert_eq!((spool.stats().durable, spool.stats().memory_records), (5, 0));
        disk.crash(|_| 0);
        assert_eq!(indexes(&mut open_with(&disk, options()).0), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn what_was_trimmed_in_memory_before_a_spill_is_no_missing_record() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, in_memory(10_000));
    fill(&mut spool, 2, 76);
    spool.flush().unwrap();
    fill(&mut spool, 6, 76);
    spool.trim(5).unwrap();
    spool.flush().unwrap();
    // The segment that the trim removed comes back.
    disk.crash(|_| 0);
    let (mut spool, report) = open_with(&disk, options());
    assert_eq!(indexes(&mut spool), [1, 2, 6, 7, 8]);
    assert_eq!(report, Recovery { records: 5, ..Recovery::default() });
}

#[test]
fn a_record_larger_than_the_memory_goes_to_the_disk_in_its_order() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, in_memory(3 * RECORD));
    for size in [76, 5000, 76] {
        let next = spool.stats().next;
        assert_eq!(spool.append(&[payload(next, size)]).unwrap(), next);
    }
    spool.sync().unwrap();
    assert_eq!((spool.stats().durable, spool.stats().memory_records), (2, 1));
    assert_eq!(indexes(&mut spool), [1, 2, 3]);
}

#[test]
fn a_disk_that_is_full_at_the_spill_refuses_new_records_and_keeps_the_old_ones() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, in_memory(3 * RECORD));
    fill(&mut spool, 3, 76);
    for room in [0, 1, 50, 150, 299] {
        disk.set_room(Some(room));
        assert!(matches!(spool.append(&[payload(4, 76)]), Err(SpoolError::Disk { .. })));
        assert!(matches!(spool.flush(), Err(SpoolError::Disk { .. })));
        assert_eq!((indexes(&mut spool), spool.stats().next), (vec![1, 2, 3], 4), "room {room}");
    }
    spool.trim(1).unwrap();
    assert_eq!(spool.append(&[payload(4, 76)]).unwrap(), 4, "a trim makes room in memory");
    disk.set_room(None);
    assert_eq!(spool.flush().unwrap(), 4);
    assert_eq!(indexes(&mut spool), [2, 3, 4]);
}

#[test]
fn a_disk_that_is_full_at_the_spill_costs_the_oldest_records_and_they_are_counted() {
    let disk = SimDisk::default();
    let options = Options { when_full: WhenFull::DropOldest, ..in_memory(3 * RECORD) };
    let (mut spool, _) = open_with(&disk, options.clone());
    fill(&mut spool, 2, 76);
    spool.flush().unwrap();
    disk.set_room(Some(0));
    fill(&mut spool, 5, 76);
    // What is on the disk already is not in the way.
    assert_eq!(indexes(&mut spool), [1, 2, 5, 6, 7]);
    assert_eq!((spool.stats().dropped_records, spool.stats().first), (2, 1));
    assert!(matches!(spool.append(&[payload(8, 500)]), Err(SpoolError::Disk { .. })), "it fits nowhere");
    disk.set_room(None);
    assert_eq!(spool.flush().unwrap(), 7);
    drop(spool);
    let (mut spool, report) = open_with(&disk, options);
    assert_eq!(indexes(&mut spool), [1, 2, 5, 6, 7]);
    assert_eq!(report, Recovery { records: 5, ..Recovery::default() });
}

#[test]
fn the_oldest_index_moves_with_what_memory_drops() {
    let disk = SimDisk::default();
    let (mut spool, _) =
        open_with(&disk, Options { when_full: WhenFull::DropOldest, ..in_memory(3 * RECORD) });
    disk.set_room(Some(0));
    fill(&mut spool, 5, 76);
    assert_eq!((spool.stats().first, spool.stats().dropped_records), (3, 2));
}

#[test]
fn with_no_budget_left_on_the_disk_memory_fills_and_then_waits() {
    let disk = SimDisk::default();
    let options = Options { max_bytes: 400, ..in_memory(2 * RECORD) };
    let (mut spool, _) = open_with(&disk, options);
    fill(&mut spool, 3, 76);
    spool.flush().unwrap();
    fill(&mut spool, 2, 76);
    assert!(matches!(spool.append(&[payload(6, 76)]), Err(SpoolError::Full { .. })));
    assert_eq!(indexes(&mut spool), [1, 2, 3, 4, 5]);
    spool.trim(3).unwrap();
    assert_eq!(fill(&mut spool, 1, 76), 6);
}

#[test]
fn a_failed_fsync_at_the_spill_poisons_and_memory_can_still_be_read() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, in_memory(3 * RECORD));
    fill(&mut spool, 2, 76);
    spool.flush().unwrap();
    fill(&mut spool, 3, 76);
    disk.fail_next_sync();
    assert!(matches!(spool.append(&[payload(6, 76)]), Err(SpoolError::Poisoned { .. })));
    assert!(matches!(spool.flush(), Err(SpoolError::Poisoned { .. })));
    assert_eq!(all(&mut spool), (1..=5).map(|index| (index, payload(index, 76))).collect());
    assert_eq!((spool.stats().durable, spool.stats().memory_records), (2, 3));
}

#[test]
fn records_without_a_payload_have_their_bound_too() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, in_memory(1000));
    fill(&mut spool, 200, 0);
    assert!(spool.stats().memory_records <= 1000 / 24);
    assert_eq!(all(&mut spool).len(), 200);
}
