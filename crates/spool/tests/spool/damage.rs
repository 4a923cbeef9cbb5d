//! Torn and flipped bytes, lost files, and what a power loss leaves.

use lapwing_spool::{Disk, Recovery, SpoolError, sim::SimDisk};

use super::{
    all, fill,
    format::{contents, disk_with, head, record},
    in_memory, indexes, open, open_with, payload,
};

const FIRST: &str = "00000000000000000001.spool";
const SIZES: [usize; 3] = [40, 0, 50];

/// Three records in one segment, each in a group of its own.
fn three_records() -> SimDisk {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    for (index, size) in (1..).zip(SIZES) {
        spool.append(&[payload(index, size)]).unwrap();
        spool.sync().unwrap();
    }
    disk
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_to_the_last_whole_record() {
    let bytes = contents(&three_records(), FIRST);
    let ends = [32 + 24 + 40, 32 + 24 + 40 + 24, bytes.len()];
    for length in 0..=bytes.len() {
        let disk = three_records();
        disk.edit(FIRST, |file| file.truncate(length));
        let (mut spool, report) = open(&disk);
        let whole = ends.iter().filter(|end| **end <= length).count() as u64;
        assert_eq!(indexes(&mut spool), (1..=whole).collect::<Vec<_>>(), "at {length}");
        let end = [0, 32].into_iter().chain(ends).rfind(|end| *end <= length).unwrap();
        let torn_bytes = (length - end) as u64;
        assert_eq!(report, Recovery { records: whole, torn_bytes, ..Recovery::default() }, "at {length}");
        assert!(fill(&mut spool, 1, 5) > whole);
        drop(spool);
        let (mut spool, report) = open(&disk);
        assert_eq!(all(&mut spool).len() as u64, whole + 1, "what is written behind a torn tail stays");
        assert_eq!(report, Recovery { records: whole + 1, ..Recovery::default() }, "it is reported once");
    }
}

#[test]
fn a_flipped_bit_anywhere_costs_one_record_at_most_and_is_never_taken_for_data() {
    let bytes = contents(&three_records(), FIRST);
    for place in 0..bytes.len() {
        for bit in [0, 5, 7] {
            let disk = three_records();
            disk.edit(FIRST, |file| file[place] ^= 1 << bit);
            let (mut spool, report) = open(&disk);
            let found = all(&mut spool);
            assert!(found.len() >= 2, "byte {place}: only {:?} are left", found.keys());
            for (index, bytes) in &found {
                assert_eq!(bytes, &payload(*index, SIZES[*index as usize - 1]), "byte {place}");
            }
            let counted = report.damaged_records + report.damaged_segments + u64::from(report.torn_bytes > 0);
            assert!(counted > 0, "byte {place}: nothing was counted");
            assert_eq!(report.missing_records, 0, "byte {place}");
        }
    }
}

#[test]
fn a_flipped_bit_costs_one_record_of_a_whole_group_that_was_closed_cleanly() {
    for place in 0..32 + 3 * 24 + 90 {
        let disk = SimDisk::default();
        let (mut spool, _) = open(&disk);
        spool.append(&[payload(1, 40), payload(2, 0), payload(3, 50)]).unwrap();
        spool.close().unwrap();
        drop(spool);
        disk.edit(FIRST, |file| file[place] ^= 1);
        let (mut spool, report) = open(&disk);
        let whole = all(&mut spool).len() as u64;
        assert!(whole >= 2, "byte {place}");
        assert_eq!((whole + report.damaged_records, report.torn_bytes), (3, 0), "byte {place}");
    }
}

#[test]
fn no_record_outlives_one_of_its_group_that_was_not_written() {
    for hole in [0..24, 10..30, 30..60] {
        let disk = SimDisk::default();
        let (mut spool, _) = open(&disk);
        fill(&mut spool, 1, 10);
        // Never synced: the disk wrote the later pages of it and not the earlier ones.
        spool.append(&[payload(2, 40), payload(3, 40), payload(4, 40)]).unwrap();
        disk.crash_with(|unsynced| unsynced.iter_mut().take(hole.end).skip(hole.start).for_each(|b| *b = 0));
        let (mut spool, report) = open(&disk);
        assert_eq!(indexes(&mut spool), [1], "hole {hole:?}");
        assert_eq!(report, Recovery { records: 1, torn_bytes: 3 * 64, ..Recovery::default() });
        assert!(fill(&mut spool, 1, 1) > 4);
        drop(spool);
        assert_eq!(all(&mut open(&disk).0).len(), 2, "they stay away");
    }
}

#[test]
fn no_index_of_a_damaged_record_is_given_again() {
    for (from, to) in [(32, 33), (32 + 24, 32 + 25)] {
        let disk = SimDisk::default();
        let (mut spool, _) = open(&disk);
        let last = fill(&mut spool, 4, 30);
        drop(spool);
        // The last three of four, by their headers or by their payloads.
        disk.edit(FIRST, |file| {
            for record in 1..4 {
                file[from + record * 54..to + record * 54].fill(0x55);
            }
        });
        let (mut spool, _) = open(&disk);
        assert_eq!(indexes(&mut spool), [1]);
        assert!(fill(&mut spool, 1, 1) > last);
    }
}

#[test]
fn a_missing_segment_is_a_counted_gap() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 20, 100);
    drop(spool);
    let names = disk.names();
    assert!(names.len() > 3);
    disk.clone().remove(&names[1]).unwrap();
    let (mut spool, report) = open(&disk);
    let found = all(&mut spool);
    assert_eq!(report.missing_records, 20 - found.len() as u64);
    assert!(found.contains_key(&20));
    assert_eq!(spool.append(&[payload(21, 1)]).unwrap(), 21);
}

#[test]
fn a_damaged_end_of_an_older_segment_is_damage_and_not_a_missing_record() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 9, 100);
    drop(spool);
    disk.edit(FIRST, |file| {
        let last = file.len() - 124;
        file[last] ^= 1;
    });
    let report = open(&disk).1;
    assert_eq!((report.records, report.damaged_records, report.missing_records), (8, 1, 0));
}

#[test]
fn records_before_one_that_is_damaged_later_are_still_read() {
    let disk = three_records();
    let (mut spool, _) = open(&disk);
    disk.edit(FIRST, |file| *file.last_mut().unwrap() ^= 1);
    let read: Vec<_> = spool.read(1, 10_000).unwrap().iter().map(|record| record.index).collect();
    assert_eq!(read, [1, 2]);
    assert!(matches!(spool.read(3, 10_000), Err(SpoolError::Damaged { index: 3, .. })));
}

#[test]
fn a_damaged_record_is_not_jumped_over_on_the_way_to_memory() {
    let disk = SimDisk::default();
    let (mut spool, _) = open_with(&disk, in_memory(1000));
    fill(&mut spool, 2, 10);
    spool.flush().unwrap();
    fill(&mut spool, 1, 10);
    disk.edit(FIRST, |file| *file.last_mut().unwrap() ^= 1);
    let mut read =
        |from| spool.read(from, 10_000).map(|records| records.iter().map(|r| r.index).collect::<Vec<_>>());
    assert_eq!(read(1).unwrap(), [1]);
    assert!(matches!(read(2), Err(SpoolError::Damaged { index: 2, .. })));
    assert_eq!(read(3).unwrap(), [3]);
}

#[test]
fn a_header_with_an_index_that_can_not_be_there_is_not_a_record() {
    // Between two records stands a whole header, as a chance match would: its index is far ahead of what was passed over.
    let stray = record(1, 1 << 40, b"", true);
    let parts = [
        head(1, 1, 1).to_vec(),
        record(1, 1, b"one", true),
        stray,
        record(1, 3, b"three", true),
        record(1, 4, b"four", true),
    ];
    let disk = disk_with(FIRST, &parts.concat());
    let (mut spool, report) = open(&disk);
    assert_eq!(indexes(&mut spool), [1, 3, 4]);
    assert_eq!(report, Recovery { records: 3, damaged_records: 1, ..Recovery::default() });
    assert_eq!(spool.stats().next, 5);
}

#[test]
fn foreign_names_are_no_segments() {
    let names = ["18446744073709551615.spool", "00000000000000000000.spool", "1.spool", "notes.txt"];
    let mut disk = SimDisk::default();
    for name in names {
        disk.create(name).unwrap();
        disk.append(name, &[b"not ours"]).unwrap();
    }
    let (mut spool, report) = open(&disk);
    assert_eq!(report, Recovery::default());
    assert_eq!(fill(&mut spool, 1, 1), 1);
    for name in names {
        assert_eq!(contents(&disk, name), b"not ours");
    }
}
