//! The positions of a sender's sources, as they are written in a snapshot: a decoded one takes three times the memory, and few of
//! them move with a batch.

use std::collections::BTreeMap;

use lapwing::v1::SourcePosition;
use prost::Message;

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

    /// Bytes of the position of a source; `None` when there is none.
    pub(crate) fn size(&self, source: &str) -> Option<usize> {
        self.encoded.get(source).map(|encoded| encoded.len())
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = SourcePosition> {
        self.encoded.values().filter_map(|encoded| decode(encoded))
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.encoded.len()
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A source moved, or was closed.
    pub(crate) fn moved(&mut self, position: &SourcePosition) {
        let before = if position.closed {
            self.encoded.remove(&*position.source)
        } else {
            let encoded = position.encode_to_vec().into_boxed_slice();
            self.bytes += encoded.len();
            self.encoded.insert(position.source.as_str().into(), encoded)
        };
        self.bytes -= before.map_or(0, |before| before.len());
    }
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
