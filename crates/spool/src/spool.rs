//! The core: what is kept where, and what may go. It never waits.

use std::path::PathBuf;

use bytes::Bytes;

use crate::{
    chain::Chain,
    disk::Disk,
    error::SpoolError,
    memory::Memory,
    options::{Options, WhenFull},
    record::{self, Batch, Record},
    recover::Recovery,
};

/// Payload bytes written at a time while memory is spilled: where the disk gets full in the midst of it, what is before
/// stays, and every later try costs no more than this.
const SPILL_BYTES: usize = 1 << 20;

/// Figures of a spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Index of the oldest record that was not trimmed.
    pub first: u64,
    /// Index the next record gets.
    pub next: u64,
    /// Every record up to this index is durable, or was given up.
    pub durable: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes of the records that are in memory only: payloads, and a header for each.
    pub memory_bytes: u64,
    /// Records that are in memory only.
    pub memory_records: u64,
    /// Records dropped because the spool was full.
    pub dropped_records: u64,
}

/// An append-only segmented log. What is in memory when it is dropped is lost; [`Spool::close`] keeps it.
pub struct Spool {
    chain: Chain,
    memory: Memory,
    options: Options,
    path: PathBuf,
    first: u64,
    next: u64,
    dropped_records: u64,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool")
            .field("path", &self.path)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Spool {
    /// Opens the spool on `disk` and recovers what is there. `path` only names it in errors.
    ///
    /// # Errors
    /// When the disk refuses, or [`SpoolError::Version`]. Damaged contents are no error: the [`Recovery`] counts them.
    pub fn open(
        disk: Box<dyn Disk>,
        path: PathBuf,
        options: Options,
    ) -> Result<(Self, Recovery), SpoolError> {
        let (chain, report) = Chain::open(disk, path.clone())?;
        let (first, next) = (chain.first(), chain.next());
        // Segments are what is removed: one as large as the budget would fill it alone, and go as a whole.
        let options = Options { segment_bytes: options.segment_bytes.min(options.max_bytes / 8), ..options };
        let memory = Memory::default();
        Ok((Self { chain, memory, options, path, first, next, dropped_records: 0 }, report))
    }

    /// Why it takes nothing any more; `None` as long as it does.
    pub fn poisoned(&self) -> Option<&str> {
        self.chain.poisoned()
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        Stats {
            first: self.first,
            next: self.next,
            durable: self.chain.durable(),
            bytes: self.chain.bytes(),
            memory_bytes: self.memory.bytes(),
            memory_records: self.memory.len(),
            dropped_records: self.dropped_records,
        }
    }

    /// Bytes of records that surely have room together: in memory, or on the disk. A single record may have room beyond it.
    pub(crate) fn room(&self) -> u64 {
        let (used, budget) = match (self.options.memory_bytes, self.options.when_full) {
            (0, WhenFull::Block) => (self.chain.bytes(), self.options.max_bytes),
            (0, WhenFull::DropOldest) => (0, self.options.segment_bytes),
            (budget, _) => (self.memory.bytes(), budget),
        };
        budget.saturating_sub(used)
    }

    /// Appends records and gives the index of the first.
    ///
    /// Without `memory_bytes` they are durable after the next [`Spool::sync`]. With it they stay in memory, and are not durable
    /// before they are spilled: by an append that has no room beside them, or by [`Spool::flush`].
    ///
    /// # Errors
    /// [`SpoolError::Full`] and [`SpoolError::Disk`] keep nothing of the new records and lose none of the old; it may succeed
    /// later.
    pub fn append(&mut self, payloads: &[Bytes]) -> Result<u64, SpoolError> {
        self.chain.check_poison()?;
        payloads.iter().try_for_each(check_size)?;
        if self.options.memory_bytes == 0 {
            self.write(self.next, payloads)?;
        } else {
            self.keep(payloads)?;
        }
        let first = self.next;
        self.next += payloads.len() as u64;
        Ok(first)
    }

    /// Makes everything on the disk durable and gives the last durable index. What is in memory stays there.
    ///
    /// # Errors
    /// Any failure poisons the spool: the system may have dropped what it could not write, so a second try proves nothing.
    pub fn sync(&mut self) -> Result<u64, SpoolError> {
        self.chain.sync()?;
        Ok(self.chain.durable())
    }

    /// Puts everything that is in memory on the disk, makes it durable, and gives the last durable index.
    ///
    /// # Errors
    /// As [`Spool::append`]: what has no room stays in memory. As [`Spool::sync`].
    pub fn flush(&mut self) -> Result<u64, SpoolError> {
        self.spill()?;
        if self.chain.next() < self.next {
            // All since then was trimmed in memory. The disk remembers the next index by the name of a segment.
            self.chain.begin(self.next)?;
            self.chain.remove_before(self.first)?;
        }
        self.sync()
    }

    /// What to do before it is dropped: as [`Spool::flush`], and the next segment is begun.
    ///
    /// # Errors
    /// As [`Spool::flush`]: what is in memory then is lost with the spool.
    pub fn close(&mut self) -> Result<(), SpoolError> {
        self.flush()?;
        // Its being there vouches for the last group, as a later group does. Without it nothing is lost.
        let _ = self.chain.begin(self.next);
        Ok(())
    }

    /// Records from index `from` on, up to about `max_bytes` of them and at least one if there is one. Damaged ones are left out.
    ///
    /// # Errors
    /// When the first of them can't be read, or was damaged since the spool was opened.
    pub fn read(&mut self, from: u64, max_bytes: usize) -> Result<Vec<Record>, SpoolError> {
        let (from, mut batch) = (from.max(self.first), Batch::new(max_bytes));
        self.chain.read(from, &mut batch)?;
        self.memory.read(from, &mut batch);
        Ok(batch.into_records())
    }

    /// Gives up all records up to `through`. Segments go when nothing newer is in them; records in memory never see the disk.
    ///
    /// # Errors
    /// When the disk refuses; what could not be removed is removed by a later trim.
    pub fn trim(&mut self, through: u64) -> Result<(), SpoolError> {
        self.chain.check_poison()?;
        self.first = self.first.max(through.saturating_add(1).min(self.next));
        self.memory.trim(self.first);
        // A full segment whose records are all trimmed is followed by a new one, so that it can go.
        if self.first >= self.chain.next() && self.chain.is_full(self.options.segment_bytes) {
            self.chain.begin(self.first)?;
        }
        self.chain.remove_before(self.first)
    }

    /// Gives up all records before index `next`, and gives no index before it from now on, also after a reopen. For an owner
    /// that learns from elsewhere how far its records were taken: this spool may have been lost, rolled back, or have crashed
    /// with records in memory. When it gives up all there is, no crash brings any of it back: the owner may append some of it again,
    /// under other indexes.
    ///
    /// # Errors
    /// When the disk refuses; [`SpoolError::Index`] when no spool comes that far.
    pub fn advance(&mut self, next: u64) -> Result<(), SpoolError> {
        let gives_up_all = next >= self.next;
        if gives_up_all || next > self.chain.next() {
            self.chain.begin(next)?;
        }
        self.chain.sync()?;
        self.next = self.next.max(next);
        self.trim(next.saturating_sub(1))?;
        if gives_up_all { self.chain.sync_removals() } else { Ok(()) }
    }

    /// Keeps records in memory; what is there goes to the disk when both together have no room.
    fn keep(&mut self, payloads: &[Bytes]) -> Result<(), SpoolError> {
        let (size, budget) = (sum(payloads), self.options.memory_bytes);
        if self.memory.bytes() + size > budget {
            let spilled = self.spill();
            if spilled.is_ok() && size > budget {
                return self.write(self.next, payloads);
            }
            spilled.or_else(|error| self.shed(size, error))?;
        }
        self.memory.push(self.next, payloads);
        Ok(())
    }

    /// Makes room for `size` bytes in memory when the disk did not take what is there.
    fn shed(&mut self, size: u64, error: SpoolError) -> Result<(), SpoolError> {
        self.chain.check_poison()?;
        let budget = self.options.memory_bytes;
        if self.memory.bytes() + size <= budget {
            return Ok(());
        }
        if self.options.when_full == WhenFull::Block || size > budget {
            return Err(error);
        }
        let oldest = self.memory.first();
        self.dropped_records += self.memory.shrink(budget - size);
        // Older records may be on the disk: they stay, and what was dropped is a gap behind them.
        if oldest.is_some_and(|oldest| self.first >= oldest) {
            self.first = self.memory.first().unwrap_or(self.next);
        }
        Ok(())
    }

    /// Writes what is in memory to the disk, oldest first, and makes it durable together. What the disk does not take stays.
    fn spill(&mut self) -> Result<(), SpoolError> {
        let mut written = Ok(());
        let mut from = self.memory.first().unwrap_or(self.next);
        while written.is_ok() && from < self.next {
            let chunk = self.memory.chunk(from, SPILL_BYTES);
            written = self.write(from, &chunk);
            from += chunk.len() as u64;
        }
        let synced = self.chain.sync();
        self.memory.trim(self.chain.durable() + 1);
        synced.and(written)
    }

    /// Writes records to the disk, the first of which has index `first`: the next one there, or beyond it.
    fn write(&mut self, first: u64, payloads: &[Bytes]) -> Result<(), SpoolError> {
        self.make_room(first, sum(payloads))?;
        if first > self.chain.next() || self.chain.is_full(self.options.segment_bytes) {
            self.chain.begin(first)?;
            self.chain.remove_before(self.first)?;
        }
        self.chain.append(payloads)
    }

    /// Sees that `size` bytes fit on the disk, for records from index `next` on.
    fn make_room(&mut self, next: u64, size: u64) -> Result<(), SpoolError> {
        let max_bytes = self.options.max_bytes;
        while self.chain.bytes() + size > max_bytes {
            if self.first >= self.chain.next() {
                // Nothing that is kept is there: a new segment lets the old ones go. Alone even a record over the budget goes:
                // else it could never.
                self.chain.begin(next)?;
                return self.chain.remove_before(self.first);
            }
            if self.options.when_full == WhenFull::Block {
                return Err(SpoolError::Full {
                    path: self.path.clone(),
                    bytes: self.chain.bytes(),
                    max_bytes,
                });
            }
            self.drop_oldest(next)?;
        }
        Ok(())
    }

    fn drop_oldest(&mut self, next: u64) -> Result<(), SpoolError> {
        if self.chain.has_one_segment() {
            self.chain.begin(next)?;
        }
        let (dropped, first) = self.chain.drop_oldest(self.first)?;
        self.dropped_records += dropped;
        self.first = self.first.max(first);
        Ok(())
    }
}

/// Bytes that payloads take as records.
fn sum(payloads: &[Bytes]) -> u64 {
    payloads.iter().map(record::size).sum()
}

/// Refuses a payload that no spool takes.
fn check_size(payload: &Bytes) -> Result<(), SpoolError> {
    let (size, limit) = (payload.len(), record::MAX_PAYLOAD);
    if size > limit { Err(SpoolError::TooLarge { size, limit }) } else { Ok(()) }
}
