//! What a start takes from the journal: what agents delivered, and rows that the store has not committed.
//!
//! Whatever stands in the journal, a start comes to its end. A record that can't be read, or at which this program panics, is set aside and
//! counted; its batch alone is lost to the store, and a person has the bytes. Only a *kind* of record that is not known stops the start: a
//! newer program wrote it, and what it means for the records behind it is not known either.

mod aside;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use anyhow::Result;
use futures::FutureExt;
use lapwing::{
    batch,
    limits::Limits,
    v1::{Batch, batch::Payload},
};
use lapwing_delivery::journal::{BatchRecord, Record, RecordError};
use lapwing_spool::Log;

pub use self::aside::Aside;
use crate::{
    agents::Agents,
    ingest::{about, nanos},
    left_out::LeftOut,
    processor::{Processor, stage::Stages},
    share::Holder,
};

/// Lets a journal that was lost, or is an older copy, go on at `next`: its indexes must not stand for what the store has already.
///
/// # Errors
/// As the journal's.
pub async fn catch_up(journal: &Log, next: u64) -> Result<()> {
    if journal.stats().next < next {
        tracing::error!(
            "the journal ends before what the store has committed; what agents delivered last is not known"
        );
        journal.advance(next).await?;
    }
    Ok(())
}

/// What a start goes through, and where to.
#[derive(Debug)]
pub struct Recovery {
    /// The journal.
    pub journal: Log,
    /// What agents delivered.
    pub agents: Arc<Agents>,
    /// Where rows go.
    pub processor: Processor,
    /// Where records go that can't be read.
    pub aside: Aside,
    /// Has the ledger know of their rows.
    pub left_out: LeftOut,
    /// How far ahead of its coming the time of a row may be.
    pub time_ahead: Duration,
    /// Bytes read from the journal at a time.
    pub replay_bytes: usize,
}

impl Recovery {
    /// Rebuilds what agents delivered from all records, and rows from those that the store has not committed.
    ///
    /// # Errors
    /// When the journal can't be read, or a newer program wrote it.
    pub async fn replay(&self, first: u64, uncommitted: u64) -> Result<()> {
        let mut next = first;
        let mut rows = 0;
        loop {
            let records = self.journal.read(next, self.replay_bytes).await?;
            let Some(last) = records.last() else { break };
            let end = last.index + 1;
            for record in records {
                // A damaged record is gone; the order goes on behind it.
                (next..record.index).for_each(|index| self.processor.nothing(index));
                next = record.index + 1;
                rows += self.take(record.index, &record.payload, uncommitted).await?;
            }
            next = end;
        }
        let end = self.journal.stats().next;
        (next..end).for_each(|index| self.processor.nothing(index));
        if rows > 0 {
            tracing::info!("{rows} rows came back from the journal");
        }
        Ok(())
    }

    /// Applies one record, and gives the number of its rows.
    async fn take(&self, index: u64, payload: &bytes::Bytes, uncommitted: u64) -> Result<usize> {
        let record = match Record::decode(payload) {
            Ok(record) => record,
            Err(error @ RecordError::Kind(_)) => return Err(error.into()),
            Err(error) => {
                self.set_aside(index, payload, &error.to_string());
                return Ok(0);
            }
        };
        let applied = AssertUnwindSafe(self.agents.replay(index, &record)).catch_unwind().await;
        if applied.is_err() {
            self.set_aside(index, payload, "it can't be applied: a panic, see above");
            return Ok(0);
        }
        let Record::Batch(record) = record else {
            self.processor.nothing(index);
            return Ok(0);
        };
        if index < uncommitted {
            self.processor.nothing(index);
            return Ok(0);
        }
        match AssertUnwindSafe(self.rows(index, *record)).catch_unwind().await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                self.leave_out(index, payload, &error).await;
                Ok(0)
            }
            Err(_) => {
                self.leave_out(index, payload, "its rows can't be read: a panic, see above").await;
                Ok(0)
            }
        }
    }

    async fn rows(&self, index: u64, record: BatchRecord) -> Result<usize, String> {
        let received = record.received_unix_nano;
        let batch: Batch = record.batch.unwrap_or_default();
        let Some(Payload::Packed(packed)) = &batch.payload else {
            self.processor.nothing(index);
            return Ok(0);
        };
        let limits = Limits::journaled();
        let encoded = batch::open(packed, &limits).map_err(|error| error.to_string())?;
        let resource = batch.resource.as_ref().map_or(0, |resource| resource.attributes.len());
        let cost = encoded.cost().with_resource(packed.rows as usize, resource);
        // What an earlier version took may be larger than what is taken today: it comes alone.
        let for_stages = self.processor.stages().room(&encoded, batch.resource.as_ref());
        let bytes = Stages::becomes(cost.bytes, for_stages).min(self.processor.largest());
        let holder = Holder::Agent(record.sender.as_str().into());
        let room = self.processor.reserve(&holder, bytes).await;
        let room = room.map(|room| room.fitted(bytes, for_stages));
        let mut columns = encoded.decode(&limits).map_err(|error| error.to_string())?;
        if received != 0 {
            columns.bound_times(received, received.saturating_add(nanos(self.time_ahead)));
        }
        let rows = columns.rows();
        self.processor.rows(index, columns, about(&batch, index), room);
        Ok(rows)
    }

    /// As [`Recovery::set_aside`], of a batch that is in the books. The record that says so is read and passes in its turn.
    async fn leave_out(&self, index: u64, payload: &[u8], reason: &str) {
        self.left_out.book(index).await;
        self.set_aside(index, payload, reason);
    }

    /// The record's bytes are kept, and the order goes on behind it.
    fn set_aside(&self, index: u64, payload: &[u8], reason: &str) {
        self.aside.keep(index, payload, reason);
        self.processor.nothing(index);
    }
}
