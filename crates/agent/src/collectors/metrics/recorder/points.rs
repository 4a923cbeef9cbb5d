//! A record of the spool: the points of one tick.

use bytes::Bytes;
use lapwing::{
    columns::{Columns, MetricColumns},
    limits::Limits,
    v1::Signal,
};

/// The points of one record.
pub(super) struct Points {
    /// How many points were observed before them: a jump tells how many are missing.
    pub(super) first: u64,
    pub(super) columns: MetricColumns,
}

impl Points {
    pub(super) fn rows(&self) -> u64 {
        self.columns.time.rows() as u64
    }

    /// Which of all points ever observed these are.
    pub(super) fn range(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.rows()
    }
}

/// A record: the number of rows, that of the first one, then the columns.
pub(super) fn encode(first: u64, columns: MetricColumns) -> Bytes {
    let columns = Columns::Metrics(columns);
    let mut record = (columns.rows() as u32).to_le_bytes().to_vec();
    record.extend_from_slice(&first.to_le_bytes());
    columns.encode_head(0, &mut record);
    record.into()
}

pub(super) fn decode(record: &Bytes) -> Option<Points> {
    let rows = u32::from_le_bytes(record.get(..4)?.try_into().ok()?);
    let first = u64::from_le_bytes(record.get(4..12)?.try_into().ok()?);
    match Columns::decode(record.slice(12..), Signal::Metrics, rows, &Limits::default()) {
        Ok(Columns::Metrics(columns)) => Some(Points { first, columns }),
        _ => None,
    }
}
