//! Whatever bytes stand in the segments: recovery does not panic, takes nothing for a record that was not written under its
//! index, gives no index of a durable record again, and finds the same a second time.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use lapwing_spool::{Disk, Options, Spool, WhenFull, sim::SimDisk};
use libfuzzer_sys::{arbitrary, fuzz_target};

#[derive(Debug, arbitrary::Arbitrary)]
enum Input<'a> {
    /// Files of any bytes, by the index in their name.
    Raw(Vec<(u64, &'a [u8])>),
    /// Segments that a spool wrote, then damaged.
    Damaged { groups: Vec<Vec<u8>>, advance: u8, clean: bool, damage: Vec<(u8, u16, u8)> },
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Raw(files) => {
            let mut disk = SimDisk::default();
            for (index, bytes) in files {
                let name = format!("{index:020}.spool");
                if disk.create(&name).is_ok() {
                    disk.append(&name, &[bytes]).expect("there is room");
                }
            }
            if Spool::open(Box::new(disk.clone()), "raw".into(), options()).is_ok() {
                assert_eq!(read(&disk).1, read(&disk).1);
            }
        }
        Input::Damaged { groups, advance, clean, damage } => damaged(&groups, advance, clean, &damage),
    }
});

fn options() -> Options {
    Options { segment_bytes: 400, max_bytes: 1 << 20, when_full: WhenFull::Block, memory_bytes: 0 }
}

/// Appends groups of records of these sizes, flips bits and reads what is left.
fn damaged(groups: &[Vec<u8>], advance: u8, clean: bool, damage: &[(u8, u16, u8)]) {
    let disk = SimDisk::default();
    let mut written = BTreeMap::new();
    let (mut spool, _) =
        Spool::open(Box::new(disk.clone()), "damaged".into(), options()).expect("it is empty");
    spool.advance(u64::from(advance)).expect("a small index");
    for sizes in groups.iter().filter(|sizes| !sizes.is_empty()) {
        let payloads: Vec<_> =
            sizes.iter().map(|size| Bytes::from(vec![*size; usize::from(*size)])).collect();
        let first = spool.append(&payloads).expect("there is room");
        spool.sync().expect("the disk is well");
        written.extend((first..).zip(payloads));
    }
    if clean {
        spool.close().expect("the disk is well");
    }
    let next = spool.stats().next;
    drop(spool);
    let names = disk.names();
    for (file, place, bits) in damage {
        disk.edit(&names[usize::from(*file) % names.len()], |bytes| {
            let place = usize::from(*place) % bytes.len();
            bytes[place] ^= bits;
        });
    }
    let (found_next, found) = read(&disk);
    assert!(found.iter().all(|(index, bytes)| written.get(index) == Some(bytes)));
    assert!(found_next >= next, "index {found_next} is given again");
    assert!(!damage.is_empty() || found == written, "a record is gone");
    assert_eq!(read(&disk).1, found);
}

/// Opens the spool and reads all: the next index, and the records.
fn read(disk: &SimDisk) -> (u64, BTreeMap<u64, Bytes>) {
    let (mut spool, report) =
        Spool::open(Box::new(disk.clone()), "again".into(), options()).expect("damage is no error");
    let records = spool.read(0, usize::MAX).expect("nothing changed since it was opened");
    assert_eq!(report.records, records.len() as u64);
    (spool.stats().next, records.into_iter().map(|record| (record.index, record.payload)).collect())
}
