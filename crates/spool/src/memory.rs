//! The records that are in memory only, in index order.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::record::{self, Batch, Record};

/// Records that the disk has not seen.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Oldest first; indexes without a gap.
    records: VecDeque<Record>,
    /// What they would take on the disk: so records without a payload have their bound too.
    bytes: u64,
}

impl Memory {
    pub(crate) fn len(&self) -> u64 {
        self.records.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of the records, headers included.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Index of the oldest record.
    pub(crate) fn first(&self) -> Option<u64> {
        self.records.front().map(|record| record.index)
    }

    /// Adds records, the first of which has index `first`.
    pub(crate) fn push(&mut self, first: u64, payloads: &[Bytes]) {
        for (index, payload) in (first..).zip(payloads) {
            self.bytes += record::size(payload);
            self.records.push_back(Record { index, payload: payload.clone() });
        }
    }

    /// Forgets the records before index `first`.
    pub(crate) fn trim(&mut self, first: u64) {
        while self.first().is_some_and(|oldest| oldest < first) {
            self.pop();
        }
    }

    /// Forgets the oldest records until at most `bytes` are left, and tells how many these were.
    pub(crate) fn shrink(&mut self, bytes: u64) -> u64 {
        let before = self.len();
        while self.bytes > bytes && !self.is_empty() {
            self.pop();
        }
        before - self.len()
    }

    /// Payloads from index `from` on: about `max_bytes` of them, one at least if there is one.
    pub(crate) fn chunk(&self, from: u64, max_bytes: usize) -> Vec<Bytes> {
        let mut batch = Batch::new(max_bytes);
        self.read(from, &mut batch);
        batch.into_records().into_iter().map(|record| record.payload).collect()
    }

    /// Reads records from index `from` on.
    pub(crate) fn read(&self, from: u64, batch: &mut Batch) {
        let start = self.records.partition_point(|record| record.index < from);
        for record in self.records.range(start..) {
            if !batch.takes(record.payload.len()) {
                return;
            }
            batch.push(record.clone());
        }
    }

    fn pop(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.bytes -= record::size(&record.payload);
        }
    }
}
