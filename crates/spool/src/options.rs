//! How a spool behaves.

/// What an append does when the byte budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Fail with [`SpoolError::Full`](crate::SpoolError::Full); [`Log`](crate::Log) waits for a trim instead.
    Block,
    /// Give up the oldest records and count them: the oldest segment when the budget is used up, the oldest records in memory
    /// when the disk does not take them.
    DropOldest,
}

/// How a spool behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// A segment that has reached this size, or an eighth of `max_bytes`, is followed by a new one.
    pub segment_bytes: u64,
    /// Byte budget on disk.
    pub max_bytes: u64,
    /// What happens beyond it.
    pub when_full: WhenFull,
    /// Byte budget of the records that are kept in memory first; 0 puts each record on the disk. A payload that is a slice of
    /// a larger buffer keeps all of that alive.
    pub memory_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, max_bytes: 8 << 30, when_full: WhenFull::Block, memory_bytes: 0 }
    }
}
