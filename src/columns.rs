//! Batches as columns: how telemetry travels, is journaled and is unpacked.
//!
//! - A column holds one value per row, as runs of equal values or one after another. A column that is left out holds its
//!   type's default for every row.
//! - The bodies of log lines are one run of bytes as they stood in the file: the *tail* of the encoded form. It is
//!   compressed where it lies, and sliced, not copied, when decoded.
//! - Decoding trusts nothing: no memory is taken for a declared length before the bytes for it are seen to be there, and
//!   [`Limits`] bound rows and sizes.
//! - [`v1::Rows`](crate::v1::Rows) is the other form of the same thing; each turns into the other without loss.
//!
//! docs/formats/columns.md draws the bytes.

mod column;
mod cost;
mod flows;
mod logs;
mod metrics;
mod reader;
mod rows;
mod times;
mod value;

use bytes::Bytes;
use thiserror::Error;

use self::reader::{RawColumn, Reader};
pub use self::{
    column::{Column, Run},
    cost::Cost,
    flows::FlowColumns,
    logs::{Bodies, LogColumns},
    metrics::MetricColumns,
    times::TIME_AHEAD,
    value::{Attributes, Text},
};
use crate::{limits::Limits, v1::Signal};

/// Version of the encoded form, its first byte.
pub const VERSION: u8 = 1;

/// The rows of a batch, by signal.
#[derive(Debug, Clone, PartialEq)]
pub enum Columns {
    /// Log records.
    Logs(LogColumns),
    /// Metric points.
    Metrics(MetricColumns),
    /// Flows.
    Flows(FlowColumns),
}

/// Why bytes are not columns, or rows can't become columns.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Written by a newer program, or not columns at all.
    #[error("columns have version {0}, this program knows {VERSION}")]
    Version(u8),
    /// The signal inside is not the one the batch names.
    #[error("the columns hold signal {found}, the batch says {expected}")]
    Signal {
        /// What the batch says.
        expected: i32,
        /// What the columns say.
        found: i32,
    },
    /// The bytes end before what they declare.
    #[error("the columns end in the middle of {0}")]
    Cut(&'static str),
    /// Something is over its limit.
    #[error("{what} is {actual}, at most {limit} is allowed")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is.
        actual: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Not what the format allows.
    #[error("{what}: {reason}")]
    Invalid {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl DecodeError {
    pub(crate) fn invalid(what: &'static str, reason: impl ToString) -> Self {
        Self::Invalid { what, reason: reason.to_string() }
    }

    pub(crate) fn check(what: &'static str, actual: usize, limit: usize) -> Result<(), Self> {
        if actual > limit { Err(Self::TooLarge { what, actual, limit }) } else { Ok(()) }
    }
}

impl Columns {
    /// Which kind of rows.
    pub fn signal(&self) -> Signal {
        match self {
            Self::Logs(_) => Signal::Logs,
            Self::Metrics(_) => Signal::Metrics,
            Self::Flows(_) => Signal::Flows,
        }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Logs(logs) => logs.bodies.rows(),
            Self::Metrics(metrics) => metrics.time.rows(),
            Self::Flows(flows) => flows.time.rows(),
        }
    }

    /// Appends everything but the tail, which is `tail_len` bytes long and must follow.
    pub fn encode_head(&self, tail_len: usize, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.push(self.signal() as u8);
        value::write_varint(self.rows() as u64, out);
        match self {
            Self::Logs(logs) => logs.encode(out),
            Self::Metrics(metrics) => metrics.encode(out),
            Self::Flows(flows) => flows.encode(out),
        }
        out.push(column::END);
        value::write_varint(tail_len as u64, out);
    }

    /// The tail: the bodies of log records; empty for other signals.
    pub fn tail(&self) -> &[u8] {
        match self {
            Self::Logs(logs) => logs.bodies.data(),
            _ => &[],
        }
    }

    /// Head and tail.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.tail().len() + 256);
        self.encode_head(self.tail().len(), &mut out);
        out.extend_from_slice(self.tail());
        out
    }

    /// Reads the encoded form of `rows` rows of `signal`.
    ///
    /// # Errors
    /// When the bytes are not exactly that, or something in them is over its limit.
    pub fn decode(data: Bytes, signal: Signal, rows: u32, limits: &Limits) -> Result<Self, DecodeError> {
        Encoded::read(data, signal, rows, limits)?.decode(limits)
    }
}

/// Columns that are not decoded yet.
pub struct Encoded {
    signal: Signal,
    rows: usize,
    columns: Vec<RawColumn>,
    tail: Bytes,
    cost: Cost,
}

impl std::fmt::Debug for Encoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoded").field("rows", &self.rows).field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Encoded {
    /// Reads what the encoded form of `rows` rows of `signal` begins with, and counts what they become.
    ///
    /// # Errors
    /// When it is not that, or more than the limits allow.
    pub fn read(data: Bytes, signal: Signal, rows: u32, limits: &Limits) -> Result<Self, DecodeError> {
        DecodeError::check("number of rows", rows as usize, limits.max_rows)?;
        let mut reader = Reader::new(data, limits);
        let version = reader.byte("the version")?;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let found = i32::from(reader.byte("the signal")?);
        if found != signal as i32 {
            return Err(DecodeError::Signal { expected: signal as i32, found });
        }
        let declared = reader.varint("the number of rows")?;
        if declared != u64::from(rows) {
            return Err(DecodeError::invalid(
                "number of rows",
                format!("{declared} inside, {rows} in the batch"),
            ));
        }
        let columns = reader.columns(last_column(signal))?;
        let tail = reader.tail()?;
        if signal != Signal::Logs && !tail.is_empty() {
            return Err(DecodeError::invalid("tail", "only logs have one"));
        }
        let rows = rows as usize;
        let cost = Cost::of(signal, rows, &columns, &tail, limits)?;
        Ok(Self { signal, rows, columns, tail, cost })
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The bodies of log records; empty for other signals.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Which kind of rows.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// What they become.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Decodes them.
    ///
    /// # Errors
    /// When something in them is wrong, or over its limit.
    pub fn decode(self, limits: &Limits) -> Result<Columns, DecodeError> {
        let (columns, rows) = (&self.columns, self.rows);
        match self.signal {
            Signal::Logs => Ok(Columns::Logs(LogColumns::decode(columns, self.tail, rows, limits)?)),
            Signal::Metrics => Ok(Columns::Metrics(MetricColumns::decode(columns, rows, limits)?)),
            Signal::Flows => Ok(Columns::Flows(FlowColumns::decode(columns, rows, limits)?)),
            Signal::Unspecified => Err(DecodeError::invalid("signal", "it is not set")),
        }
    }
}

/// The largest column id of a signal.
fn last_column(signal: Signal) -> u8 {
    match signal {
        Signal::Logs => logs::LAST,
        Signal::Metrics => metrics::LAST,
        Signal::Flows => flows::LAST,
        Signal::Unspecified => column::END,
    }
}
