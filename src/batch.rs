//! Packing columns into a payload, and what a payload's number vouches for.

use bytes::Bytes;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    codec::{self, CodecError, Compressor},
    columns::{Columns, DecodeError, Encoded},
    limits::Limits,
    v1::{self, Codec, Signal, batch::Payload},
};

/// `Batch.dropped_cause` of a batch whose rows were refused for good and set aside by the agent.
pub const DEAD_LETTER: &str = "dead_letter";

/// Why events of a batch that was acknowledged are not stored: the collector could not turn it into rows.
pub const UNREADABLE: &str = "unreadable";

/// Why a batch can't be unpacked.
#[derive(Debug, Error)]
pub enum BatchError {
    /// The payload can't be decompressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The payload is not columns, or rows are over a limit.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The signal is not set, or newer than this program.
    #[error("signal {0} is not known; use logs, metrics or flows")]
    Signal(i32),
}

impl BatchError {
    /// Whether a limit was exceeded, as opposed to the batch being wrong in itself.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::Codec(CodecError::TooLarge { .. }) | Self::Decode(DecodeError::TooLarge { .. }))
    }
}

/// Packs columns.
///
/// # Errors
/// When the codec is not set, or its library fails.
pub fn pack(columns: &Columns, compressor: &mut Compressor) -> Result<v1::Packed, CodecError> {
    pack_parts(columns, &[columns.tail()], compressor)
}

/// Packs columns whose tail stands in `tail`, in parts, and not in the columns themselves.
///
/// # Errors
/// When the codec is not set, or its library fails.
pub fn pack_parts(
    columns: &Columns,
    tail: &[&[u8]],
    compressor: &mut Compressor,
) -> Result<v1::Packed, CodecError> {
    let tail_len = tail.iter().map(|part| part.len()).sum::<usize>();
    let mut head = Vec::with_capacity(512);
    columns.encode_head(tail_len, &mut head);
    let mut parts = Vec::with_capacity(tail.len() + 1);
    parts.push(&head[..]);
    parts.extend_from_slice(tail);
    Ok(v1::Packed {
        codec: compressor.codec() as i32,
        signal: columns.signal() as i32,
        rows: columns.rows() as u32,
        uncompressed_size: (head.len() + tail_len) as u32,
        data: compressor.compress(&parts)?,
    })
}

/// Unpacks a payload.
///
/// # Errors
/// When it is not what it says, or over a limit.
pub fn unpack(packed: &v1::Packed, limits: &Limits) -> Result<Columns, BatchError> {
    Ok(open(packed, limits)?.decode(limits)?)
}

/// Decompresses a payload, and counts what its columns become.
///
/// # Errors
/// When it is not what it says, or over a limit.
pub fn open(packed: &v1::Packed, limits: &Limits) -> Result<Encoded, BatchError> {
    let codec = Codec::try_from(packed.codec).map_err(|_| CodecError::Unknown(packed.codec))?;
    let signal = Signal::try_from(packed.signal).map_err(|_| BatchError::Signal(packed.signal))?;
    if signal == Signal::Unspecified {
        return Err(BatchError::Signal(0));
    }
    let declared = packed.uncompressed_size as usize;
    let data = codec::decompress(codec, &packed.data, declared, limits.max_uncompressed_bytes)?;
    Ok(Encoded::read(data, signal, packed.rows, limits)?)
}

/// XXH3-128 of the packed bytes, big endian: what a batch's number vouches for.
pub fn digest(packed: &v1::Packed) -> Bytes {
    Bytes::copy_from_slice(&xxh3_128(&packed.data).to_be_bytes())
}

/// The columns of a batch in whichever form; `None` when it has no payload. A time of 0 becomes `now`.
///
/// # Errors
/// When the payload is not what it says, or over a limit.
pub fn columns_of(batch: &v1::Batch, now: u64, limits: &Limits) -> Result<Option<Columns>, BatchError> {
    match &batch.payload {
        None => Ok(None),
        Some(Payload::Packed(packed)) => Ok(Some(unpack(packed, limits)?)),
        Some(Payload::Rows(rows)) => Ok(Some(Columns::from_rows(rows, now, limits)?)),
    }
}
