//! The compressors of a packed payload, and decoders that never give more than they were asked for.
//!
//! A decoder refuses a declared size over the limit before it takes memory, stops at the declared size while it decodes, and
//! refuses a payload that holds less or more than was declared.

use std::io::{Read, Write};

use bytes::Bytes;
use thiserror::Error;
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer};

use crate::v1::Codec;

/// Compression level of zstd when none is given: the knee of its curve for logs.
pub const ZSTD_LEVEL: i32 = 1;

/// Largest zstd window a decoder takes, as a power of two: 8 MiB (RFC 8878 recommends to support that much).
const ZSTD_MAX_WINDOW_LOG: u32 = 23;

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The codec is not set, or newer than this program.
    #[error("codec {0} is not known; use zstd, lz4, snappy, gzip or none")]
    Unknown(i32),
    /// Over the limit, by declaration or in fact.
    #[error("uncompressed size {size} is over the limit of {limit} bytes")]
    TooLarge {
        /// What was declared.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The payload does not hold as many bytes as were declared.
    #[error("the payload holds {actual} bytes uncompressed, {declared} were declared")]
    WrongSize {
        /// What was declared.
        declared: usize,
        /// What is there, or one more than declared when there is more.
        actual: usize,
    },
    /// Not in the format of its codec.
    #[error("not valid {codec}: {reason}")]
    Corrupt {
        /// The codec's name.
        codec: &'static str,
        /// What its decoder said.
        reason: String,
    },
}

/// Compresses payloads with one codec, reusing its memory.
pub struct Compressor {
    codec: Codec,
    level: i32,
    zstd: Option<CCtx<'static>>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor")
            .field("codec", &self.codec)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

impl Compressor {
    /// A compressor for `codec`; `level` is zstd's or gzip's, and without meaning for the others.
    pub fn new(codec: Codec, level: Option<i32>) -> Self {
        let level = level.unwrap_or(if codec == Codec::Zstd { ZSTD_LEVEL } else { 1 });
        Self { codec, level, zstd: None }
    }

    /// The codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Compresses the parts as if they were one run of bytes, without joining them (but for snappy, which needs that).
    ///
    /// # Errors
    /// When the codec is not set, or its library fails.
    pub fn compress(&mut self, parts: &[&[u8]]) -> Result<Bytes, CodecError> {
        let size = parts.iter().map(|part| part.len()).sum();
        let out = match self.codec {
            Codec::Unspecified => return Err(CodecError::Unknown(0)),
            Codec::None => parts.concat(),
            Codec::Zstd => self.zstd(parts, size)?,
            Codec::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::with_capacity(size / 2));
                write_all(&mut encoder, parts, "lz4")?;
                encoder.finish().map_err(|error| corrupt("lz4", error))?
            }
            Codec::Snappy => snap::raw::Encoder::new()
                .compress_vec(&parts.concat())
                .map_err(|error| corrupt("snappy", error))?,
            Codec::Gzip => {
                let level = flate2::Compression::new(self.level.clamp(0, 9).unsigned_abs());
                let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(size / 4), level);
                write_all(&mut encoder, parts, "gzip")?;
                encoder.finish().map_err(|error| corrupt("gzip", error))?
            }
        };
        Ok(out.into())
    }

    fn zstd(&mut self, parts: &[&[u8]], size: usize) -> Result<Vec<u8>, CodecError> {
        let context = match &mut self.zstd {
            Some(context) => context,
            empty => {
                let mut context =
                    CCtx::try_create().ok_or_else(|| corrupt("zstd", "no memory for a context"))?;
                context.set_parameter(CParameter::CompressionLevel(self.level)).map_err(zstd_error)?;
                context.set_parameter(CParameter::ChecksumFlag(false)).map_err(zstd_error)?;
                empty.insert(context)
            }
        };
        context.reset(zstd_safe::ResetDirective::SessionOnly).map_err(zstd_error)?;
        // The size in the frame lets the decoder take the right memory once.
        context.set_pledged_src_size(Some(size as u64)).map_err(zstd_error)?;
        let mut out: Vec<u8> = Vec::with_capacity(size / 4 + 1024);
        let last = parts.len().saturating_sub(1);
        let parts = if parts.is_empty() { &[&[][..]][..] } else { parts };
        for (place, part) in parts.iter().enumerate() {
            let directive = if place == last {
                zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_end
            } else {
                zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_continue
            };
            let mut input = InBuffer::around(part);
            loop {
                let used = out.len();
                let mut output = OutBuffer::around_pos(&mut out, used);
                let left =
                    context.compress_stream2(&mut output, &mut input, directive).map_err(zstd_error)?;
                let done = if place == last { left == 0 } else { input.pos == part.len() };
                if done {
                    break;
                }
                if out.capacity() - out.len() < 4096 {
                    out.reserve(out.capacity().max(64 << 10));
                }
            }
        }
        Ok(out)
    }
}

fn write_all(encoder: &mut impl Write, parts: &[&[u8]], codec: &'static str) -> Result<(), CodecError> {
    parts.iter().try_for_each(|part| encoder.write_all(part)).map_err(|error| corrupt(codec, error))
}

/// Decompresses `data`, which must hold exactly `declared` bytes, at most `limit`.
///
/// # Errors
/// [`CodecError::TooLarge`] before any memory is taken when `declared` is over `limit`; the others as they are found.
pub fn decompress(codec: Codec, data: &Bytes, declared: usize, limit: usize) -> Result<Bytes, CodecError> {
    if declared > limit {
        return Err(CodecError::TooLarge { size: declared, limit });
    }
    let out = match codec {
        Codec::Unspecified => return Err(CodecError::Unknown(0)),
        Codec::None => data.clone(),
        Codec::Zstd => unzstd(data, declared)?.into(),
        Codec::Lz4 => {
            let decoder = lz4_flex::frame::FrameDecoder::new(&data[..]);
            read_bounded(decoder, declared, "lz4", |decoder| decoder.into_inner().len())?.into()
        }
        Codec::Gzip => {
            let decoder = flate2::bufread::GzDecoder::new(&data[..]);
            read_bounded(decoder, declared, "gzip", |decoder| decoder.into_inner().len())?.into()
        }
        Codec::Snappy => {
            // The block says its size first: it is checked before the decoder takes memory for it.
            let actual = snap::raw::decompress_len(data).map_err(|error| corrupt("snappy", error))?;
            if actual != declared {
                return Err(CodecError::WrongSize { declared, actual });
            }
            snap::raw::Decoder::new().decompress_vec(data).map_err(|error| corrupt("snappy", error))?.into()
        }
    };
    if out.len() == declared { Ok(out) } else { Err(CodecError::WrongSize { declared, actual: out.len() }) }
}

fn unzstd(data: &[u8], declared: usize) -> Result<Vec<u8>, CodecError> {
    let mut context = DCtx::try_create().ok_or_else(|| corrupt("zstd", "no memory for a context"))?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_MAX_WINDOW_LOG)).map_err(zstd_error)?;
    // A frame that declares another size is refused before the buffer is taken.
    if let Ok(Some(actual)) = zstd_safe::get_frame_content_size(data)
        && actual != declared as u64
    {
        return Err(CodecError::WrongSize {
            declared,
            actual: usize::try_from(actual).unwrap_or(usize::MAX),
        });
    }
    let mut out = Vec::with_capacity(declared);
    context.decompress(&mut out, data).map_err(zstd_error)?;
    Ok(out)
}

/// Reads at most one byte more than `declared`, growing only with what is really there; `left` tells how many bytes a decoder
/// has not read.
fn read_bounded<R: Read>(
    mut decoder: R,
    declared: usize,
    codec: &'static str,
    left: impl FnOnce(R) -> usize,
) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(declared.min(1 << 20));
    let read = decoder.by_ref().take(declared as u64 + 1).read_to_end(&mut out);
    read.map_err(|error| corrupt(codec, error))?;
    match left(decoder) {
        left if left > 0 && out.len() == declared => {
            Err(corrupt(codec, format!("{left} bytes behind its end")))
        }
        _ => Ok(out),
    }
}

fn corrupt(codec: &'static str, reason: impl ToString) -> CodecError {
    CodecError::Corrupt { codec, reason: reason.to_string() }
}

fn zstd_error(code: usize) -> CodecError {
    corrupt("zstd", zstd_safe::get_error_name(code))
}

/// The codec's name in a config.
pub fn name(codec: Codec) -> &'static str {
    match codec {
        Codec::Unspecified => "unspecified",
        Codec::None => "none",
        Codec::Zstd => "zstd",
        Codec::Lz4 => "lz4",
        Codec::Snappy => "snappy",
        Codec::Gzip => "gzip",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Codec; 5] = [Codec::None, Codec::Zstd, Codec::Lz4, Codec::Snappy, Codec::Gzip];

    proptest! {
        #[test]
        fn every_codec_gives_back_what_it_took(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 0..5)) {
            let whole = parts.concat();
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            for codec in ALL {
                let mut compressor = Compressor::new(codec, None);
                for _ in 0..2 {
                    let packed = compressor.compress(&slices).unwrap();
                    prop_assert_eq!(&decompress(codec, &packed, whole.len(), whole.len()).unwrap()[..], &whole[..]);
                }
            }
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(data in prop::collection::vec(any::<u8>(), 0..300), declared in 0usize..5000) {
            for codec in ALL {
                let _ = decompress(codec, &Bytes::from(data.clone()), declared, 4096);
            }
        }
    }

    #[test]
    fn a_large_payload_in_many_parts_survives_each_codec() {
        let parts: Vec<Vec<u8>> = (0..40u32).map(|n| n.to_le_bytes().repeat(30_000)).collect();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let whole = parts.concat();
        for codec in ALL {
            let packed = Compressor::new(codec, None).compress(&slices).unwrap();
            assert_eq!(decompress(codec, &packed, whole.len(), whole.len()).unwrap(), whole, "{codec:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_by_its_declared_size_and_by_its_true_size() {
        let zeros = vec![0; 10 << 20];
        for codec in ALL {
            let packed = Compressor::new(codec, None).compress(&[&zeros]).unwrap();
            let declared = decompress(codec, &packed, zeros.len(), 1 << 20).unwrap_err();
            assert!(
                matches!(declared, CodecError::TooLarge { limit: 1_048_576, .. }),
                "{codec:?}: {declared}"
            );
            let lied = decompress(codec, &packed, 1000, 1 << 20).unwrap_err();
            assert!(matches!(lied, CodecError::WrongSize { declared: 1000, .. }), "{codec:?}: {lied}");
        }
    }

    #[test]
    fn every_flipped_byte_is_an_error_or_other_bytes_of_the_same_length() {
        let text = b"the quick brown fox jumps over the lazy dog. ".repeat(20);
        for codec in ALL {
            let packed = Compressor::new(codec, None).compress(&[&text]).unwrap();
            for place in 0..packed.len() {
                let mut bad = packed.to_vec();
                bad[place] ^= 0x40;
                if let Ok(out) = decompress(codec, &bad.into(), text.len(), 1 << 20) {
                    assert_eq!(out.len(), text.len());
                }
                // LZ4 and gzip end with a mark or checksum behind the last byte; without it the bytes may still be whole.
                if let Ok(out) = decompress(codec, &packed.slice(..place), text.len(), 1 << 20) {
                    assert_eq!(out, text, "{codec:?} cut at {place}");
                }
            }
        }
    }

    #[test]
    fn bytes_behind_the_payload_are_refused() {
        for codec in [Codec::Zstd, Codec::Lz4, Codec::Snappy, Codec::Gzip] {
            let mut packed = Compressor::new(codec, None).compress(&[b"a line\n"]).unwrap().to_vec();
            packed.extend_from_slice(b"more");
            assert!(decompress(codec, &packed.into(), 7, 100).is_err(), "{}", name(codec));
        }
    }
}
