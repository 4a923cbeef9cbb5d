//! A segment: one file of records, named by its first index.

use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a segment's header.
pub(crate) const HEADER: usize = 32;
/// Largest first index. No real log comes this far; a file that is named beyond it is not ours.
pub(crate) const MAX_FIRST: u64 = 1 << 62;
/// The version of segments and records that this program writes and reads.
pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"LWSPOOL\0";
const SUFFIX: &str = ".spool";

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Index of the first record.
    pub(crate) first: u64,
    /// The index that was next when the segment was begun. What lies between it and `first` was passed over on purpose, so
    /// that its absence is no loss.
    pub(crate) expected: u64,
}

/// What stands where a segment's header should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    Whole(SegmentHeader),
    /// Whole, but of a version that this program does not know.
    Version(u32),
    Damaged,
}

impl SegmentHeader {
    /// `magic 8 | version u32 | check u32 | first u64 | expected u64`, little endian.
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.expected.to_le_bytes());
        let check = check(bytes);
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        bytes
    }
}

impl Head {
    /// Reads a header. Magic, version and check stand at the same place in every version, and the check covers the same
    /// bytes: so a newer version is told from a damaged header.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let Some(Ok(bytes)) = bytes.get(..HEADER).map(<[u8; HEADER]>::try_from) else {
            return Self::Damaged;
        };
        let (version, found) = (u32_at(&bytes, 8), u32_at(&bytes, 12));
        let header = SegmentHeader { first: u64_at(&bytes, 16), expected: u64_at(&bytes, 24) };
        if bytes[..8] != *MAGIC || found != check(bytes) {
            return Self::Damaged;
        }
        if version != VERSION {
            return Self::Version(version);
        }
        if header.expected > header.first { Self::Damaged } else { Self::Whole(header) }
    }
}

/// XXH3-64 of the header with a check of zero, its lower half.
fn check(mut bytes: [u8; HEADER]) -> u32 {
    bytes[12..16].fill(0);
    xxh3_64(&bytes) as u32
}

fn u32_at(bytes: &[u8; HEADER], place: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[place..place + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8; HEADER], place: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[place..place + 8]);
    u64::from_le_bytes(number)
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
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|first| (1..=MAX_FIRST).contains(first))
}
