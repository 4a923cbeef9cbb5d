//! Bounds on what is taken from the network. Each is checked before memory is taken for what it bounds.

/// Bounds on a batch and on what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest gRPC message, in bytes.
    pub max_message_bytes: usize,
    /// Largest payload after decompression, in bytes.
    pub max_uncompressed_bytes: usize,
    /// Most rows in a batch.
    pub max_rows: usize,
    /// Most rows in a batch of plain messages, which take several times the memory.
    pub max_plain_rows: usize,
    /// Most attributes of all rows of a batch together, those of its resource counted for each row: runs are short on the wire and
    /// long in memory.
    pub max_pairs: usize,
    /// Most positions in a batch.
    pub max_positions: usize,
    /// Most attributes of a row or resource.
    pub max_attributes: usize,
    /// Longest attribute key, in bytes.
    pub max_key_bytes: usize,
    /// Longest attribute value, name, unit or source, in bytes.
    pub max_value_bytes: usize,
    /// Longest log body, in bytes.
    pub max_body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 4 << 20,
            max_uncompressed_bytes: 16 << 20,
            max_rows: 1 << 17,
            max_plain_rows: 1 << 14,
            max_pairs: 500_000,
            max_positions: 1 << 12,
            max_attributes: 128,
            max_key_bytes: 256,
            max_value_bytes: 16 << 10,
            max_body_bytes: 1 << 20,
        }
    }
}

impl Limits {
    /// What was ever journaled is within these: it was taken by an earlier version, and is acknowledged.
    pub fn journaled() -> Self {
        Self {
            max_uncompressed_bytes: 32 << 20,
            max_rows: 1 << 20,
            max_plain_rows: 1 << 20,
            max_pairs: 1 << 23,
            max_positions: usize::MAX,
            ..Self::default()
        }
    }
}
