//! Hashes of all that was read of a file, block by block: what tells whether something before the position was changed, and where.
//!
//! A block is a KiB at first. When there are too many, each two become one: a large file costs no more than a small one, and a change in
//! it is found less exactly. The hash of several blocks is the sum of theirs, so that nothing has to be read again for that.

use std::{collections::BTreeMap, io, ops::Range};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::content::Content;

/// Bytes of the smallest block: no more than a reader has at hand of what it read before.
const BLOCK: u64 = 1024;
/// Hashes of a file, at most.
const MAX_HASHES: usize = 128;
/// Bytes that are read again at most when blocks are forgotten that are in one hash with others.
const MAX_AGAIN: u64 = 1 << 20;
/// Bytes before the position that are compared at most.
const MAX_COMPARED: u64 = 64 << 20;
/// Bytes read at a time when blocks are compared.
const CHUNK: u64 = 256 << 10;

/// What was read, from `start` on, where the reader of this run began.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    /// The first block, by its number.
    start: u64,
    /// How many there are.
    count: u64,
    /// Each of so many of them.
    hashes: Vec<u64>,
    /// How many blocks one hash is of, as a power of two.
    order: u32,
}

/// What is found of the blocks in a file, step by step.
#[derive(Debug, Clone, Default)]
pub(super) struct Comparison {
    /// Blocks that were compared, behind the first.
    done: u64,
    /// The sum of those of the hash that is next.
    sum: u64,
    /// The hashes that differ, by their places.
    differs: BTreeMap<usize, u64>,
}

/// The hash of one block.
fn hash(block: &[u8], number: u64) -> u64 {
    xxh3_64_with_seed(block, number)
}

impl Blocks {
    /// Notes bytes that were just read: those before `offset`, the first of which may be known. What comes with a hole before it is all
    /// that is known then.
    pub(super) fn advance(&mut self, offset: u64, bytes: &[u8]) {
        let from = offset - bytes.len() as u64;
        if self.count == 0 || from > self.end() {
            *self = Self { start: from.div_ceil(BLOCK), ..Self::default() };
        }
        while self.end() + BLOCK <= offset {
            let number = self.start + self.count;
            let Ok(at) = usize::try_from(number * BLOCK - from) else { return };
            let Some(block) = bytes.get(at..at + BLOCK as usize) else { return };
            self.add(hash(block, number));
        }
    }

    fn add(&mut self, hash: u64) {
        let is_begun = !self.count.is_multiple_of(self.each());
        match self.hashes.last_mut().filter(|_| is_begun) {
            Some(last) => *last = last.wrapping_add(hash),
            None => self.hashes.push(hash),
        }
        self.count += 1;
        if self.hashes.len() > MAX_HASHES {
            self.order += 1;
            let pairs =
                self.hashes.chunks(2).map(|pair| pair.iter().fold(0, |sum, hash| hash.wrapping_add(sum)));
            self.hashes = pairs.collect();
        }
    }

    /// Blocks of one hash.
    fn each(&self) -> u64 {
        1 << self.order
    }

    /// Bytes of one hash.
    pub(super) fn bytes_each(&self) -> u64 {
        BLOCK << self.order
    }

    /// Up to where the file is known by whole blocks.
    pub(super) fn end(&self) -> u64 {
        (self.start + self.count) * BLOCK
    }

    /// Forgets what is behind `offset`. Where blocks are in one hash with some of these, they are read again.
    pub(super) fn cut(&mut self, offset: u64, content: &mut Content) -> io::Result<()> {
        if offset >= self.end() {
            return Ok(());
        }
        let wanted = (offset / BLOCK).saturating_sub(self.start);
        let kept = wanted / self.each();
        self.hashes.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        self.count = kept * self.each();
        if (wanted - self.count) * BLOCK > MAX_AGAIN {
            *self = Self::default();
            return Ok(());
        }
        while self.count < wanted {
            let number = self.start + self.count;
            let block = content.read_at(number * BLOCK, BLOCK as usize)?;
            self.add(hash(&block, number));
        }
        Ok(())
    }

    /// Compares up to `most` bytes with what is in the file now. `true` when all that is known and before `size` was compared.
    pub(super) fn compare(
        &self,
        content: &mut Content,
        size: u64,
        most: u64,
        comparison: &mut Comparison,
    ) -> io::Result<bool> {
        let whole = (size / BLOCK).saturating_sub(self.start).min(self.count);
        let until = whole.min(comparison.done + most / BLOCK);
        while comparison.done < until {
            let number = self.start + comparison.done;
            let length = ((until - comparison.done) * BLOCK).min(CHUNK);
            let chunk = content.read_at(number * BLOCK, length as usize)?;
            for (n, block) in chunk.chunks(BLOCK as usize).enumerate() {
                self.compare_block(hash(block, number + n as u64), comparison);
            }
            if (chunk.len() as u64) < length {
                break;
            }
        }
        Ok(comparison.done >= whole)
    }

    fn compare_block(&self, hash: u64, comparison: &mut Comparison) {
        let index = usize::try_from(comparison.done / self.each()).unwrap_or(usize::MAX);
        comparison.sum = comparison.sum.wrapping_add(hash);
        comparison.done += 1;
        if !comparison.done.is_multiple_of(self.each()) && comparison.done != self.count {
            return;
        }
        if self.hashes.get(index) != Some(&comparison.sum) {
            comparison.differs.insert(index, comparison.sum);
        }
        comparison.sum = 0;
    }

    /// The bytes in which all is that differs.
    pub(super) fn changed(&self, comparison: &Comparison) -> Option<Range<u64>> {
        let place = |index: usize| (self.start + index as u64 * self.each()) * BLOCK;
        let (first, _) = comparison.differs.first_key_value()?;
        let (last, _) = comparison.differs.last_key_value()?;
        Some(place(*first)..place(last + 1).min(self.end()))
    }

    /// What was found is what is there now.
    pub(super) fn accept(&mut self, comparison: Comparison) {
        for (index, hash) in comparison.differs {
            if let Some(known) = self.hashes.get_mut(index) {
                *known = hash;
            }
        }
    }

    /// A comparison of all that is known; of a large file, of the last of it.
    pub(super) fn comparison(&self) -> Comparison {
        let skipped = self.count.saturating_sub(MAX_COMPARED / BLOCK);
        Comparison { done: skipped / self.each() * self.each(), ..Comparison::default() }
    }

    /// Up to where a file that is `size` bytes long holds what was read, by whole hashes. `None` when the beginning is not known.
    pub(super) fn same_up_to(&self, content: &mut Content, size: u64) -> io::Result<Option<u64>> {
        if self.start > 0 || self.count == 0 {
            return Ok(None);
        }
        let mut comparison = Comparison::default();
        self.compare(content, size, MAX_COMPARED, &mut comparison)?;
        let whole = comparison.done / self.each() * self.each();
        let same = match comparison.differs.first_key_value() {
            Some((first, _)) => *first as u64 * self.each(),
            None if comparison.done == self.count => self.count,
            None => whole,
        };
        Ok(Some(same * BLOCK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n * n / 7) as u8).collect()
    }

    /// As a reader notes them that reads `step` bytes at a time and keeps the last KiB.
    fn blocks(bytes: &[u8], from: usize, step: usize) -> Blocks {
        let mut blocks = Blocks::default();
        let mut offset = from;
        while offset < bytes.len() {
            let end = (offset + step).min(bytes.len());
            blocks.advance(end as u64, &bytes[offset.saturating_sub(1024)..end]);
            offset = end;
        }
        blocks
    }

    fn changed(blocks: &Blocks, bytes: &[u8]) -> Option<Range<u64>> {
        let mut comparison = blocks.comparison();
        while !blocks.compare(&mut Content::of(bytes), bytes.len() as u64, 64 << 10, &mut comparison).unwrap()
        {
        }
        blocks.changed(&comparison)
    }

    #[test]
    fn a_changed_byte_is_found_in_its_block_however_the_file_was_read() {
        let before = bytes(300_000);
        for step in [100, 1000, 4096, 70_000] {
            let mut blocks = blocks(&before, 0, step);
            assert!(blocks.hashes.len() <= MAX_HASHES && blocks.hashes.len() > MAX_HASHES / 4);
            assert_eq!(changed(&blocks, &before), None);
            for place in [0, 1023, 1024, 150_000, 299_000] {
                let mut after = before.clone();
                after[place] ^= 1;
                let found = changed(&blocks, &after).unwrap();
                assert!(found.contains(&(place as u64)) && found.end - found.start <= 4096, "{found:?}");
            }
            let same = blocks.same_up_to(&mut Content::of(&before[..100_000]), 100_000).unwrap().unwrap();
            assert!((95_000..=100_000).contains(&same), "{same}");

            blocks.cut(123_456, &mut Content::of(&before)).unwrap();
            assert_eq!(blocks.end(), 123_456 / 1024 * 1024);
            assert_eq!(changed(&blocks, &before), None);
        }
    }

    #[test]
    fn of_a_file_that_is_read_from_within_the_rest_is_known() {
        let before = bytes(100_000);
        for from in [500, 5_000, 5_120] {
            let blocks = blocks(&before, from, 3000);
            let mut after = before.clone();
            after[50_000] ^= 1;
            assert_eq!(changed(&blocks, &before), None);
            assert_eq!(changed(&blocks, &after), Some(49_152..50_176));
            assert_eq!(blocks.same_up_to(&mut Content::of(&before), 9_000).unwrap().is_some(), from < 1024);
        }
    }
}
