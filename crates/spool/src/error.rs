//! What can go wrong with a spool.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

/// Why a spool did not do what it was asked.
#[derive(Debug, Clone, Error)]
pub enum SpoolError {
    /// The disk refused. When `append` says so nothing was kept of the record, and a later append may succeed.
    #[error("spool {path}: {action}: {source}")]
    Disk {
        /// The spool's directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The byte budget is used up.
    #[error("spool {path} is full: {bytes} of {max_bytes} bytes; it goes on when records are acknowledged")]
    Full {
        /// The spool's directory.
        path: PathBuf,
        /// Bytes in use.
        bytes: u64,
        /// The budget.
        max_bytes: u64,
    },
    /// The record can never fit.
    #[error("a record of {size} bytes is over the spool's limit of {limit}")]
    TooLarge {
        /// Size of the record.
        size: usize,
        /// Largest record.
        limit: usize,
    },
    /// An fsync failed before: nobody knows what is on the disk until it is read again.
    #[error("spool {path} is poisoned: {reason}; restart the program, it recovers what is on the disk")]
    Poisoned {
        /// The spool's directory.
        path: PathBuf,
        /// The failure that poisoned it.
        reason: String,
    },
    /// Another process has it.
    #[error(
        "spool {path} is in use by another process (its lock file is held); stop that one, or use another directory"
    )]
    Locked {
        /// The spool's directory.
        path: PathBuf,
    },
    /// A record is damaged.
    #[error("spool {path}: record {index} is damaged")]
    Damaged {
        /// The spool's directory.
        path: PathBuf,
        /// The record.
        index: u64,
    },
    /// A segment was written by a newer program. Nothing was changed.
    #[error(
        "spool {path}: {name} has version {version}, this program knows {}; run the program that wrote it",
        crate::segment::VERSION
    )]
    Version {
        /// The spool's directory.
        path: PathBuf,
        /// The segment.
        name: String,
        /// Its version.
        version: u32,
    },
    /// An index that no real spool comes to: the number it was asked for is wrong.
    #[error("spool {path}: index {index} is over the limit of {limit}")]
    Index {
        /// The spool's directory.
        path: PathBuf,
        /// The index.
        index: u64,
        /// Largest index that can be asked for.
        limit: u64,
    },
    /// The log's thread has ended.
    #[error("the spool is closed")]
    Closed,
}

impl SpoolError {
    pub(crate) fn disk(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Disk { path: path.to_owned(), action, source: Arc::new(source) }
    }
}
