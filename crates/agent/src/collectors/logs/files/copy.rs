//! What rotation leaves: a copy of a file beside it, with the lines that were not read before the file was truncated or went away.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    content::{Content, Packed, Packing},
    fingerprint::Fingerprint,
    identity::{About, Identity},
};

/// Files looked at, the newest first: more than rotations keep.
const MAX_CANDIDATES: usize = 64;
/// Compressed files begin to be unpacked up to here to see whether one is the copy.
const MAX_UNPACKED: u64 = 4 << 30;
/// No compression that is read here makes bytes fewer than one in so many.
const MAX_RATIO: u64 = 40_000;

/// The copy of a file that was read up to where `known` says: one of the files beside `names` that has the same bytes at its head and
/// before the position, and more behind it.
pub(super) fn find(names: &[PathBuf], identity: Identity, known: &Fingerprint) -> Option<Content> {
    if known.trace.length == 0 {
        return None;
    }
    let mut candidates: Vec<_> = names.iter().filter_map(|name| beside(name)).flatten().collect();
    // One that is just being compressed is not whole, and the file it is made of is still there.
    candidates.sort_by(|(a, path_a), (b, path_b)| {
        packing(path_a).is_some().cmp(&packing(path_b).is_some()).then(b.cmp(a)).then(path_b.cmp(path_a))
    });
    candidates.dedup();
    candidates.iter().take(MAX_CANDIDATES).find_map(|(_, path)| open(path, identity, known))
}

/// The newest change of a name in the folders of `names`.
pub(super) fn names_changed(names: &[PathBuf]) -> Option<SystemTime> {
    let changed = |name: &PathBuf| fs::metadata(name.parent()?).ok()?.modified().ok();
    names.iter().filter_map(changed).max()
}

fn beside(name: &Path) -> Option<impl Iterator<Item = (SystemTime, PathBuf)>> {
    let stem = name.file_stem()?.as_encoded_bytes().to_owned();
    let entries = fs::read_dir(name.parent()?).ok()?.flatten();
    let named = entries.filter(move |entry| entry.file_name().as_encoded_bytes().starts_with(&stem));
    Some(named.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))))
}

fn open(path: &Path, identity: Identity, known: &Fingerprint) -> Option<Content> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).ok()?;
    let about = About::of_file(&file).ok()?;
    if !about.is_regular || about.identity == identity {
        return None;
    }
    let mut content = content(path, file, about.size, known)?;
    let is_copy = known.is_in(&mut content).ok()?;
    let has_more = !content.read_at(known.offset, 1).ok()?.is_empty();
    (is_copy && has_more).then_some(content)
}

fn content(path: &Path, file: File, size: u64, known: &Fingerprint) -> Option<Content> {
    let Some(packing) = packing(path) else {
        return (size > known.offset).then_some(Content::Plain(file));
    };
    let may_be = known.offset < MAX_UNPACKED && size.saturating_mul(MAX_RATIO) > known.offset;
    let mut content = Content::Packed(Packed::open(file, packing).ok().filter(|_| may_be)?);
    // Cheap to see, and nearly always enough to see that it is not.
    known.has_head(&mut content).ok()?.then_some(content)
}

fn packing(path: &Path) -> Option<Packing> {
    match path.extension()?.to_str()? {
        "gz" => Some(Packing::Gzip),
        "zst" => Some(Packing::Zstd),
        _ => None,
    }
}
