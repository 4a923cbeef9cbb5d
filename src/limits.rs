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
            max_uncompressed_bytes: 32 << 20,
            max_rows: 1 << 20,
            max_attributes: 128,
            max_key_bytes: 256,
            max_value_bytes: 16 << 10,
            max_body_bytes: 1 << 20,
        }
    }
}
