//! A segment: one file of records, named by its first index.

use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a segment's header.
pub(crate) const HEADER: usize = 32;
const MAGIC: &[u8; 8] = b"LWSPOOL\0";
const VERSION: u32 = 1;
const SUFFIX: &str = ".spool";

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) first: u64,
    pub(crate) salt: u64,
}

impl SegmentHeader {
    /// `magic 8 | version u32 | check u32 | first index u64 | salt u64`, little endian.
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        let check = xxh3_64(&bytes) as u32;
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        let header = Self {
            first: u64::from_le_bytes(bytes[16..24].try_into().ok()?),
            salt: u64::from_le_bytes(bytes[24..32].try_into().ok()?),
        };
        (header.encode() == *bytes).then_some(header)
    }
}

/// The salt of the segment that begins with `first`: known without its header, so that records outlive a damaged one.
pub(crate) fn salt(first: u64) -> u64 {
    xxh3_64(&first.to_le_bytes())
}

/// The file name of the segment that begins with `first`.
pub(crate) fn name(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

/// The first index in a segment's file name; `None` for files that are not segments.
pub(crate) fn parse(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}
