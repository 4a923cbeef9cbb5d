//! A cursor over untrusted bytes.

use bytes::{Buf, Bytes};

use super::{DecodeError, Text, column};
use crate::limits::Limits;

/// Reads from the front; every read says what it was after.
pub(super) struct Reader<'a> {
    rest: Bytes,
    limits: &'a Limits,
}

/// A column as it stands in the bytes, not yet read.
pub(super) struct RawColumn {
    pub(super) id: u8,
    pub(super) encoding: u8,
    pub(super) data: Bytes,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: Bytes, limits: &'a Limits) -> Self {
        Self { rest, limits }
    }

    pub(super) fn limits(&self) -> &'a Limits {
        self.limits
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        if self.rest.is_empty() {
            return Err(DecodeError::Cut(what));
        }
        Ok(self.rest.get_u8())
    }

    pub(super) fn take(&mut self, length: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        if length > self.rest.len() {
            return Err(DecodeError::Cut(what));
        }
        Ok(self.rest.split_to(length))
    }

    /// Passes over bytes that nobody wants.
    pub(super) fn advance(&mut self, length: usize, what: &'static str) -> Result<(), DecodeError> {
        if length > self.rest.len() {
            return Err(DecodeError::Cut(what));
        }
        self.rest.advance(length);
        Ok(())
    }

    /// Passes over a length and so many bytes.
    pub(super) fn skip(&mut self, what: &'static str) -> Result<(), DecodeError> {
        let length = self.size(what)?;
        self.advance(length, what)
    }

    /// A LEB128 number.
    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                if shift == 63 && byte > 1 {
                    break;
                }
                return Ok(value);
            }
        }
        Err(DecodeError::invalid(what, "the number has more than 64 bits"))
    }

    pub(super) fn size(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        usize::try_from(self.varint(what)?).map_err(|_| DecodeError::Cut(what))
    }

    pub(super) fn text(&mut self, what: &'static str, limit: usize) -> Result<Text, DecodeError> {
        let length = self.size(what)?;
        DecodeError::check(what, length, limit)?;
        Text::try_from(self.take(length, what)?).map_err(|error| DecodeError::invalid(what, error))
    }

    /// The columns up to their end mark, each with an id up to `last`. Another id is a newer program's: to leave it out would
    /// lose what it holds.
    pub(super) fn columns(&mut self, last: u8) -> Result<Vec<RawColumn>, DecodeError> {
        let mut columns: Vec<RawColumn> = Vec::new();
        loop {
            let id = self.byte("a column")?;
            if id == column::END {
                return Ok(columns);
            }
            if id > last {
                return Err(DecodeError::invalid("columns", format!("column {id} is not known")));
            }
            let encoding = self.byte("a column's encoding")?;
            let length = self.size("a column's length")?;
            let data = self.take(length, "a column")?;
            if columns.iter().any(|column| column.id == id) {
                return Err(DecodeError::invalid("columns", format!("column {id} comes twice")));
            }
            columns.push(RawColumn { id, encoding, data });
        }
    }

    /// The tail, which is all the rest.
    pub(super) fn tail(mut self) -> Result<Bytes, DecodeError> {
        let length = self.size("the tail's length")?;
        if length != self.rest.len() {
            let reason = format!("{} bytes are there, {length} were declared", self.rest.len());
            return Err(DecodeError::invalid("tail", reason));
        }
        Ok(self.rest)
    }
}
