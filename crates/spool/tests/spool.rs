//! The spool against a plain model, and against every torn and flipped byte.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{collections::BTreeMap, path::PathBuf};

use bytes::Bytes;
use lapwing_spool::{Log, Options, Recovery, Spool, SpoolError, WhenFull, sim::SimDisk};
use proptest::{collection::vec, prelude::*};

fn options() -> Options {
    Options { segment_bytes: 300, max_bytes: 1 << 20, when_full: WhenFull::Block }
}

fn open(disk: &SimDisk) -> (Spool, Recovery) {
    Spool::open(Box::new(disk.clone()), PathBuf::from("sim"), options()).unwrap()
}

fn payload(index: u64, size: usize) -> Bytes {
    (0..size).map(|n| (index as usize * 31 + n) as u8).collect::<Vec<_>>().into()
}

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

#[derive(Debug, Clone)]
enum Action {
    Append(Vec<usize>),
    Sync,
    Trim(u64),
    Reopen,
    Crash(usize),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => vec(0usize..120, 1..4).prop_map(Action::Append),
        3 => Just(Action::Sync),
        1 => (0u64..60).prop_map(Action::Trim),
        1 => Just(Action::Reopen),
        1 => (0usize..400).prop_map(Action::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_spool_agrees_with_a_map_whatever_happens(actions in vec(action(), 1..40)) {
        let disk = SimDisk::default();
        let (mut spool, _) = open(&disk);
        let mut model: BTreeMap<u64, Bytes> = BTreeMap::new();
        let (mut durable, mut trimmed) = (0, 0);
        for action in actions {
            match action {
                Action::Append(sizes) => {
                    let next = spool.stats().next;
                    let payloads: Vec<_> = sizes.iter().zip(next..).map(|(size, index)| payload(index, *size)).collect();
                    let first = spool.append(&payloads).unwrap();
                    prop_assert!(model.keys().next_back().is_none_or(|last| first > *last), "an index was used again");
                    model.extend((first..).zip(payloads));
                }
                Action::Sync => durable = spool.sync().unwrap(),
                Action::Trim(through) => {
                    let through = through.min(durable);
                    spool.trim(through).unwrap();
                    trimmed = trimmed.max(through);
                    model.retain(|index, _| *index > trimmed);
                }
                Action::Reopen | Action::Crash(_) => {
                    drop(spool);
                    if let Action::Crash(keep) = action {
                        disk.crash(|unsynced| keep.min(unsynced));
                    }
                    spool = open(&disk).0;
                    let found = all(&mut spool);
                    for (index, bytes) in &model {
                        prop_assert!(*index > durable || found.get(index) == Some(bytes), "durable record {index} is gone");
                    }
                    for (index, bytes) in &found {
                        // A trim that was not finished may leave records that the model has given up.
                        prop_assert!(*index <= trimmed || model.get(index) == Some(bytes), "record {index} is not what was written");
                    }
                    model = found;
                    model.retain(|index, _| *index > trimmed);
                    spool.trim(trimmed).unwrap();
                    durable = spool.stats().durable;
                }
            }
            prop_assert_eq!(&all(&mut spool), &model);
        }
    }
}

fn three_records() -> (SimDisk, String, Vec<u8>) {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    spool.append(&[payload(1, 40), payload(2, 0), payload(3, 50)]).unwrap();
    spool.sync().unwrap();
    let name = disk.names()[0].clone();
    let mut bytes = Vec::new();
    disk.edit(&name, |file| bytes.clone_from(file));
    (disk, name, bytes)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_to_the_last_whole_record() {
    let (_, name, bytes) = three_records();
    let ends = [32 + 24 + 40, 32 + 24 + 40 + 24, bytes.len()];
    for length in 0..=bytes.len() {
        let (disk, _, _) = three_records();
        disk.edit(&name, |file| file.truncate(length));
        let (mut spool, _) = open(&disk);
        let whole = ends.iter().filter(|end| **end <= length).count() as u64;
        assert_eq!(
            all(&mut spool).keys().copied().collect::<Vec<_>>(),
            (1..=whole).collect::<Vec<_>>(),
            "at {length}"
        );
        let next = spool.append(&[payload(9, 5)]).unwrap();
        assert!(next > whole);
        spool.sync().unwrap();
        drop(spool);
        assert_eq!(
            all(&mut open(&disk).0).len() as u64,
            whole + 1,
            "what is written behind a torn tail stays"
        );
    }
}

#[test]
fn a_flipped_bit_anywhere_costs_one_record_at_most_and_is_never_taken_for_data() {
    let (_, name, bytes) = three_records();
    for place in 0..bytes.len() {
        for bit in [0, 5] {
            let (disk, _, _) = three_records();
            disk.edit(&name, |file| file[place] ^= 1 << bit);
            let (mut spool, report) = open(&disk);
            let found = all(&mut spool);
            assert!(found.len() >= 2, "byte {place}: only {:?} are left", found.keys());
            for (index, bytes) in &found {
                assert_eq!(bytes, &payload(*index, [40, 0, 50][*index as usize - 1]), "byte {place}");
            }
            let counted = report.damaged_records + report.damaged_segments + u64::from(report.torn_bytes > 0);
            assert!(counted > 0, "byte {place}: nothing was counted");
        }
    }
}

#[test]
fn a_missing_segment_is_a_counted_gap() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    for index in 1..=20 {
        spool.append(&[payload(index, 100)]).unwrap();
    }
    spool.sync().unwrap();
    drop(spool);
    let names = disk.names();
    assert!(names.len() > 3);
    lapwing_spool::Disk::remove(&mut disk.clone(), &names[1]).unwrap();
    let (mut spool, report) = open(&disk);
    let found = all(&mut spool);
    assert_eq!(report.missing_records, 20 - found.len() as u64);
    assert!(found.contains_key(&20));
    assert_eq!(spool.append(&[payload(21, 1)]).unwrap(), 21);
}

#[test]
fn a_failed_fsync_is_never_acknowledged_and_poisons_the_spool() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    spool.append(&[payload(1, 10)]).unwrap();
    disk.fail_next_sync();
    assert!(matches!(spool.sync(), Err(SpoolError::Poisoned { .. })));
    assert!(matches!(spool.sync(), Err(SpoolError::Poisoned { .. })));
    assert!(matches!(spool.append(&[payload(2, 10)]), Err(SpoolError::Poisoned { .. })));
    assert_eq!(spool.stats().durable, 0);
}

#[test]
fn a_full_disk_refuses_the_record_and_heals_when_there_is_room() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    spool.append(&[payload(1, 10)]).unwrap();
    for room in 0..60 {
        disk.set_room(Some(room));
        assert!(matches!(spool.append(&[payload(2, 60)]), Err(SpoolError::Disk { .. })), "{room}");
    }
    disk.set_room(None);
    assert_eq!(spool.append(&[payload(2, 60)]).unwrap(), 2);
    spool.sync().unwrap();
    drop(spool);
    assert_eq!(all(&mut open(&disk).0).len(), 2);
}

#[test]
fn the_index_goes_on_after_everything_was_trimmed_and_reopened() {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    for index in 1..=9 {
        spool.append(&[payload(index, 90)]).unwrap();
    }
    spool.sync().unwrap();
    spool.trim(9).unwrap();
    drop(spool);
    let (mut spool, _) = open(&disk);
    spool.trim(9).unwrap();
    assert_eq!(spool.append(&[payload(10, 1)]).unwrap(), 10);
    assert!(disk.names().len() <= 2, "{:?}", disk.names());
}

#[test]
fn dropping_the_oldest_is_counted() {
    let disk = SimDisk::default();
    let options = Options { segment_bytes: 300, max_bytes: 1000, when_full: WhenFull::DropOldest };
    let (mut spool, _) = Spool::open(Box::new(disk.clone()), "sim".into(), options).unwrap();
    for index in 1..=40 {
        spool.append(&[payload(index, 100)]).unwrap();
        assert!(spool.stats().bytes <= 1000 + 300);
    }
    let kept = all(&mut spool).len() as u64;
    assert_eq!(spool.stats().dropped_records, 40 - kept);
    assert!(kept > 3);
}

#[tokio::test]
async fn appends_that_wait_together_are_durable_in_the_order_of_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (log, recovery) = Log::open(folder.path(), Options::default()).unwrap();
    assert_eq!(recovery, Recovery::default());
    let futures: Vec<_> = (1..=500u64).map(|index| log.append(payload(index, 50))).collect();
    for (index, future) in (1..).zip(futures) {
        assert_eq!(future.await.unwrap(), index);
    }
    assert_eq!(log.stats().durable, 500);
    drop(log);
    let again = loop {
        // The thread of the first one ends when its handle is gone.
        match Log::open(folder.path(), Options::default()) {
            Ok((log, recovery)) => break (log, recovery),
            Err(SpoolError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(again.1.records, 500);
    assert_eq!(again.0.read(499, 10_000).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _log = Log::open(folder.path(), Options::default()).unwrap();
    assert!(matches!(Log::open(folder.path(), Options::default()), Err(SpoolError::Locked { .. })));
}

#[tokio::test]
async fn an_append_waits_for_room_until_a_trim_makes_it() {
    let disk = SimDisk::default();
    let options = Options { segment_bytes: 100, max_bytes: 400, when_full: WhenFull::Block };
    let (log, _) = Log::on(Box::new(disk), "sim".as_ref(), options).unwrap();
    for index in 1..=2 {
        assert_eq!(log.append(payload(index, 90)).await.unwrap(), index);
    }
    let mut waiting = Box::pin(log.append(payload(3, 250)));
    // The read is served after the append was tried: it is still waiting then.
    log.read(1, 10).await.unwrap();
    assert!(futures_poll(&mut waiting).await.is_none());
    log.trim(2).await.unwrap();
    assert_eq!(waiting.await.unwrap(), 3);
}

async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    use std::{pin::Pin, task::Poll};
    std::future::poll_fn(|context| match Pin::new(&mut *future).poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
