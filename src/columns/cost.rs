//! What columns become in memory, counted before anything is allocated for them.
//!
//! A run of a few bytes stands for any number of rows, and each row of it has attributes or buckets of its own once it is a row of a table. So
//! rows are multiplied with what they hold here, on the encoded bytes.

use super::{
    DecodeError,
    column::{self, PLAIN, RUNS},
    reader::{RawColumn, Reader},
};
use crate::{limits::Limits, v1::Signal};

/// Memory of a row in a table, beside its texts, attributes and buckets: numbers, and views of its texts.
const ROW: usize = 136;
/// Of a value in a column of columns: a text, or a run of one.
const VALUE: usize = 40;
/// Of an attribute in such a column ...
const PAIR: usize = 64;
/// ... and of each row that has it: two views.
const PAIR_OF_ROW: usize = 32;
/// Of a bucket or bound.
const NUMBER: usize = 8;
/// What is not UTF-8 is kept as bytes, and as text in which each wrong byte takes three.
const NOT_TEXT: usize = 4;

/// What columns become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Attributes of all rows together.
    pub pairs: usize,
    /// Memory from now until they are rows of a table, in bytes.
    pub bytes: usize,
}

impl Cost {
    /// Memory of a batch of so many rows and uncompressed bytes when nothing else is known of it: enough for most.
    pub fn guess(uncompressed: usize, rows: usize) -> Self {
        let bytes =
            rows.saturating_mul(ROW).saturating_add(uncompressed.saturating_mul(2)).saturating_add(16 << 10);
        Self { pairs: 0, bytes }
    }

    /// The cost with attributes that each of the rows has beside its own.
    #[must_use]
    pub fn with_resource(self, rows: usize, attributes: usize) -> Self {
        let pairs = rows.saturating_mul(attributes);
        Self {
            pairs: self.pairs.saturating_add(pairs),
            bytes: self.bytes.saturating_add(pairs.saturating_mul(PAIR_OF_ROW)),
        }
    }

    pub(super) fn of(
        signal: Signal,
        rows: usize,
        columns: &[RawColumn],
        tail: &[u8],
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let (attributes, histogram) = match signal {
            Signal::Logs => (super::logs::ATTRIBUTES, column::END),
            Signal::Metrics => (super::metrics::ATTRIBUTES, super::metrics::HISTOGRAM),
            Signal::Flows => (super::flows::ATTRIBUTES, column::END),
            Signal::Unspecified => (column::END, column::END),
        };
        let mut cost = Self { pairs: 0, bytes: rows.saturating_mul(ROW).saturating_add(tail.len()) };
        if !tail.is_empty() && std::str::from_utf8(tail).is_err() {
            cost.add(tail.len().saturating_mul(NOT_TEXT));
        }
        for column in columns {
            // Every value takes a byte at least, and its bytes are copied once.
            cost.add(column.data.len().min(rows).saturating_mul(VALUE).saturating_add(column.data.len()));
            if column.id == attributes {
                cost.add_attributes(column, rows, limits)?;
            } else if column.id == histogram {
                cost.add_histograms(column, rows, limits)?;
            }
        }
        DecodeError::check("number of attributes of all rows", cost.pairs, limits.max_pairs)?;
        Ok(cost)
    }

    fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn add_attributes(
        &mut self,
        column: &RawColumn,
        rows: usize,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        for_each_value(column, rows, limits, |reader, run| {
            let pairs = reader.size("the number of attributes")?;
            for _ in 0..pairs {
                reader.skip("an attribute key")?;
                reader.skip("an attribute value")?;
            }
            let of_rows = pairs.saturating_mul(run);
            self.pairs = self.pairs.saturating_add(of_rows);
            self.add(pairs.saturating_mul(PAIR).saturating_add(of_rows.saturating_mul(PAIR_OF_ROW)));
            Ok(())
        })
    }

    fn add_histograms(
        &mut self,
        column: &RawColumn,
        rows: usize,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        for_each_value(column, rows, limits, |reader, run| {
            if reader.byte("a histogram")? == 0 {
                return Ok(());
            }
            reader.varint("a histogram's count")?;
            reader.advance(8, "a histogram's sum")?;
            let bounds = reader.size("a histogram's bounds")?;
            reader.advance(bounds.saturating_mul(8), "a histogram's bounds")?;
            let buckets = reader.size("a histogram's buckets")?;
            for _ in 0..buckets {
                reader.varint("a bucket's count")?;
            }
            let numbers = bounds.saturating_add(buckets);
            // In the column once, and in the table for each row.
            self.add(numbers.saturating_mul(run.saturating_add(1)).saturating_mul(NUMBER));
            self.add(run.saturating_mul(NUMBER));
            Ok(())
        })
    }
}

/// Goes through the values of a column with the number of rows that each stands for.
fn for_each_value(
    column: &RawColumn,
    rows: usize,
    limits: &Limits,
    mut each: impl FnMut(&mut Reader<'_>, usize) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(column.data.clone(), limits);
    let mut left = rows;
    while !reader.is_empty() && left > 0 {
        let run = match column.encoding {
            PLAIN => 1,
            RUNS => reader.size("a run's length")?,
            // The decoder says what is wrong with it.
            _ => return Ok(()),
        };
        left = left.saturating_sub(run.max(1));
        each(&mut reader, run.min(rows))?;
    }
    Ok(())
}
