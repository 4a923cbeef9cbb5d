//! The spool on its thread.

use std::{pin::Pin, task::Poll};

use bytes::Bytes;
use lapwing_spool::{Log, Options, Recovery, SpoolError, sim::SimDisk};

use super::{in_memory, indexes, open, open_with, options, payload};

fn on(disk: &SimDisk, options: Options) -> Log {
    Log::on(Box::new(disk.clone()), "sim".as_ref(), options).unwrap().0
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
    let (log, recovery) = Log::open(folder.path(), Options::default()).unwrap();
    assert_eq!(recovery.records, 500);
    assert_eq!(log.read(499, 10_000).await.unwrap().len(), 2);
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
    let log = on(&disk, Options { segment_bytes: 100, max_bytes: 400, ..options() });
    for index in 1..=2 {
        assert_eq!(log.append(payload(index, 90)).await.unwrap(), index);
    }
    let mut waiting = Box::pin(log.append(payload(3, 250)));
    let mut behind = Box::pin(log.append(payload(4, 1)));
    // The flush is served after the appends were tried: they are still waiting then.
    assert_eq!(log.flush().await.unwrap(), 2);
    assert!(poll(&mut waiting).await.is_none() && poll(&mut behind).await.is_none());
    log.trim(2).await.unwrap();
    assert_eq!((waiting.await.unwrap(), behind.await.unwrap()), (3, 4));
}

#[tokio::test]
async fn a_record_that_is_too_large_takes_no_other_with_it() {
    let disk = SimDisk::default();
    let log = on(&disk, Options::default());
    let before = log.append(payload(1, 10));
    let large = log.append(Bytes::from(vec![0; (64 << 20) + 1]));
    let after = log.append(payload(2, 10));
    assert!(matches!(large.await, Err(SpoolError::TooLarge { .. })));
    assert_eq!((before.await.unwrap(), after.await.unwrap()), (1, 2));
}

#[tokio::test]
async fn what_waits_for_room_together_goes_as_far_as_there_is_room() {
    let disk = SimDisk::default();
    let log = on(&disk, Options { segment_bytes: 100, max_bytes: 1000, ..options() });
    let mut appends: Vec<_> = (1..=50).map(|index| Box::pin(log.append(payload(index, 76)))).collect();
    let last = log.flush().await.unwrap();
    assert!((5..10).contains(&last), "{last}");
    let rest = appends.split_off(last as usize);
    for (index, append) in (1..).zip(appends) {
        assert_eq!(append.await.unwrap(), index);
    }
    for (index, append) in (last + 1..).zip(rest) {
        log.trim(index - 1).await.unwrap();
        assert_eq!(append.await.unwrap(), index);
    }
}

#[tokio::test]
async fn appends_that_wait_together_share_an_fsync() {
    let disk = SimDisk::default();
    let log = on(&disk, Options { segment_bytes: 1 << 20, max_bytes: 8000, ..options() });
    log.append(payload(1, 7500)).await.unwrap();
    // The first one has no room, so that all wait.
    let appends: Vec<_> =
        [900].into_iter().chain([10; 20]).map(|size| log.append(payload(2, size))).collect();
    log.flush().await.unwrap();
    let before = disk.syncs();
    log.trim(1).await.unwrap();
    for (index, append) in (2..).zip(appends) {
        assert_eq!(append.await.unwrap(), index);
    }
    // Two for the segment that replaces the trimmed one, one for the group, and two should the group need another segment.
    assert!(disk.syncs() - before <= 5, "{} syncs for one group", disk.syncs() - before);
}

#[tokio::test]
async fn the_last_handle_that_is_dropped_spills_what_is_in_memory() {
    let disk = SimDisk::default();
    let log = on(&disk, in_memory(10_000));
    let clone = log.clone();
    for index in 1..=5 {
        assert_eq!(log.append(payload(index, 50)).await.unwrap(), index);
    }
    assert_eq!((log.stats().memory_records, log.stats().durable), (5, 0));
    let unanswered = log.append(payload(6, 50));
    drop(log);
    assert_eq!(indexes(&mut open(&disk).0), []);
    drop(clone);
    disk.crash(|_| 0);
    assert_eq!(indexes(&mut open(&disk).0), [1, 2, 3, 4, 5, 6]);
    assert_eq!(unanswered.await.unwrap(), 6);
}

#[tokio::test]
async fn a_flush_covers_every_append_that_was_called_before() {
    let disk = SimDisk::default();
    let log = on(&disk, in_memory(200));
    let appends: Vec<_> = (1..=20).map(|index| log.append(payload(index, 50))).collect();
    assert_eq!(log.flush().await.unwrap(), 20);
    disk.crash(|_| 0);
    assert_eq!(open_with(&disk, options()).0.stats().next, 21);
    for append in appends {
        append.await.unwrap();
    }
}

#[tokio::test]
async fn an_advance_through_the_handle_is_seen_by_the_next_append() {
    let log = on(&SimDisk::default(), in_memory(1000));
    log.append(payload(1, 10)).await.unwrap();
    log.advance(40).await.unwrap();
    assert_eq!((log.stats().first, log.stats().next), (40, 40));
    assert_eq!(log.append(payload(2, 10)).await.unwrap(), 40);
    assert!(matches!(log.advance(u64::MAX).await, Err(SpoolError::Index { .. })));
}

async fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| match Pin::new(&mut *future).poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
