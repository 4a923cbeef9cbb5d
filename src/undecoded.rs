//! An `IngestRequest` before it is decoded: what it would become is counted on the bytes as they came.
//!
//! Two bytes of an empty log record become several hundred bytes of memory, and a message is decoded in one go. So the collector takes the
//! message as it is, counts what is in it without taking memory ([`Envelope`]), and decodes it when there is room for the result. That also
//! makes bytes that are no message a refusal like any other; gRPC's own decoder would call them a fault of the server.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, encode_key, encode_varint},
};
use thiserror::Error;

use crate::{
    limits::Limits,
    v1::{IngestRequest, Origin, ResumeResponse},
};

mod fields;

use self::fields::{Fields, Value};

/// The server of `lapwing.v1.IngestService`, whose messages come undecoded.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from documented .proto files")]
pub mod service {
    include!(concat!(env!("OUT_DIR"), "/undecoded/lapwing.v1.rs"));
}

/// Memory that a row takes as a message and in columns, beside its texts ...
const ROW: usize = 480;
/// ... an attribute of a row, or of the resource ...
const PAIR: usize = 288;
/// ... a position ...
const POSITION: usize = 512;
/// ... and a count of dropped events in it.
const CAUSE: usize = 128;
/// Texts and bodies are there as they came, as strings, and in columns.
const COPIES: usize = 3;

/// The field `positions` of a `ResumeResponse`.
const RESUMED_POSITIONS: u32 = 3;

/// The bytes of an `IngestRequest`, or of a `ResumeResponse`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undecoded(pub Bytes);

/// Why bytes are not taken for a batch.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// They are not an `IngestRequest`.
    #[error("the message is not an IngestRequest: {0}")]
    Malformed(&'static str),
    /// A message that may come once came again.
    #[error("the message is not an IngestRequest: {0} comes twice")]
    Twice(&'static str),
    /// There is no batch in it.
    #[error("batch: it is not set")]
    NoBatch,
    /// Too much of something.
    #[error("{what}: there are {count}, at most {limit} go into a batch")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
}

/// What can be said of a batch before it is decoded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Envelope {
    /// Its number.
    pub origin: Origin,
    /// All batches of its run up to this sequence are durable, as far as its sender knows.
    pub acknowledged: u64,
    /// What vouches for its payload, as claimed.
    pub digest: Bytes,
    /// Uncompressed bytes and rows of packed columns, as declared.
    pub packed: Option<(usize, usize)>,
    /// Rows that are plain messages.
    pub rows: usize,
    /// Attributes of these rows.
    pub pairs: usize,
    /// Attributes of the resource.
    pub resource: usize,
    /// Positions.
    pub positions: usize,
    causes: usize,
    bytes: usize,
}

impl Envelope {
    /// Counts what the bytes hold. Takes no memory but for the agent's id.
    ///
    /// # Errors
    /// When they are no batch, or hold more than `limits` allow.
    pub fn read(bytes: &Bytes, limits: &Limits) -> Result<Self, EnvelopeError> {
        let mut envelope = Self { bytes: bytes.len(), ..Self::default() };
        let mut batch = None;
        for field in Fields::new(bytes) {
            if let (1, Value::Bytes(value)) = field? {
                once(&mut batch, value, "batch")?;
            }
        }
        let batch = batch.ok_or(EnvelopeError::NoBatch)?;
        envelope.read_batch(batch, bytes, limits)?;
        Ok(envelope)
    }

    /// Memory that the batch takes when it is decoded, without what packed columns become.
    pub fn becomes(&self) -> usize {
        let rows = self.rows.saturating_mul(ROW);
        let pairs = (self.pairs + self.resource).saturating_mul(PAIR);
        let positions = self.positions * POSITION + self.causes * CAUSE;
        let texts = if self.packed.is_some() { self.bytes } else { self.bytes.saturating_mul(COPIES) };
        rows.saturating_add(pairs).saturating_add(positions).saturating_add(texts)
    }

    fn read_batch(&mut self, batch: &[u8], whole: &Bytes, limits: &Limits) -> Result<(), EnvelopeError> {
        let mut origin = None;
        let mut packed = None;
        let mut rows = None;
        let mut resource = None;
        for field in Fields::new(batch) {
            match field? {
                (1, Value::Bytes(value)) => once(&mut origin, value, "origin")?,
                (2, Value::Bytes(value)) => self.digest = whole.slice_ref(value),
                (3, Value::Bytes(value)) => once(&mut resource, value, "resource")?,
                (4, Value::Bytes(value)) => self.read_position(value, limits)?,
                (5, Value::Bytes(value)) => once(&mut packed, value, "packed")?,
                (6, Value::Bytes(value)) => once(&mut rows, value, "rows")?,
                (9, Value::Varint(value)) => self.acknowledged = value,
                _ => {}
            }
        }
        if let Some(origin) = origin {
            self.origin = Origin::decode(origin).map_err(|_| EnvelopeError::Malformed("origin"))?;
        }
        if packed.is_some() && rows.is_some() {
            return Err(EnvelopeError::Twice("the payload"));
        }
        if let Some(packed) = packed {
            self.packed = Some(read_packed(packed)?);
        }
        if let Some(rows) = rows {
            self.read_rows(rows, limits)?;
        }
        self.resource = count(resource.unwrap_or_default(), 1)?;
        check("resource: attributes", self.resource, limits.max_attributes)
    }

    fn read_position(&mut self, position: &[u8], limits: &Limits) -> Result<(), EnvelopeError> {
        self.positions += 1;
        check("positions", self.positions, limits.max_positions)?;
        self.causes += count(position, 9)?;
        check("positions: causes in events_dropped", self.causes, limits.max_positions)
    }

    fn read_rows(&mut self, rows: &[u8], limits: &Limits) -> Result<(), EnvelopeError> {
        for field in Fields::new(rows) {
            let (tag, Value::Bytes(row)) = field? else { continue };
            // Where the attributes of a LogRecord, a MetricPoint and a Flow stand.
            let attributes = match tag {
                1 | 2 => 8,
                3 => 10,
                _ => continue,
            };
            self.rows += 1;
            check("rows", self.rows, limits.max_plain_rows)?;
            self.pairs += count(row, attributes)?;
            check("rows: attributes of all of them", self.pairs, limits.max_pairs)?;
        }
        Ok(())
    }
}

/// Uncompressed size and rows of `Packed`.
fn read_packed(packed: &[u8]) -> Result<(usize, usize), EnvelopeError> {
    let mut size = 0;
    let mut rows = 0;
    for field in Fields::new(packed) {
        match field? {
            (3, Value::Varint(value)) => rows = value,
            (4, Value::Varint(value)) => size = value,
            _ => {}
        }
    }
    let number = |value| usize::try_from(value).unwrap_or(usize::MAX);
    Ok((number(size), number(rows)))
}

/// How often a field stands in a message.
fn count(message: &[u8], tag: u32) -> Result<usize, EnvelopeError> {
    let mut found = 0;
    for field in Fields::new(message) {
        found += usize::from(field?.0 == tag);
    }
    Ok(found)
}

fn once<'a>(place: &mut Option<&'a [u8]>, value: &'a [u8], what: &'static str) -> Result<(), EnvelopeError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(EnvelopeError::Twice(what)),
    }
}

fn check(what: &'static str, count: usize, limit: usize) -> Result<(), EnvelopeError> {
    if count <= limit { Ok(()) } else { Err(EnvelopeError::TooMany { what, count, limit }) }
}

impl Undecoded {
    /// What a request without a batch asks about: whether so much is held as the sender was acknowledged.
    ///
    /// # Errors
    /// When the bytes are no `IngestRequest`.
    pub fn acknowledged(request: &Bytes) -> Result<Option<Origin>, EnvelopeError> {
        let mut found = None;
        for field in Fields::new(request) {
            match field? {
                (1, _) => return Ok(None),
                (2, Value::Bytes(value)) => once(&mut found, value, "acknowledged")?,
                _ => {}
            }
        }
        let decode = |origin| Origin::decode(origin).map_err(|_| EnvelopeError::Malformed("acknowledged"));
        found.map(decode).transpose()
    }

    /// The answer to `Resume` with these encoded positions, which take `bytes` at most. Decoded, those of one agent take fifty megabytes.
    pub fn resumed<'a>(
        answer: &ResumeResponse,
        positions: impl Iterator<Item = &'a [u8]>,
        bytes: usize,
    ) -> Self {
        let mut encoded = BytesMut::with_capacity(answer.encoded_len().saturating_add(bytes));
        answer.encode_raw(&mut encoded);
        for position in positions {
            encode_key(RESUMED_POSITIONS, WireType::LengthDelimited, &mut encoded);
            encode_varint(position.len() as u64, &mut encoded);
            encoded.put_slice(position);
        }
        Self(encoded.freeze())
    }
}

impl From<IngestRequest> for Undecoded {
    fn from(request: IngestRequest) -> Self {
        Self(request.encode_to_vec().into())
    }
}

/// Every sequence of bytes is one: decoding takes them as they are.
impl Message for Undecoded {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: WireType,
        _: &mut impl Buf,
        _: DecodeContext,
    ) -> Result<(), DecodeError> {
        // Only `merge` below asks for fields, and it does not.
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn merge(&mut self, mut buf: impl Buf) -> Result<(), DecodeError> {
        self.0 = buf.copy_to_bytes(buf.remaining());
        Ok(())
    }

    fn decode(mut buf: impl Buf) -> Result<Self, DecodeError> {
        Ok(Self(buf.copy_to_bytes(buf.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Batch, LogRecord, Packed, Resource, Rows, SourcePosition, batch::Payload};

    #[test]
    fn an_answer_with_encoded_positions_is_that_answer() {
        let position = |n: usize| SourcePosition { source: "x".repeat(n), ..SourcePosition::default() };
        let positions = vec![position(1), position(300)];
        let encoded: Vec<Vec<u8>> = positions.iter().map(Message::encode_to_vec).collect();
        let answer = ResumeResponse { agent_id: "a".to_owned(), lease: 9, ..ResumeResponse::default() };
        let Undecoded(bytes) = Undecoded::resumed(&answer, encoded.iter().map(Vec::as_slice), 0);
        assert_eq!(ResumeResponse::decode(bytes), Ok(ResumeResponse { positions, ..answer }));
    }

    fn read(batch: Batch) -> Result<Envelope, EnvelopeError> {
        let Undecoded(bytes) = IngestRequest { batch: Some(batch), ..IngestRequest::default() }.into();
        Envelope::read(&bytes, &Limits::default())
    }

    fn batch() -> Batch {
        Batch {
            origin: Some(Origin { agent_id: "a".to_owned(), epoch: 7, sequence: 3, ..Origin::default() }),
            digest: "0123456789abcdef".into(),
            resource: Some(Resource {
                attributes: [("k".to_owned(), "v".to_owned())].into(),
                ..Resource::default()
            }),
            ..Batch::default()
        }
    }

    #[test]
    fn what_a_batch_holds_is_known_before_it_is_decoded() {
        let packed = Packed { rows: 9, uncompressed_size: 100, ..Packed::default() };
        let position =
            SourcePosition { events_dropped: [("full".to_owned(), 1)].into(), ..SourcePosition::default() };
        let positions = vec![position; 3];
        let envelope = read(Batch { payload: Some(Payload::Packed(packed)), positions, ..batch() }).unwrap();
        assert_eq!(Some(envelope.origin), batch().origin);
        assert_eq!(envelope.digest, batch().digest);
        assert_eq!(envelope.packed, Some((100, 9)));
        assert_eq!((envelope.positions, envelope.causes, envelope.resource), (3, 3, 1));

        let record = LogRecord {
            attributes: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
            ..LogRecord::default()
        };
        let rows = Rows { logs: vec![record; 5], ..Rows::default() };
        let envelope = read(Batch { payload: Some(Payload::Rows(rows)), ..batch() }).unwrap();
        assert_eq!((envelope.rows, envelope.pairs, envelope.packed), (5, 10, None));
        assert!(envelope.becomes() > 5 * ROW + 10 * PAIR);
    }

    #[test]
    fn two_million_empty_rows_and_positions_are_refused_by_counting_them() {
        let many = |tag: u8| -> Bytes {
            let inner = [tag, 0].repeat(2_000_000);
            let mut batch = Vec::new();
            if tag != 0x22 {
                prost::encoding::encode_key(6, WireType::LengthDelimited, &mut batch);
                prost::encoding::encode_varint(inner.len() as u64, &mut batch);
            }
            batch.extend(inner);
            let mut request = Vec::new();
            prost::encoding::encode_key(1, WireType::LengthDelimited, &mut request);
            prost::encoding::encode_varint(batch.len() as u64, &mut request);
            request.extend(batch);
            request.into()
        };
        for tag in [0x0a, 0x12, 0x1a, 0x22] {
            let refused = Envelope::read(&many(tag), &Limits::default()).unwrap_err();
            assert!(matches!(refused, EnvelopeError::TooMany { .. }), "{tag:x}: {refused}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_and_never_a_panic() {
        let Undecoded(good) = IngestRequest { batch: Some(batch()), ..IngestRequest::default() }.into();
        for place in 0..good.len() {
            let cut = Envelope::read(&good.slice(..place), &Limits::default());
            assert!(cut.is_err(), "cut at {place}");
        }
        let twice = [&good[..], &good[..]].concat().into();
        assert_eq!(Envelope::read(&twice, &Limits::default()), Err(EnvelopeError::Twice("batch")));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_count_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = Envelope::read(&bytes.into(), &Limits::default());
        }
    }
}
