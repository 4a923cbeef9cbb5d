//! A column: one value per row.

use bytes::Bytes;

use super::{
    DecodeError,
    reader::{RawColumn, Reader},
    value::{Value, write_varint},
};
use crate::limits::Limits;

/// Column id that ends the columns.
pub(super) const END: u8 = 0;
/// Values follow one another.
pub(super) const PLAIN: u8 = 1;
/// A number of rows, then their value; again and again.
pub(super) const RUNS: u8 = 2;

/// Equal values of neighbouring rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Run<T> {
    /// How many rows, at least one.
    pub rows: u32,
    /// Their value.
    pub value: T,
}

/// One value per row.
#[derive(Debug, Clone)]
pub enum Column<T> {
    /// Runs of equal values.
    Runs(Vec<Run<T>>),
    /// A value for each row.
    Plain(Vec<T>),
}

impl<T> Column<T> {
    /// The same value for every row.
    pub fn constant(rows: usize, value: T) -> Self {
        if rows == 0 {
            return Self::Plain(Vec::new());
        }
        Self::Runs(vec![Run { rows: rows as u32, value }])
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Runs(runs) => runs.iter().map(|run| run.rows as usize).sum(),
            Self::Plain(values) => values.len(),
        }
    }

    /// The value of each row.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.runs().flat_map(|(rows, value)| std::iter::repeat_n(value, rows))
    }

    /// Runs of rows and their value; a run of its own for each row of a plain column.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &T)> {
        let (runs, values) = match self {
            Self::Runs(runs) => (&runs[..], &[][..]),
            Self::Plain(values) => (&[][..], &values[..]),
        };
        runs.iter().map(|run| (run.rows as usize, &run.value)).chain(values.iter().map(|value| (1, value)))
    }
}

impl<T: PartialEq> Column<T> {
    /// Appends a run, joining it to the last one when the values are equal. Turns a plain column into runs.
    pub fn push_run(&mut self, rows: u32, value: T) {
        if rows == 0 {
            return;
        }
        if let Self::Plain(values) = self {
            let runs = std::mem::take(values).into_iter().map(|value| Run { rows: 1, value }).collect();
            *self = Self::Runs(runs);
        }
        let Self::Runs(runs) = self else { return };
        match runs.last_mut() {
            Some(last) if last.value == value => last.rows += rows,
            _ => runs.push(Run { rows, value }),
        }
    }
}

/// Columns are equal when they hold the same values, in whichever form.
impl<T: PartialEq> PartialEq for Column<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self::Plain(Vec::new())
    }
}

impl<T: PartialEq> FromIterator<T> for Column<T> {
    /// As runs when that is at most half as many values, else plain.
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let values: Vec<T> = values.into_iter().collect();
        let changes = values.windows(2).filter(|pair| pair[0] != pair[1]).count();
        if values.len() < 2 || (changes + 1) * 2 > values.len() {
            return Self::Plain(values);
        }
        let mut column = Self::Runs(Vec::with_capacity(changes + 1));
        values.into_iter().for_each(|value| column.push_run(1, value));
        column
    }
}

/// How a column is written and read.
pub(super) trait Coded: Sized {
    /// Appends the column under `id`, or nothing when all its values are the default.
    fn encode(&self, id: u8, out: &mut Vec<u8>);
    /// Reads the column `id` of `rows` rows.
    fn decode(id: u8, columns: &[RawColumn], rows: usize, limits: &Limits) -> Result<Self, DecodeError>;
}

impl<T: Value> Coded for Column<T> {
    fn encode(&self, id: u8, out: &mut Vec<u8>) {
        let default = T::default();
        if self.runs().all(|(_, value)| *value == default) {
            return;
        }
        let mut data = Vec::new();
        let mut previous = &default;
        let encoding = match self {
            Self::Runs(runs) => {
                for run in runs {
                    write_varint(u64::from(run.rows), &mut data);
                    run.value.write(previous, &mut data);
                    previous = &run.value;
                }
                RUNS
            }
            Self::Plain(values) => {
                for value in values {
                    value.write(previous, &mut data);
                    previous = value;
                }
                PLAIN
            }
        };
        encode_raw(id, encoding, &data, out);
    }

    fn decode(id: u8, columns: &[RawColumn], rows: usize, limits: &Limits) -> Result<Self, DecodeError> {
        let Some(column) = columns.iter().find(|column| column.id == id) else {
            return Ok(Self::constant(rows, T::default()));
        };
        let mut reader = Reader::new(column.data.clone(), limits);
        match column.encoding {
            PLAIN => decode_plain(&mut reader, rows),
            RUNS => decode_runs(&mut reader, rows),
            other => Err(DecodeError::invalid("column encoding", format!("{other} is not known"))),
        }
    }
}

fn decode_plain<T: Value>(reader: &mut Reader<'_>, rows: usize) -> Result<Column<T>, DecodeError> {
    // Every value takes a byte at least, so the bytes that are there bound the memory.
    let mut values: Vec<T> = Vec::with_capacity(rows.min(reader.len()));
    let mut previous = T::default();
    for _ in 0..rows {
        let value = T::read(&previous, reader)?;
        previous = value.clone();
        values.push(value);
    }
    if reader.is_empty() {
        return Ok(Column::Plain(values));
    }
    Err(DecodeError::invalid("column", format!("{} bytes are left after {rows} rows", reader.len())))
}

fn decode_runs<T: Value>(reader: &mut Reader<'_>, rows: usize) -> Result<Column<T>, DecodeError> {
    let mut runs: Vec<Run<T>> = Vec::new();
    let mut previous = T::default();
    let mut left = rows;
    while !reader.is_empty() {
        let length = reader.size("a run's length")?;
        if length == 0 || length > left {
            let reason = format!("a run of {length} rows where {left} are left");
            return Err(DecodeError::invalid("column", reason));
        }
        left -= length;
        let value = T::read(&previous, reader)?;
        previous = value.clone();
        runs.push(Run { rows: length as u32, value });
    }
    if left == 0 {
        return Ok(Column::Runs(runs));
    }
    Err(DecodeError::invalid("column", format!("{left} of {rows} rows have no value")))
}

/// Appends a column whose data is written already.
pub(super) fn encode_raw(id: u8, encoding: u8, data: &[u8], out: &mut Vec<u8>) {
    out.push(id);
    out.push(encoding);
    write_varint(data.len() as u64, out);
    out.extend_from_slice(data);
}

/// The raw column `id`.
pub(super) fn find(id: u8, columns: &[RawColumn]) -> Option<(u8, Bytes)> {
    columns.iter().find(|column| column.id == id).map(|column| (column.encoding, column.data.clone()))
}
