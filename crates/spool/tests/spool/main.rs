//! The spool against a plain model, and against everything that can happen to a disk.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod damage;
mod disk;
mod format;
mod full;
mod index;
mod inspect;
mod log;
mod memory;
mod model;

use std::collections::BTreeMap;

use bytes::Bytes;
use lapwing_spool::{Options, Recovery, Spool, SpoolError, WhenFull, sim::SimDisk};

/// Segments of a few records, room for all.
fn options() -> Options {
    Options { segment_bytes: 300, max_bytes: 1 << 20, when_full: WhenFull::Block, memory_bytes: 0 }
}

fn in_memory(memory_bytes: u64) -> Options {
    Options { memory_bytes, ..options() }
}

fn open(disk: &SimDisk) -> (Spool, Recovery) {
    open_with(disk, options())
}

fn open_with(disk: &SimDisk, options: Options) -> (Spool, Recovery) {
    try_open(disk, options).unwrap()
}

fn try_open(disk: &SimDisk, options: Options) -> Result<(Spool, Recovery), SpoolError> {
    Spool::open(Box::new(disk.clone()), "sim".into(), options)
}

fn payload(seed: u64, size: usize) -> Bytes {
    (0..size).map(|n| (seed as usize * 31 + n) as u8).collect::<Vec<_>>().into()
}

/// Appends records of `size` bytes, each in a group of its own, and gives the last index.
fn fill(spool: &mut Spool, count: u64, size: usize) -> u64 {
    for _ in 0..count {
        let next = spool.stats().next;
        assert_eq!(spool.append(&[payload(next, size)]).unwrap(), next);
        spool.sync().unwrap();
    }
    spool.stats().next - 1
}

/// Everything that can be read, in small bites.
fn all(spool: &mut Spool) -> BTreeMap<u64, Bytes> {
    let mut found = BTreeMap::new();
    let mut from = 1;
    loop {
        let records = spool.read(from, 100).unwrap();
        let Some(last) = records.last() else { return found };
        from = last.index + 1;
        found.extend(records.into_iter().map(|record| (record.index, record.payload)));
    }
}

fn indexes(spool: &mut Spool) -> Vec<u64> {
    all(spool).into_keys().collect()
}
