//! Log records as columns.

use bytes::Bytes;
use memchr::{memchr_iter, memrchr};

use super::{
    Attributes, Column, DecodeError, Text,
    column::{Coded, encode_raw, find},
    reader::{RawColumn, Reader},
    value::write_varint,
};
use crate::limits::Limits;

const TIME: u8 = 1;
const OBSERVED_TIME: u8 = 2;
const SEVERITY_NUMBER: u8 = 3;
const SEVERITY_TEXT: u8 = 4;
const SOURCE: u8 = 5;
pub(super) const ATTRIBUTES: u8 = 6;
const BODIES: u8 = 7;
/// The last column id.
pub(super) const LAST: u8 = BODIES;

/// Largest severity number of OpenTelemetry.
pub(super) const MAX_SEVERITY: usize = 24;

/// The tail is lines, each with its `\n`.
const LINES: u8 = 3;
/// The tail is bodies end to end; the column holds their lengths.
const SIZED: u8 = 4;

/// Log records.
#[derive(Debug, Clone, PartialEq)]
pub struct LogColumns {
    /// When it happened, nanoseconds since the Unix epoch; 0 is unknown.
    pub time: Column<u64>,
    /// When the agent read it, nanoseconds since the Unix epoch.
    pub observed_time: Column<u64>,
    /// OpenTelemetry severity number, 0 is unknown.
    pub severity_number: Column<u8>,
    /// Severity as the source wrote it.
    pub severity_text: Column<Text>,
    /// Where it came from.
    pub source: Column<Text>,
    /// Attributes of the record alone.
    pub attributes: Column<Attributes>,
    /// The lines.
    pub bodies: Bodies,
}

/// The bodies of log records.
#[derive(Debug, Clone)]
pub enum Bodies {
    /// Lines as they stood in a file: each ends with `\n`, which is not part of the body.
    Lines {
        /// How many.
        rows: u32,
        /// The lines.
        data: Bytes,
    },
    /// Bodies of any bytes, end to end.
    Sized {
        /// Length of each, in bytes.
        lengths: Vec<u32>,
        /// The bodies.
        data: Bytes,
    },
}

/// Yields each body.
#[derive(Debug)]
pub struct BodyIter<'a> {
    rest: &'a [u8],
    lengths: Option<std::slice::Iter<'a, u32>>,
}

impl Bodies {
    /// How many.
    pub fn rows(&self) -> usize {
        match self {
            Self::Lines { rows, .. } => *rows as usize,
            Self::Sized { lengths, .. } => lengths.len(),
        }
    }

    /// All bytes, line ends included.
    pub fn data(&self) -> &Bytes {
        match self {
            Self::Lines { data, .. } | Self::Sized { data, .. } => data,
        }
    }

    /// Each body, without its line end.
    pub fn iter(&self) -> BodyIter<'_> {
        match self {
            Self::Lines { data, .. } => BodyIter { rest: data, lengths: None },
            Self::Sized { lengths, data } => BodyIter { rest: data, lengths: Some(lengths.iter()) },
        }
    }

    fn decode(columns: &[RawColumn], tail: Bytes, rows: usize, limits: &Limits) -> Result<Self, DecodeError> {
        match find(BODIES, columns) {
            Some((LINES, data)) if data.is_empty() => Self::decode_lines(tail, rows, limits),
            Some((SIZED, data)) => Self::decode_sized(Reader::new(data, limits), tail, rows, limits),
            Some((encoding, _)) => {
                Err(DecodeError::invalid("bodies", format!("encoding {encoding} is not known")))
            }
            None if rows == 0 && tail.is_empty() => Ok(Self::Lines { rows: 0, data: tail }),
            None => Err(DecodeError::invalid("bodies", "the column is missing")),
        }
    }

    fn decode_lines(tail: Bytes, rows: usize, limits: &Limits) -> Result<Self, DecodeError> {
        let (mut found, mut start) = (0, 0);
        for end in memchr_iter(b'\n', &tail) {
            DecodeError::check("a log body", end - start, limits.max_body_bytes)?;
            start = end + 1;
            found += 1;
        }
        if found != rows || start != tail.len() {
            let reason =
                format!("{found} line ends for {rows} rows, {} bytes after the last", tail.len() - start);
            return Err(DecodeError::invalid("bodies", reason));
        }
        Ok(Self::Lines { rows: rows as u32, data: tail })
    }

    fn decode_sized(
        mut reader: Reader<'_>,
        tail: Bytes,
        rows: usize,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let mut lengths = Vec::with_capacity(rows.min(reader.len()));
        let mut total = 0usize;
        while !reader.is_empty() {
            let length = reader.size("a body's length")?;
            DecodeError::check("a log body", length, limits.max_body_bytes)?;
            total += length;
            lengths.push(length as u32);
        }
        if lengths.len() != rows || total != tail.len() {
            let reason = format!(
                "{} lengths for {rows} rows, {total} bytes for a tail of {}",
                lengths.len(),
                tail.len()
            );
            return Err(DecodeError::invalid("bodies", reason));
        }
        Ok(Self::Sized { lengths, data: tail })
    }
}

impl<'a> Iterator for BodyIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, skip) = match &mut self.lengths {
            Some(lengths) => (*lengths.next()? as usize, 0),
            None => (memchr::memchr(b'\n', self.rest)?, 1),
        };
        let (body, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest.get(skip..)?;
        Some(body)
    }
}

/// Bodies are equal when they are the same one by one, in whichever form.
impl PartialEq for Bodies {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a> FromIterator<&'a [u8]> for Bodies {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(bodies: I) -> Self {
        let (mut lengths, mut data) = (Vec::new(), Vec::new());
        for body in bodies {
            lengths.push(body.len() as u32);
            data.extend_from_slice(body);
        }
        Self::Sized { lengths, data: data.into() }
    }
}

impl LogColumns {
    /// Lines of one source read at one time: what a tailer has. `data` ends with `\n` and holds `rows` of them.
    pub fn lines(source: Text, observed_time: u64, rows: u32, data: Bytes) -> Self {
        debug_assert!(data.is_empty() || memrchr(b'\n', &data) == Some(data.len() - 1));
        let count = rows as usize;
        Self {
            time: Column::constant(count, 0),
            observed_time: Column::constant(count, observed_time),
            severity_number: Column::constant(count, 0),
            severity_text: Column::constant(count, Text::default()),
            source: Column::constant(count, source),
            attributes: Column::constant(count, Attributes::default()),
            bodies: Bodies::Lines { rows, data },
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.time.encode(TIME, out);
        self.observed_time.encode(OBSERVED_TIME, out);
        self.severity_number.encode(SEVERITY_NUMBER, out);
        self.severity_text.encode(SEVERITY_TEXT, out);
        self.source.encode(SOURCE, out);
        self.attributes.encode(ATTRIBUTES, out);
        match &self.bodies {
            Bodies::Lines { .. } => encode_raw(BODIES, LINES, &[], out),
            Bodies::Sized { lengths, .. } => {
                let mut data = Vec::with_capacity(lengths.len() * 2);
                lengths.iter().for_each(|length| write_varint(u64::from(*length), &mut data));
                encode_raw(BODIES, SIZED, &data, out);
            }
        }
    }

    pub(super) fn decode(
        columns: &[RawColumn],
        tail: Bytes,
        rows: usize,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let logs = Self {
            time: Column::decode(TIME, columns, rows, limits)?,
            observed_time: Column::decode(OBSERVED_TIME, columns, rows, limits)?,
            severity_number: Column::decode(SEVERITY_NUMBER, columns, rows, limits)?,
            severity_text: Column::decode(SEVERITY_TEXT, columns, rows, limits)?,
            source: Column::decode(SOURCE, columns, rows, limits)?,
            attributes: Column::decode(ATTRIBUTES, columns, rows, limits)?,
            bodies: Bodies::decode(columns, tail, rows, limits)?,
        };
        for (_, number) in logs.severity_number.runs() {
            DecodeError::check("a severity number", usize::from(*number), MAX_SEVERITY)?;
        }
        Ok(logs)
    }
}
