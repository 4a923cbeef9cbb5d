//! Holes in files: a sparse file may seem to hold terabytes of zeros, and reading them would take hours.

use std::{fs::File, io};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use super::identity::About;

/// Where the next bytes that were written stand, at `offset` or behind it; the end when there are none. Where the file system can't tell, `offset`.
///
/// The file's own position moves; whoever reads at given offsets doesn't mind.
pub(super) fn next_data(file: &File, offset: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Ok(data.max(offset)),
        Err(Errno::NXIO) => Ok(About::of_file(file)?.size.max(offset)),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(offset),
        Err(error) => Err(error.into()),
    }
}
