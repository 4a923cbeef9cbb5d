//! Where bytes are read from: a file, or a compressed copy of one.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
};

use flate2::bufread::MultiGzDecoder;
use rustix::{buffer::spare_capacity, io::pread};

use super::{holes, identity::About};

/// Bytes of a compressed copy that are kept unpacked, at least.
const WINDOW: usize = 64 << 10;
/// Bytes unpacked at a time.
const PIECE: usize = 64 << 10;
/// Largest window of a zstd frame that is taken memory for, as a power of two: 8 MiB.
const MAX_ZSTD_WINDOW: u32 = 23;

/// How a copy is compressed, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// What is read.
#[derive(Debug)]
pub(super) enum Content {
    /// A file as it is.
    Plain(File),
    /// A compressed one.
    Packed(Packed),
}

/// A compressed file that is read forwards. Its size is known when it is unpacked to its end.
pub(super) struct Packed {
    file: File,
    packing: Packing,
    stream: Box<dyn Read + Send>,
    /// The newest unpacked bytes, which begin at `start`.
    window: Vec<u8>,
    start: u64,
    ended: bool,
}

impl Content {
    /// What the system says of the file.
    pub(super) fn about(&self) -> io::Result<About> {
        match self {
            Self::Plain(file) => About::of_file(file),
            Self::Packed(packed) => Ok(About { size: packed.size(), ..About::of_file(&packed.file)? }),
        }
    }

    /// Up to `length` bytes from `offset` on; fewer at the end.
    pub(super) fn read_at(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(file) => read_file_at(file, offset, length),
            Self::Packed(packed) => packed.read_at(offset, length),
        }
    }

    /// Whether these bytes stand at `offset`.
    pub(super) fn has_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        Ok(self.read_at(offset, bytes.len())? == bytes)
    }

    /// The first place from `offset` on that is in no hole.
    pub(super) fn data_from(&self, offset: u64) -> io::Result<u64> {
        let Self::Plain(file) = self else { return Ok(offset) };
        holes::next_data(file, offset)
    }

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        match self {
            Self::Plain(file) => file,
            Self::Packed(packed) => &packed.file,
        }
    }
}

fn read_file_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = offset + bytes.len() as u64;
        match pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

impl Packed {
    /// Begins to unpack a file.
    pub(super) fn open(file: File, packing: Packing) -> io::Result<Self> {
        let stream = stream(&file, packing)?;
        Ok(Self { file, packing, stream, window: Vec::new(), start: 0, ended: false })
    }

    /// Bytes that are unpacked so far, and one more while there may be more.
    fn size(&self) -> u64 {
        self.start + self.window.len() as u64 + u64::from(!self.ended)
    }

    fn read_at(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        if offset < self.start {
            *self = Self::open(self.file.try_clone()?, self.packing)?;
        }

        let end = offset.saturating_add(length as u64);
        while self.start + (self.window.len() as u64) < end && !self.ended {
            self.forget_before(offset);
            self.unpack()?;
        }

        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.window.len());
        let to = from.saturating_add(length).min(self.window.len());
        Ok(self.window[from..to].to_vec())
    }

    /// Lets go of what is before `offset`, up to a little that may be looked at again.
    fn forget_before(&mut self, offset: u64) {
        let unneeded = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.window.len());
        if unneeded > 2 * WINDOW {
            self.window.drain(..unneeded - WINDOW);
            self.start += (unneeded - WINDOW) as u64;
        }
    }

    fn unpack(&mut self) -> io::Result<()> {
        let before = self.window.len();
        self.window.resize(before + PIECE, 0);
        let read = self.stream.read(&mut self.window[before..]);
        self.window.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What is before the damage, or not yet written, is what there is.
            Err(_) => self.ended = true,
        }
        Ok(())
    }
}

/// Reads a file from its beginning, without moving the position that others who share the descriptor see.
struct FromStart {
    file: File,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn stream(file: &File, packing: Packing) -> io::Result<Box<dyn Read + Send>> {
    let bytes = BufReader::new(FromStart { file: file.try_clone()?, at: 0 });
    Ok(match packing {
        Packing::Gzip => Box::new(MultiGzDecoder::new(bytes)),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW)?;
            Box::new(decoder)
        }
    })
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed")
            .field("packing", &self.packing)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Content {
    /// A file with these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        Self::Plain(file)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_compressed_file_is_read_like_a_plain_one() {
        let text: Vec<u8> = (0..100_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let packed = [
            (Packing::Gzip, gzip.finish().unwrap()),
            (Packing::Zstd, zstd::stream::encode_all(&text[..], 1).unwrap()),
        ];
        for (packing, bytes) in packed {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let mut content = Content::Packed(Packed::open(file, packing).unwrap());
            for (offset, length) in [(0, 10), (500_000, 300_000), (499_000, 2_000), (5, 7)] {
                assert_eq!(content.read_at(offset as u64, length).unwrap(), &text[offset..offset + length]);
            }
            assert!(content.about().unwrap().size < text.len() as u64);
            assert_eq!(content.read_at(text.len() as u64 - 5, 100).unwrap(), &text[text.len() - 5..]);
            assert_eq!(content.about().unwrap().size, text.len() as u64);
        }
    }
}
