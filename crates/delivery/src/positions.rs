//! The positions of a sender's sources, as they are written in a snapshot: a decoded one takes three times the memory, and few of
//! them move with a batch.

use std::collections::BTreeMap;

use lapwing::v1::SourcePosition;
use prost::Message;

/// Bytes of a position beside its source and itself: its place in a tree that is a half full, and what the allocator adds.
const POSITION_BYTES: usize = 88;

/// Positions by source, encoded.
#[derive(Debug, Default, Clone)]
pub(crate) struct Positions {
    encoded: BTreeMap<Box<str>, Box<[u8]>>,
    bytes: usize,
}

impl Positions {
    /// The position of a source.
    pub(crate) fn get(&self, source: &str) -> Option<SourcePosition> {
        self.encoded.get(source).and_then(|encoded| decode(encoded))
    }

    /// Bytes that the position of a source takes in memory; `None` when there is none.
    pub(crate) fn size(&self, source: &str) -> Option<usize> {
        self.encoded.get(source).map(|encoded| size(source, encoded.len()))
    }

    /// Bytes that a position will take in memory.
    pub(crate) fn cost(position: &SourcePosition) -> usize {
        size(&position.source, position.encoded_len())
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = SourcePosition> {
        self.encoded.values().filter_map(|encoded| decode(encoded))
    }

    /// All of them, encoded.
    pub(crate) fn encoded(&self) -> impl Iterator<Item = &[u8]> {
        self.encoded.values().map(|encoded| &**encoded)
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.encoded.len()
    }

    /// Bytes that all of them take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A source moved, or was closed.
    pub(crate) fn moved(&mut self, position: &SourcePosition) {
        let source = position.source.as_str();
        let before = if position.closed {
            self.encoded.remove(source)
        } else {
            let encoded = position.encode_to_vec().into_boxed_slice();
            self.bytes += size(source, encoded.len());
            self.encoded.insert(source.into(), encoded)
        };
        self.bytes -= before.map_or(0, |before| size(source, before.len()));
    }
}

fn size(source: &str, encoded: usize) -> usize {
    source.len() + encoded + POSITION_BYTES
}

/// What was encoded here can be decoded.
fn decode(encoded: &[u8]) -> Option<SourcePosition> {
    SourcePosition::decode(encoded).ok()
}

/// Counts by cause are encoded in any order.
impl PartialEq for Positions {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}
