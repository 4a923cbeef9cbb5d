//! Rows in memory over a store that can be slow or broken.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arrow::array::{Array, AsArray};
use async_trait::async_trait;
use lapwing::columns::{Attributes, Bodies, Column, Columns, LogColumns, Text};
use lapwing_store::{
    Flush, LakeSnapshot, Store, StoreError, Table, Tables, TablesOptions,
    rows::{About, record_batch},
};

/// Remembers what was committed.
struct Fake {
    broken: AtomicBool,
    tries: tokio::sync::Semaphore,
    commits: Mutex<Vec<(u64, usize)>>,
}

impl Default for Fake {
    fn default() -> Self {
        Self { broken: false.into(), tries: tokio::sync::Semaphore::new(0), commits: Mutex::default() }
    }
}

#[async_trait]
impl Store for Fake {
    async fn committed(&self) -> Result<u64, StoreError> {
        Ok(self.commits.lock().unwrap().last().map_or(0, |commit| commit.0))
    }

    async fn commit(&self, flush: &Flush) -> Result<(), StoreError> {
        self.tries.add_permits(1);
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Lake("broken".to_owned()));
        }
        let rows = flush.tables.iter().flat_map(|(_, batches)| batches).map(|batch| batch.num_rows()).sum();
        self.commits.lock().unwrap().push((flush.through, rows));
        Ok(())
    }

    async fn snapshot(&self) -> Result<LakeSnapshot, StoreError> {
        Ok(LakeSnapshot::default())
    }
}

fn logs(bodies: &[&[u8]], attributes: Attributes) -> Columns {
    let rows = bodies.len();
    Columns::Logs(LogColumns {
        time: Column::constant(rows, 0),
        observed_time: Column::constant(rows, 7),
        severity_number: Column::constant(rows, 0),
        severity_text: Column::constant(rows, Text::default()),
        source: Column::constant(rows, Text::from("a source that is longer than twelve bytes")),
        attributes: Column::constant(rows, attributes),
        bodies: bodies.iter().copied().collect::<Bodies>(),
    })
}

fn batch(columns: &Columns, index: u64) -> (Table, arrow::record_batch::RecordBatch) {
    let resource: Attributes =
        [("host.name", "h"), ("service.instance.id", "0123456789abcdef")].into_iter().collect();
    record_batch(
        columns,
        &About { agent: "a".to_owned(), resource, time_zone: String::new(), journal_index: index },
    )
    .unwrap()
}

fn at_once() -> TablesOptions {
    TablesOptions { flush_age: Duration::from_millis(1), ..TablesOptions::default() }
}

async fn append(tables: &Tables, index: u64) {
    tables.append(index, Some(batch(&logs(&[b"one"], Attributes::default()), index))).await;
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

fn memory_rows(tables: &Tables) -> usize {
    tables.view().memory.iter().map(|(_, batch)| batch.num_rows()).sum()
}

#[tokio::test]
async fn a_flush_that_fails_at_the_end_is_not_jumped_over() {
    let store = Arc::new(Fake::default());
    store.broken.store(true, Ordering::SeqCst);
    let tables = Tables::open(Arc::clone(&store) as _, at_once()).await.unwrap();
    append(&tables, 1).await;
    let run = tokio::spawn({
        let tables = Arc::clone(&tables);
        async move { tables.run().await }
    });
    store.tries.acquire().await.unwrap().forget();
    append(&tables, 2).await;
    tables.close();
    store.tries.acquire().await.unwrap().forget();
    // The store is well again, but record 1 was given up: record 2 must not be committed without it.
    store.broken.store(false, Ordering::SeqCst);
    append(&tables, 3).await;
    run.await.unwrap();
    assert_eq!(*store.commits.lock().unwrap(), []);
    assert_eq!(memory_rows(&tables), 3);
}

#[tokio::test]
async fn a_failing_store_is_tried_again_and_rows_stay_visible() {
    let store = Arc::new(Fake::default());
    store.broken.store(true, Ordering::SeqCst);
    let tables = Tables::open(Arc::clone(&store) as _, at_once()).await.unwrap();
    append(&tables, 1).await;
    let run = tokio::spawn({
        let tables = Arc::clone(&tables);
        async move { tables.run().await }
    });
    store.tries.acquire_many(3).await.unwrap().forget();
    tokio::task::yield_now().await;
    assert_eq!(memory_rows(&tables), 1);
    assert!(tables.stats().flush_error.is_some_and(|error| error.contains("broken")));
    store.broken.store(false, Ordering::SeqCst);
    let mut committed = tables.committed();
    committed.wait_for(|through| *through == 1).await.unwrap();
    assert_eq!((memory_rows(&tables), tables.stats().flush_error), (0, None));
    tables.close();
    run.await.unwrap();
    assert_eq!(*store.commits.lock().unwrap(), [(1, 1)]);
}

#[tokio::test]
async fn a_replayed_record_is_not_there_twice() {
    let store = Arc::new(Fake::default());
    let tables = Tables::open(Arc::clone(&store) as _, TablesOptions::default()).await.unwrap();
    append(&tables, 1).await;
    append(&tables, 1).await;
    tables.append(2, None).await;
    append(&tables, 2).await;
    assert_eq!(memory_rows(&tables), 1);
    tables.close();
    within(tables.run()).await;
    assert_eq!(*store.commits.lock().unwrap(), [(2, 1)]);
    let tables = Tables::open(Arc::clone(&store) as _, TablesOptions::default()).await.unwrap();
    append(&tables, 2).await;
    assert_eq!(memory_rows(&tables), 0);
}

#[tokio::test]
async fn appends_wait_for_room_and_closing_frees_them() {
    let store = Arc::new(Fake::default());
    store.broken.store(true, Ordering::SeqCst);
    let options = TablesOptions { max_bytes: 1, ..TablesOptions::default() };
    let tables = Tables::open(Arc::clone(&store) as _, options).await.unwrap();
    append(&tables, 1).await;
    let waiting = tokio::spawn({
        let tables = Arc::clone(&tables);
        async move { append(&tables, 2).await }
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    tables.close();
    within(waiting).await.unwrap();
}

#[tokio::test]
async fn a_tail_sees_what_arrives_and_learns_what_it_missed() {
    let tables = Tables::open(Arc::new(Fake::default()), TablesOptions::default()).await.unwrap();
    append(&tables, 1).await;
    let position = tables.position(Table::Logs);
    let mut visible = tables.visible();
    assert!(tables.after(Table::Logs, position).is_none());

    append(&tables, 2).await;
    within(visible.changed()).await.unwrap();
    let seen = tables.after(Table::Logs, position).unwrap();
    assert_eq!((seen.rows.num_rows(), seen.position), (1, 1));

    // What was flushed meanwhile is not kept for it.
    let flushing = tokio::spawn({
        let tables = Arc::clone(&tables);
        async move { tables.run().await }
    });
    for index in 3..1000 {
        append(&tables, index).await;
    }
    tables.close();
    within(flushing).await.unwrap();
    assert!(tables.after(Table::Logs, 2).is_none());
    append(&tables, 1000).await;
    assert_eq!(tables.after(Table::Logs, 2).unwrap().position, 999, "the rows in between are counted");
}

#[tokio::test]
async fn a_tail_goes_on_in_the_middle_of_a_batch() {
    let tables = Tables::open(Arc::new(Fake::default()), TablesOptions::default()).await.unwrap();
    let rows = batch(&logs(&[&b"x"[..]; 7], Attributes::default()), 1);
    tables.append(1, Some(rows)).await;
    let rest = tables.after(Table::Logs, 5).unwrap();
    assert_eq!((rest.rows.num_rows(), rest.position), (2, 5));
    assert!(tables.after(Table::Metrics, 0).is_none(), "each table has positions of its own");
}

#[test]
fn a_record_without_a_time_gets_its_observed_time() {
    let (_, rows) = batch(&logs(&[b"x"], Attributes::default()), 1);
    assert_eq!(rows.column(0).to_data(), rows.column(1).to_data());
}

#[test]
fn bodies_keep_their_bytes() {
    let long = "ä".repeat(30);
    let (head, tail) = long.as_bytes().split_at(31);
    let (_, rows) = batch(
        &logs(&[b"", b"plain", b"\xff\xfe broken", long.as_bytes(), head, tail], Attributes::default()),
        1,
    );
    let (body, raw) = (rows.column(6).as_string_view(), rows.column(7).as_binary_view());
    assert_eq!((body.value(0), body.value(1), body.value(3)), ("", "plain", long.as_str()));
    assert_eq!(body.value(2), "\u{fffd}\u{fffd} broken");
    let kept: Vec<_> = raw.iter().collect();
    assert_eq!(kept, [None, None, Some(&b"\xff\xfe broken"[..]), None, Some(head), Some(tail)]);
}

#[test]
fn attributes_that_all_rows_share_are_stored_once() {
    let attributes: Attributes = [("k", "v".repeat(1000)), ("l", String::new())].into_iter().collect();
    let (_, rows) = batch(&logs(&vec![&b"x"[..]; 7000], attributes), 1);
    assert!(rows.get_array_memory_size() < 7000 * 400, "{} bytes", rows.get_array_memory_size());
    let map = rows.column(8).as_map();
    let last = map.value(6999);
    assert_eq!(last.column(1).as_string_view().value(0).len(), 1000);
    assert_eq!(last.column(0).as_string_view().value(1), "l");
}

#[test]
fn a_run_that_would_fill_the_memory_is_refused() {
    let attributes: Attributes = (0..128).map(|n| (format!("key {n}"), "v")).collect();
    let columns = logs(&vec![&b""[..]; 1 << 20], attributes);
    let about = About {
        agent: "a".to_owned(),
        resource: Attributes::default(),
        time_zone: String::new(),
        journal_index: 1,
    };
    let error = record_batch(&columns, &about).unwrap_err();
    assert!(error.to_string().contains("134217728 pairs"), "{error}");
}
