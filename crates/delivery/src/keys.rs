//! Idempotency keys of one sender: a second batch with the same one is acknowledged and not stored again, for a day.
//!
//! A key is remembered by its hash, so that each takes the same few bytes, however long it is.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::journal::KeyRecord;

/// How long a key is remembered, in nanoseconds.
pub(crate) const KEY_AGE: u64 = 86_400_000_000_000;
/// Keys remembered of one sender; of more, the oldest are forgotten.
const KEYS: usize = 100_000;

/// XXH3-128 of a key, big endian. Whoever finds two keys with the same one deceives himself alone.
type Hash = [u8; 16];

/// The keys, and when each came.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Keys {
    times: HashMap<Hash, u64>,
    /// The oldest first.
    order: VecDeque<Hash>,
}

impl Keys {
    /// Whether a key came within the last day.
    pub(crate) fn knows(&self, key: &str, now: u64) -> bool {
        let received = self.times.get(&hash(key));
        received.is_some_and(|received| now.saturating_sub(*received) <= KEY_AGE)
    }

    /// A key came.
    pub(crate) fn remember(&mut self, key: &str, received: u64) {
        self.remember_hash(hash(key), received);
    }

    fn remember_hash(&mut self, hash: Hash, received: u64) {
        while let Some(oldest) = self.order.front() {
            let time = self.times.get(oldest).copied().unwrap_or(0);
            if self.order.len() < KEYS && received.saturating_sub(time) <= KEY_AGE {
                break;
            }
            self.times.remove(oldest);
            self.order.pop_front();
        }
        if self.times.insert(hash, received).is_none() {
            self.order.push_back(hash);
        }
    }

    /// All of them, the oldest first.
    pub(crate) fn records(&self) -> impl Iterator<Item = KeyRecord> {
        self.order.iter().map(|hash| KeyRecord {
            hash: Bytes::copy_from_slice(hash),
            received_unix_nano: self.times.get(hash).copied().unwrap_or(0),
            ..KeyRecord::default()
        })
    }

    /// A key of a snapshot. Earlier versions wrote the key itself.
    pub(crate) fn take(&mut self, record: &KeyRecord) {
        let hash = Hash::try_from(&*record.hash).unwrap_or_else(|_| hash(&record.key));
        self.remember_hash(hash, record.received_unix_nano);
    }
}

fn hash(key: &str) -> Hash {
    xxh3_128(key.as_bytes()).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_remembered_for_a_day() {
        let mut keys = Keys::default();
        keys.remember("a", 1);
        assert!(keys.knows("a", 2) && !keys.knows("b", 2));
        assert!(!keys.knows("a", KEY_AGE + 2));
        keys.remember("b", KEY_AGE);
        assert!(keys.knows("a", KEY_AGE) && keys.knows("b", KEY_AGE));
        keys.remember("c", KEY_AGE + 2);
        assert!(!keys.knows("a", 3) && keys.knows("b", 3), "what is too old is forgotten, not only hidden");
    }

    #[test]
    fn of_more_keys_than_are_remembered_the_oldest_are_forgotten() {
        let mut keys = Keys::default();
        (0..=KEYS as u64).for_each(|n| keys.remember(&n.to_string(), n));
        assert!(!keys.knows("0", 1) && keys.knows("1", 1));
    }

    #[test]
    fn a_snapshot_holds_the_keys_and_so_does_one_of_an_earlier_version() {
        let mut keys = Keys::default();
        keys.remember("a", 5);
        let mut again = Keys::default();
        keys.records().for_each(|record| again.take(&record));
        assert_eq!(again, keys);
        let mut older = Keys::default();
        older.take(&KeyRecord { key: "a".to_owned(), received_unix_nano: 5, ..KeyRecord::default() });
        assert_eq!(older, keys);
    }
}
