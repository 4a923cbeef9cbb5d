//! What `copytruncate` leaves: a copy of a file beside it, with the lines that were not read before the file was truncated.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::io::pread;

use super::identity::{About, Identity};

/// Files looked at, the newest names first: more than rotations keep.
const MAX_CANDIDATES: usize = 64;

/// What was read of a file before it was truncated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) identity: Identity,
    /// Up to where.
    pub(super) offset: u64,
    /// Its first bytes.
    pub(super) head: &'a [u8],
    /// The bytes before `offset`.
    pub(super) trace: &'a [u8],
}

/// The copy of the file at `path`, when one holds more than was read: it has the same bytes at its head and before `offset`.
pub(super) fn find(path: &Path, read: Read<'_>) -> Option<File> {
    if read.trace.is_empty() {
        return None;
    }
    let stem = path.file_stem()?.as_encoded_bytes();
    let mut candidates: Vec<_> = fs::read_dir(path.parent()?)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(stem))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    candidates.sort_by(|a, b| b.cmp(a));
    candidates.iter().take(MAX_CANDIDATES).find_map(|(_, path)| open(path, read))
}

fn open(path: &Path, read: Read<'_>) -> Option<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).ok()?;
    let about = About::of_file(&file).ok()?;
    let may_be = about.is_regular && about.identity != read.identity && about.size > read.offset;
    let before = read.offset - read.trace.len() as u64;
    (may_be && holds(&file, 0, read.head) && holds(&file, before, read.trace)).then_some(file)
}

fn holds(file: &File, offset: u64, bytes: &[u8]) -> bool {
    let mut found = vec![0; bytes.len()];
    pread(file, &mut found[..], offset).is_ok_and(|length| length == bytes.len()) && found == bytes
}
