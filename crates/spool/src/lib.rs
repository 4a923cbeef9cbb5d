//! A durable ring: an append-only segmented log, the collector's journal and the agent's buffer.
//!
//! - **What is durable when.** [`Log::append`] resolves after the record's bytes, and the directory entry of its file, are on the
//!   disk. Appends that wait together share one fsync.
//! - **Memory first.** With [`Options::memory_bytes`] records stay in memory and `append` resolves at once: such a record is not
//!   durable. When memory is full, at [`Log::flush`], and when the last handle is dropped, all of it is spilled to the disk, with
//!   one fsync. What is trimmed before never touches the disk. A crash takes what was not spilled.
//! - **An fsync that failed is fatal.** The log is poisoned, every waiter is told, nothing is tried again on that file. What was
//!   durable before and what is still in memory can be read. The next process writes what it finds again before it believes it.
//! - **Indexes** start at 1, grow by one per record, and the index of a durable record is never given again, whatever is trimmed
//!   or lost. An index that a crash took with the memory may be: [`Log::advance`] says before which index none may come.
//! - **Recovery.** What a crash takes is a suffix: a torn tail is cut to the last whole record, and no record outlives one that
//!   was appended before it and was never durable. A damaged record costs that record and is counted; within the last group,
//!   which nothing written later vouches for, it is where the tail is cut. A missing segment is a counted gap. Segments of a
//!   newer version are refused. Foreign files and links are left alone.
//! - **When full**, an append waits for a trim, or drops the oldest records and counts them. A full disk refuses a record; of
//!   records in memory the oldest are dropped then and counted, or new ones refused.
//! - **Trimming** removes whole segments, and only those whose every record is trimmed.
//!
//! [`inspect`] looks at a directory without touching it, also while a writer is at work; [`repair`] sets aside what recovery can
//! only leave out.
//!
//! The core ([`Spool`]) does no waiting and reaches the disk through [`Disk`]; [`Log`] runs it on a thread.
//! docs/formats/spool.md draws the bytes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod chain;
mod disk;
mod error;
mod holder;
pub mod inspect;
mod log;
mod memory;
mod options;
mod record;
mod recover;
pub mod repair;
mod segment;
pub mod sim;
mod spool;

pub use self::{
    disk::{Disk, RealDisk},
    error::SpoolError,
    holder::{Holder, holder},
    log::Log,
    options::{Options, WhenFull},
    record::Record,
    recover::{DamageKind, Recovery},
    spool::{Spool, Stats},
};
