//! A record: a header that can be trusted on its own, then the payload.

use std::ops::RangeInclusive;

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::planted::{self, Bug};

/// Bytes of a record's header.
pub(crate) const HEADER: usize = 24;
/// Largest payload, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 64 << 20;
/// Bit of the length that marks the first record of a group.
const BEGINS_GROUP: u32 = 1 << 31;

/// A record and its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its index.
    pub index: u64,
    /// Its bytes.
    pub payload: Bytes,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) length: u32,
    pub(crate) index: u64,
    /// Everything before this record was durable when it was written.
    pub(crate) begins_group: bool,
    payload_check: u64,
}

impl Header {
    pub(crate) fn new(index: u64, payload: &[u8], begins_group: bool) -> Self {
        Self { length: payload.len() as u32, index, begins_group, payload_check: xxh3_64(payload) }
    }

    /// `length u32 | header check u32 | index u64 | payload check u64`, little endian; the highest bit of the length says
    /// `begins_group`. The header check covers the other fields and the segment's salt, so that a record of another file is
    /// never taken for one of this.
    pub(crate) fn encode(&self, salt: u64) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let group = if self.begins_group { BEGINS_GROUP } else { 0 };
        bytes[0..4].copy_from_slice(&(self.length | group).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.index.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.payload_check.to_le_bytes());
        let check = xxh3_64_with_seed(&bytes, salt) as u32;
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`, when it is whole, its index is among `indexes` and its check holds. The index is
    /// looked at first: that is cheap, and refuses nearly everything that is no header.
    pub(crate) fn decode(bytes: &[u8], salt: u64, indexes: &RangeInclusive<u64>) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        let index = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
        if !indexes.contains(&index) {
            return None;
        }
        let length = u32::from_le_bytes(bytes[0..4].try_into().ok()?);
        let header = Self {
            length: length & !BEGINS_GROUP,
            index,
            begins_group: length & BEGINS_GROUP != 0,
            payload_check: u64::from_le_bytes(bytes[16..24].try_into().ok()?),
        };
        (header.length as usize <= MAX_PAYLOAD && header.encode(salt) == *bytes).then_some(header)
    }

    /// Bytes of header and payload.
    pub(crate) fn size(&self) -> usize {
        HEADER + self.length as usize
    }

    /// Whether `payload` is the one the header was made for.
    pub(crate) fn vouches_for(&self, payload: &[u8]) -> bool {
        let holds = xxh3_64(payload) == self.payload_check || planted::is(Bug::ChecksumIgnored);
        payload.len() == self.length as usize && holds
    }
}

/// Bytes that a payload takes as a record.
pub(crate) fn size(payload: &Bytes) -> u64 {
    (HEADER + payload.len()) as u64
}

/// Records on their way to a reader, up to about a size.
#[derive(Debug)]
pub(crate) struct Batch {
    records: Vec<Record>,
    /// Payload bytes there is still room for.
    room: usize,
    /// A record did not fit: none after it may come.
    full: bool,
}

impl Batch {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { records: Vec::new(), room: max_bytes, full: false }
    }

    /// Whether a payload of `length` bytes may join. The first one always may: else it could never be read.
    pub(crate) fn takes(&mut self, length: usize) -> bool {
        self.full |= !self.records.is_empty() && length > self.room;
        !self.full
    }

    pub(crate) fn push(&mut self, record: Record) {
        self.room = self.room.saturating_sub(record.payload.len());
        self.records.push(record);
    }

    /// Nothing more may come.
    pub(crate) fn close(&mut self) {
        self.full = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn into_records(self) -> Vec<Record> {
        self.records
    }
}
