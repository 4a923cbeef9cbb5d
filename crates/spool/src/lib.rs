//! A durable ring: an append-only segmented log, the collector's journal and the agent's buffer.
//!
//! - **What is durable when.** [`Log::append`] resolves after the record's bytes, and the directory entry of its file, are on the
//!   disk. Appends that wait together share one fsync.
//! - **An fsync that failed is fatal.** The log is poisoned, every waiter is told, nothing is tried again on that file.
//! - **Indexes** start at 1, grow by one per record and are never used again, whatever is trimmed or lost.
//! - **Recovery.** A torn tail is cut to the last whole record. A damaged record costs that record and is counted. A missing
//!   segment is a counted gap. Foreign files and links are left alone.
//! - **When full**, an append waits for a trim, or drops the oldest records and counts them.
//! - **Trimming** removes whole segments, and only those whose every record is trimmed.
//!
//! The core ([`Spool`]) does no waiting and reaches the disk through [`Disk`]; [`Log`] runs it on a thread.
//! docs/formats/spool.md draws the bytes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod disk;
mod error;
mod log;
mod record;
mod recover;
mod segment;
pub mod sim;
mod spool;

pub use self::{
    disk::{Disk, RealDisk},
    error::SpoolError,
    log::Log,
    record::Record,
    recover::Recovery,
    spool::{Options, Spool, Stats, WhenFull},
};
