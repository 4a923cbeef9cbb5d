//! What the collector keeps in memory, from one figure: `[server] memory_bytes`.
//!
//! Each part has a share of it that is the same for every figure, so a collector with half the memory takes half as much of everything at a
//! time, and is as safe. The figures in brackets are those of the usual 384 MiB.
//!
//! | part | share | |
//! |---|---|---|
//! | messages on their way in, and what a start reads of the journal at a time | 1/24 | \[16 MiB\] |
//! | batches from the decoder to the tables | 1/8, at least the largest batch | \[48 MiB\] |
//! | rows in the tables (`[storage] memory_bytes`) | 1/6 | \[64 MiB\], flushed at a half |
//! | queries (`[limits] query_memory_bytes`) | 2/3 | \[256 MiB\] |
//! | messages of tails on their way out | 1/48 | \[8 MiB\]: 64 tails |
//! | bytes of connections that nobody has read yet | 1/12 | \[32 MiB\]: 4,096 connections, 64 with wide windows |
//! | positions of agents that take a lease, until they have read them | 1/8 | \[48 MiB\] |
//! | requests under way | 1/12 | \[32 MiB\]: 8,192 |
//!
//! Not all of them are full at a time: the first four are, and then queries get what they need of the rest. What the journal's thread
//! holds is a part of the batches and messages that wait for it.
//!
//! What is remembered of senders is no part of it. It has bounds of its own for each sender (docs/security.md): a position that gave way to
//! others would make lines come twice.

use lapwing::limits::Limits;

/// The memory of a collector, and the parts of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    memory: usize,
}

/// What one identity may have of a part: a quarter. Three that misbehave leave room for all others.
const PER_IDENTITY: usize = 4;
/// Bytes of the messages of one tail that wait for its reader.
pub const TAIL: usize = 128 << 10;
/// Bytes of a request under way.
const REQUEST: usize = 4 << 10;

impl Budget {
    /// What a batch of an agent becomes at most: 65,536 rows, with seven attributes of the resource for each. A collector with little memory takes
    /// it, too, since it would be lost otherwise.
    pub const LARGEST_BATCH: usize = 24 << 20;
    /// When no figure is given.
    pub const USUAL: usize = 384 << 20;
    /// Least that a collector works with: a quarter of the room for messages still holds a full batch of an agent.
    pub const LEAST: usize = 96 << 20;

    /// The parts of so many bytes; less than [`Budget::LEAST`] count as that.
    pub fn new(memory: usize) -> Self {
        Self { memory: memory.max(Self::LEAST) }
    }

    /// The figure itself.
    pub fn memory(self) -> usize {
        self.memory
    }

    /// Bytes of messages, each from when it comes in until it is dealt with.
    pub fn intake(self) -> usize {
        self.memory / 24
    }

    /// Bytes of batches that came before their turn, each from when it is there until it is dealt with.
    pub fn early(self) -> usize {
        self.memory / 48
    }

    /// Bytes of batches on their way from the decoder to the tables, as they lie in memory.
    pub fn decode(self) -> usize {
        (self.memory / 8).max(Self::LARGEST_BATCH)
    }

    /// What the batches of one identity may become of it: a half, so that there are always those of two under way.
    pub fn decode_of_one(self) -> usize {
        (self.decode() / 2).max(Self::LARGEST_BATCH)
    }

    /// Bytes of rows in the tables, at which appends wait.
    pub fn tables(self) -> usize {
        self.memory / 6
    }

    /// Bytes of rows in the tables at which they are flushed.
    pub fn flush(self) -> usize {
        self.tables() / 2
    }

    /// Bytes of all queries together.
    pub fn queries(self) -> usize {
        self.memory / 3 * 2
    }

    /// Tails at a time.
    pub fn tails(self) -> usize {
        self.memory / 48 / TAIL
    }

    /// Requests under way.
    pub fn requests(self) -> usize {
        self.memory / 12 / REQUEST
    }

    /// Bytes that came on connections and that nobody has read yet.
    pub fn unread(self) -> usize {
        self.memory / 12
    }

    /// Bytes of positions in answers to `Resume`.
    pub fn leases(self) -> usize {
        self.memory / 8
    }

    /// What one identity may have of a part of so many bytes.
    pub fn of_one(part: usize) -> usize {
        part / PER_IDENTITY
    }

    /// Largest message: no larger than the room of one identity.
    pub fn message(self) -> usize {
        Limits::default().max_message_bytes.min(Self::of_one(self.intake()))
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Self::USUAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn the_usual_figures_are_those_that_were_measured() {
        let usual = Budget::default();
        assert_eq!((usual.intake(), usual.decode(), usual.decode_of_one()), (16 * MIB, 48 * MIB, 24 * MIB));
        assert_eq!((usual.tables(), usual.flush(), usual.queries()), (64 * MIB, 32 * MIB, 256 * MIB));
        assert_eq!((usual.tails(), usual.requests(), usual.unread()), (64, 8192, 32 * MIB));
        assert_eq!(usual.message(), Limits::default().max_message_bytes);
    }

    #[test]
    fn what_fills_up_with_batches_leaves_a_half_and_with_little_memory_more_than_a_third() {
        for memory in [0, Budget::LEAST, 192 * MIB, Budget::USUAL, 1 << 40, usize::MAX] {
            let budget = Budget::new(memory);
            let full = budget.intake() + budget.early() + budget.decode() + budget.tables() + budget.unread();
            let most = if memory < 192 * MIB { budget.memory() / 3 * 2 } else { budget.memory() / 2 };
            assert!(full <= most, "{memory}");
            assert!(
                budget.message() >= MIB && budget.message() <= Budget::of_one(budget.intake()),
                "{memory}"
            );
        }
    }

    #[test]
    fn a_collector_with_little_memory_takes_the_largest_batch_of_an_agent() {
        let least = Budget::new(Budget::LEAST);
        assert_eq!((least.decode(), least.decode_of_one()), (Budget::LARGEST_BATCH, Budget::LARGEST_BATCH));
    }
}
