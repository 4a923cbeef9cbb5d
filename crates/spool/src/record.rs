//! A record: a header that can be trusted on its own, then the payload.

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes of a record's header.
pub(crate) const HEADER: usize = 24;
/// Largest payload, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 64 << 20;

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
    payload_check: u64,
}

impl Header {
    pub(crate) fn new(index: u64, payload: &[u8]) -> Self {
        Self { length: payload.len() as u32, index, payload_check: xxh3_64(payload) }
    }

    /// `length u32 | header check u32 | index u64 | payload check u64`, little endian. The header check covers the
    /// other fields and the segment's salt, so that a record of another file is never taken for one of this.
    pub(crate) fn encode(&self, salt: u64) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.index.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.payload_check.to_le_bytes());
        let check = xxh3_64_with_seed(&bytes, salt) as u32;
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`, when it is whole and its check holds.
    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        let header = Self {
            length: u32::from_le_bytes(bytes[0..4].try_into().ok()?),
            index: u64::from_le_bytes(bytes[8..16].try_into().ok()?),
            payload_check: u64::from_le_bytes(bytes[16..24].try_into().ok()?),
        };
        (header.encode(salt) == *bytes && header.length as usize <= MAX_PAYLOAD).then_some(header)
    }

    /// Whether `payload` is the one the header was made for.
    pub(crate) fn vouches_for(&self, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && xxh3_64(payload) == self.payload_check
    }
}
