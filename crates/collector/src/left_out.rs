//! Rows that could not be made of a batch, in the books of its sender.
//!
//! What a batch books is written before its rows are made, and rows that can't be made are in no table: without a word of it they would be on
//! their way for ever. So they are dropped for a cause of their own, durably, before their record passes: a start that does not make
//! these rows again, since the store is past them, knows of it by a record of the journal or by the snapshot behind that.

use std::sync::Arc;

use anyhow::Result;
use lapwing_delivery::journal::{LeftOutRecord, Record};
use lapwing_spool::Log;

use crate::agents::Agents;

/// Books what is left out.
#[derive(Debug, Clone)]
pub struct LeftOut {
    /// The journal.
    pub journal: Log,
    /// Whose books.
    pub agents: Arc<Agents>,
    /// Bytes of the journal beyond which nothing is told it: waiting for room would hold up the snapshot that makes some.
    pub journal_room: u64,
}

impl LeftOut {
    /// Books that the rows of journal record `index`, which was applied, are left out. Gives the index of the record that says so, when
    /// there is a new one: it is to pass, too.
    pub async fn book(&self, index: u64) -> Option<u64> {
        self.try_book(index).await.unwrap_or_else(|error| {
            tracing::error!(
                "journal record {index}: the ledger can't be told that its rows are left out: {error}"
            );
            None
        })
    }

    async fn try_book(&self, index: u64) -> Result<Option<u64>> {
        let Some(record) = self.about(index).await? else { return Ok(None) };
        let Some(entry) = self.agents.entry(&record.sender) else { return Ok(None) };
        let mut state = entry.state.lock().await;
        if state.has_left_out(index) {
            return Ok(None);
        }

        let appended = if self.journal.stats().bytes < self.journal_room {
            self.journal.append(Record::LeftOut(record.clone()).encode()).await.map(Some)
        } else {
            // The next snapshot says it.
            Ok(None)
        };
        state.leave_out(&record);
        entry.moved();
        Ok(appended?)
    }

    /// What there is to book; `None` when the record has no rows.
    async fn about(&self, index: u64) -> Result<Option<LeftOutRecord>> {
        let records = self.journal.read(index, 1).await?;
        let Some(found) = records.into_iter().find(|record| record.index == index) else { return Ok(None) };
        let Record::Batch(record) = Record::decode(&found.payload)? else { return Ok(None) };
        if record.rows.is_empty() {
            return Ok(None);
        }
        let agent_id = record.batch.and_then(|batch| batch.origin).unwrap_or_default().agent_id;
        Ok(Some(LeftOutRecord { sender: record.sender, agent_id, index, rows: record.rows }))
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use lapwing::{
        batch::UNREADABLE,
        columns::{Attributes, Column, Columns, MetricColumns},
        v1::{Batch, Codec, MetricKind, Origin, Packed, Signal, SourcePosition, batch::Payload},
    };
    use lapwing_delivery::{accounts::SourceRows, journal::BatchRecord};
    use lapwing_service::watchdog::Watchdog;
    use lapwing_spool::{Options, sim::SimDisk};
    use lapwing_store::{
        Tables, TablesOptions,
        console::Console,
        ledger::{LedgerEntry, LedgerSource},
        rows::About,
    };
    use tokio::task::JoinSet;

    use super::*;
    use crate::{
        budget::Budget,
        counters::Counters,
        ledger::Books,
        processor::{Processor, ProcessorOptions},
        recovery::{Aside, Recovery},
        share::Shares,
    };

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Collector {
        disk: SimDisk,
        journal: Log,
        agents: Arc<Agents>,
        processor: Processor,
        _background: JoinSet<()>,
    }

    impl Collector {
        /// One whose store has everything before `uncommitted`.
        async fn start(disk: SimDisk, folder: &Path, uncommitted: u64) -> Self {
            let journal = Log::on(Box::new(disk.clone()), "sim".as_ref(), Options::default()).unwrap().0;
            let (agents, counters) = (Arc::new(Agents::default()), Arc::new(Counters::default()));
            let store = Console::open(folder, Box::new(std::io::sink())).unwrap();
            let tables = Tables::open(Arc::new(store), TablesOptions::default()).await.unwrap();
            let left_out =
                LeftOut { journal: journal.clone(), agents: Arc::clone(&agents), journal_room: 1 << 30 };
            let mut background = JoinSet::new();
            let processor = Processor::start(ProcessorOptions {
                workers: 1,
                next: 1,
                tables,
                books: left_out.clone(),
                stages: crate::processor::stage::Stages::of(Vec::new()),
                shares: Shares::new(Budget::default()),
                counters: Arc::clone(&counters),
                watchdog: &Watchdog::default(),
                background: &mut background,
            })
            .unwrap();
            let recovery = Recovery {
                journal: journal.clone(),
                agents: Arc::clone(&agents),
                processor: processor.clone(),
                aside: Aside::new(folder, counters),
                left_out,
                time_ahead: Duration::ZERO,
                replay_bytes: 1 << 20,
            };
            recovery.replay(1, uncommitted).await.unwrap();
            Self { disk, journal, agents, processor, _background: background }
        }

        /// Another one, over what is on the disk. Nothing is shared with this one, which may still close its journal.
        async fn again(&self, folder: &Path, uncommitted: u64) -> Self {
            Self::start(self.disk.backup(), folder, uncommitted).await
        }

        /// Waits until every record has passed.
        async fn passes(&self) {
            let passed = async {
                while self.processor.stalled().0 < self.journal.stats().next {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, passed).await.expect("every record passes");
        }

        async fn booked(&self) -> LedgerEntry {
            self.passes().await;
            Books(Arc::clone(&self.agents)).ledger().await.sources.remove(0)
        }
    }

    fn record(source: &str, rows: u64) -> Record {
        let packed = Packed {
            codec: Codec::None as i32,
            signal: Signal::Logs as i32,
            rows: rows as u32,
            uncompressed_size: 7,
            data: "no rows".into(),
        };
        let position = SourcePosition {
            source: "file:1".to_owned(),
            display_name: source.to_owned(),
            events_read: rows,
            ..SourcePosition::default()
        };
        let batch = Batch {
            origin: Some(Origin { agent_id: "a".to_owned(), epoch: 7, sequence: 1, ..Origin::default() }),
            positions: vec![position],
            payload: Some(Payload::Packed(packed)),
            ..Batch::default()
        };
        Record::Batch(Box::new(BatchRecord {
            batch: Some(batch),
            received_unix_nano: 1,
            sender: "a".to_owned(),
            rows: vec![SourceRows { source: source.to_owned(), rows }],
        }))
    }

    fn check(entry: &LedgerEntry, rows: u64) {
        assert_eq!((entry.journaled, entry.missing), (0, 0), "{entry:?}");
        assert_eq!(entry.dropped.get(UNREADABLE), Some(&rows), "{entry:?}");
        assert_eq!(entry.told.as_ref().map(|told| told.read), Some(rows));
    }

    #[tokio::test]
    async fn rows_that_a_start_can_not_read_are_dropped_in_the_ledger_once_and_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let mut collector = Collector::start(SimDisk::default(), folder.path(), 1).await;
        collector.journal.append(record("a.log", 3).encode()).await.unwrap();
        // The second start meets the record, and the word of it, again; the third does not make its rows, since the store is past it.
        for uncommitted in [1, 1, 100] {
            collector = collector.again(folder.path(), uncommitted).await;
            check(&collector.booked().await, 3);
        }
    }

    #[tokio::test]
    async fn rows_that_can_not_be_made_are_dropped_in_the_ledger_before_their_record_passes() {
        let folder = tempfile::tempdir().unwrap();
        let collector = Collector::start(SimDisk::default(), folder.path(), 1).await;
        let rows = 10_000;
        let record = record("metrics", rows as u64);
        let index = collector.journal.append(record.encode()).await.unwrap();
        collector.agents.replay(index, &record).await;

        // More attributes, of all rows together, than fit in a batch.
        let resource: Attributes = (0..1_000).map(|n| (n.to_string(), "x".to_owned())).collect();
        let columns = MetricColumns {
            time: Column::constant(rows, 1),
            start_time: Column::constant(rows, 0),
            name: Column::constant(rows, "x".into()),
            unit: Column::constant(rows, "1".into()),
            kind: Column::constant(rows, MetricKind::Gauge as u8),
            attributes: Column::constant(rows, Attributes::default()),
            value: Column::constant(rows, 1.0),
            histogram: Column::constant(rows, None),
        };
        let about = About { agent: "a".to_owned(), resource, time_zone: String::new(), journal_index: index };
        collector.processor.rows(index, Columns::Metrics(columns), about, None);
        check(&collector.booked().await, rows as u64);

        // Also when the next start does not make them again.
        check(&collector.again(folder.path(), 100).await.booked().await, rows as u64);
    }
}
