//! Metric points through the agent's spool: what can't be observed twice must be readable twice.
//!
//! Each tick's points are one record. It stays in memory while the collector takes it; when it was not acknowledged by the next
//! tick, all that waits is made durable.

use std::sync::Arc;

use bytes::Bytes;
use lapwing::{
    columns::{Columns, MetricColumns},
    limits::Limits,
    v1::{Signal, SourcePosition, source_position::Position},
};
use lapwing_spool::{Log, SpoolError};
use tokio::sync::{Notify, mpsc::Receiver, mpsc::Sender, watch};
use tokio_util::sync::CancellationToken;

use crate::{counters::Counters, input::Input};

/// The source's name at the collector.
pub const SOURCE: &str = "spool";
/// Bytes read from the spool at a time.
const READ_BYTES: usize = 256 << 10;

/// Appends the points of each tick to the spool, until no more come. Then makes durable what is not acknowledged.
pub async fn record(
    mut points: Receiver<MetricColumns>,
    spool: Log,
    appended: Arc<Notify>,
    counters: Arc<Counters>,
) {
    let mut dropped = 0;
    while let Some(columns) = points.recv().await {
        let rows = columns.time.rows() as u64;
        if spool.stats().memory_records > 0 {
            complain("make what waits durable", spool.flush().await);
        }
        match spool.append(encode(columns)).await {
            Ok(_) => counters.points_read.add(rows),
            Err(error) => complain("append", Err::<(), _>(error)),
        }
        let stats = spool.stats();
        counters.records_dropped.add(stats.dropped_records.saturating_sub(dropped));
        dropped = stats.dropped_records;
        counters.spool_bytes.set(stats.bytes + stats.memory_bytes);
        appended.notify_one();
    }
    complain("make what waits durable", spool.flush().await);
}

fn complain<T>(action: &str, result: Result<T, SpoolError>) {
    if let Err(error) = result {
        tracing::error!("metrics: {action}: {error}");
    }
}

/// A record: the number of rows, then the columns.
fn encode(columns: MetricColumns) -> Bytes {
    let columns = Columns::Metrics(columns);
    let mut record = (columns.rows() as u32).to_le_bytes().to_vec();
    columns.encode_head(0, &mut record);
    record.into()
}

fn decode(record: &Bytes) -> Option<MetricColumns> {
    let rows = u32::from_le_bytes(record.get(..4)?.try_into().ok()?);
    match Columns::decode(record.slice(4..), Signal::Metrics, rows, &Limits::default()) {
        Ok(Columns::Metrics(columns)) => Some(columns),
        _ => None,
    }
}

/// Hands records on to the pipeline, from the first one that the collector does not hold, until `stop`.
pub async fn replay(
    spool: Log,
    from: u64,
    appended: Arc<Notify>,
    out: Sender<Vec<Input>>,
    stop: CancellationToken,
) {
    let mut next = from;
    loop {
        let records = tokio::select! {
            records = spool.read(next, READ_BYTES) => records,
            () = stop.cancelled() => return,
        };
        let records = match records {
            Ok(records) if records.is_empty() => {
                tokio::select! { () = appended.notified() => continue, () = stop.cancelled() => return }
            }
            Ok(records) => records,
            Err(SpoolError::Damaged { index, .. }) => {
                tracing::error!("metrics: record {index} of the spool is damaged and left out");
                next = index + 1;
                continue;
            }
            Err(error) => {
                tracing::error!("metrics: {error}; not shipping metrics until the next start");
                return stop.cancelled().await;
            }
        };
        for record in records {
            next = record.index + 1;
            let Some(columns) = decode(&record.payload) else {
                tracing::error!("metrics: record {} of the spool is not metrics and left out", record.index);
                continue;
            };
            let input = Input::Metrics { columns, position: position(next) };
            let sent = tokio::select! { sent = out.send(vec![input]) => sent.is_ok(), () = stop.cancelled() => false };
            if !sent {
                return;
            }
        }
    }
}

/// Gives up what the collector holds.
pub async fn trim(spool: Log, mut durable: watch::Receiver<u64>) {
    while durable.changed().await.is_ok() {
        let next = *durable.borrow_and_update();
        complain("trim", spool.trim(next.saturating_sub(1)).await);
    }
}

fn position(next: u64) -> SourcePosition {
    SourcePosition {
        source: SOURCE.to_owned(),
        position: Some(Position::SpoolIndex(next)),
        closed: false,
        display_name: "metrics".to_owned(),
    }
}

/// The record that the collector wants next, by what it holds; 0 when it holds nothing.
pub fn next_record(held: &[SourcePosition]) -> u64 {
    let index = |position: &SourcePosition| match position.position {
        Some(Position::SpoolIndex(next)) if position.source == SOURCE => Some(next),
        _ => None,
    };
    held.iter().find_map(index).unwrap_or(0)
}
