//! What rotation leaves: a copy of a file beside it, with the lines that were not read before the file was truncated or went away.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    content::{Content, Packed, Packing},
    fingerprint::{Fingerprint, HEAD},
    identity::{About, Identity},
};

/// Files looked at, the newest first: more than rotations keep.
const MAX_CANDIDATES: usize = 64;
/// Bytes that are unpacked at most to see which compressed file is the copy: other files wait meanwhile.
const MAX_UNPACKED: u64 = 512 << 20;
/// No compression that is read here makes bytes fewer than one in so many.
const MAX_RATIO: u64 = 40_000;

/// The copy of a file that was read up to where `known` says: one of the files beside `names` that has the same bytes at its head and
/// before the position, and more behind it.
pub(super) fn find(names: &[PathBuf], identity: Identity, known: &Fingerprint) -> Option<Content> {
    if known.trace.length == 0 {
        return None;
    }
    let mut budget = MAX_UNPACKED;
    candidates(names).iter().find_map(|copy| {
        let mut content = open(&copy.path, identity, known, &mut budget)?;
        (!content.read_at(known.offset, 1).ok()?.is_empty()).then_some(content)
    })
}

/// The copy of a file that is gone: [one with more](find) than was read, or a compressed one, which shows that there was no more.
pub(super) fn find_last(names: &[PathBuf], identity: Identity, known: &Fingerprint) -> Option<Content> {
    let copy = find(names, identity, known);
    if copy.is_some() || known.trace.length == 0 {
        return copy;
    }
    let mut budget = MAX_UNPACKED;
    let candidates = candidates(names);
    let mut packed = candidates.iter().filter(|copy| packing(&copy.path).is_some());
    packed.find_map(|copy| open(&copy.path, identity, known, &mut budget))
}

/// What comes behind a copy that was read to its end.
pub(super) enum Next {
    /// The next copy: the file was truncated again before it was read.
    Copy(Content),
    /// The file itself.
    Live,
}

/// What comes behind the copy that ends where `known` does; `None` when there is no such copy.
pub(super) fn next(
    names: &[PathBuf],
    identity: Identity,
    known: &Fingerprint,
    live: &mut Content,
) -> Option<Next> {
    if known.trace.length == 0 {
        return None;
    }
    let candidates = candidates(names);
    let mut budget = MAX_UNPACKED;
    let ours = candidates.iter().find(|copy| {
        let content = open(&copy.path, identity, known, &mut budget);
        content.is_some_and(|mut content| content.read_at(known.offset, 1).is_ok_and(|more| more.is_empty()))
    })?;

    let mut newer: Vec<&Candidate> = candidates.iter().filter(|copy| copy.follows(ours)).collect();
    sort(&mut newer);
    let copy = newer.into_iter().find_map(|copy| {
        let mut content = open_next(&copy.path, identity)?;
        let is_ours = known.is_in(&mut content).ok()?;
        let is_live = begins_alike(&mut content, live).ok()?;
        (!is_ours && !is_live).then_some(content)
    });
    Some(copy.map_or(Next::Live, Next::Copy))
}

/// Files that had the name after the one that is `ours` now, and lost it before anybody read them: those of the same kind and of later
/// rotations, the oldest first.
///
/// They are known by their names only, so it matters who may have put them there: links and files of another owner are left out.
///
/// `born` is when the file was made that is `ours` now, or that this is a copy of.
pub(super) fn rotated_after(
    names: &[PathBuf],
    ours: About,
    born: u64,
    known: &Fingerprint,
) -> Vec<(PathBuf, Identity)> {
    let candidates = candidates(names);
    let identity = |path: &Path| About::of_path(path).ok().map(|about| about.identity);
    let Some(own) = candidates.iter().find(|file| identity(&file.path) == Some(ours.identity)) else {
        return Vec::new();
    };
    let has_name = names.iter().filter_map(|name| identity(name)).filter(|other| *other != ours.identity);
    let live = has_name.map(|identity| identity.birth_time).max().unwrap_or(0);

    let is_plain = |file: &Candidate| packing(&file.path).is_none();
    let next = |file: &Candidate| {
        let about = About::of_name(&file.path).ok()?;
        let is_alike = about.is_regular && about.links == 1 && about.owner == ours.owner;
        // What was made after the file that has the name now is a copy of something.
        let is_copy = is_plain(file) && (1..=about.identity.birth_time).contains(&live);
        // One that is just being compressed is there twice.
        let is_same = |other: &Candidate| is_plain(other) && other.number() == file.number();
        let is_there = !is_plain(file) && candidates.iter().any(is_same);
        let is_next = is_alike && !is_copy && !is_there && !is_copy_of(file, ours.identity, known);
        is_next.then(|| (file.path.clone(), about.identity))
    };
    // What is older than our file was not rotated after it: when a name says so, the numbers grow with each rotation.
    let is_older = |file: &&Candidate| {
        identity(&file.path).is_some_and(|identity| (1..born).contains(&identity.birth_time))
    };
    let mut later: Vec<&Candidate> = candidates.iter().filter(|file| file.follows(own)).collect();
    if later.iter().any(is_older) {
        let follows = |file: &&Candidate| file.is_kind_of(own) && is_later(&own.digits(), &file.digits());
        later = candidates.iter().filter(follows).collect();
        later.sort_by_key(|file| (file.digits().len(), file.digits()));
    } else {
        sort(&mut later);
    }
    later.into_iter().filter_map(next).collect()
}

/// Whether a file holds what was read of another one.
fn is_copy_of(file: &Candidate, ours: Identity, known: &Fingerprint) -> bool {
    let content = open_next(&file.path, ours);
    known.offset > 0 && content.is_some_and(|mut content| known.is_in(&mut content).unwrap_or(false))
}

/// A file that may be a copy.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    modified: SystemTime,
    path: PathBuf,
    /// What its name has behind the stem of the file's.
    rest: Vec<u8>,
}

impl Candidate {
    /// What tells its rotation from others.
    fn number(&self) -> (Vec<u8>, Vec<u8>) {
        (mask(&self.rest), digits(&self.rest))
    }

    /// Whether it is of a later rotation than another: its name differs in digits only, and it is newer.
    fn follows(&self, other: &Self) -> bool {
        let is_packed = |file: &Self| packing(&file.path).is_some();
        // A compressed one may have been written long after what is in it: its name has to say the same.
        let may_be = is_packed(other) || self.modified > other.modified;
        let agrees =
            !(is_packed(self) || is_packed(other)) || is_later(&digits(&self.rest), &digits(&other.rest));
        self.is_kind_of(other) && may_be && agrees
    }

    /// Whether its name differs in numbers only.
    fn is_kind_of(&self, other: &Self) -> bool {
        mask(&self.rest) == mask(&other.rest) && mask(&self.rest).contains(&b'#')
    }

    fn digits(&self) -> Vec<u8> {
        digits(&self.rest)
    }
}

/// Sorts copies of a kind, the oldest first.
fn sort(copies: &mut [&Candidate]) {
    if copies.iter().all(|copy| packing(&copy.path).is_none()) {
        copies.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        return;
    }
    copies.sort_by(|a, b| {
        let (older, newer) = (digits(&a.rest), digits(&b.rest));
        is_later(&older, &newer).cmp(&is_later(&newer, &older)).then(a.path.cmp(&b.path))
    });
}

/// Whether one number in the names of copies is of a later rotation than another. Counts are small and grow with the age; dates are long.
fn is_later(number: &[u8], other: &[u8]) -> bool {
    /// Digits of a date, at least.
    const DATE: usize = 6;
    let order = number.len().cmp(&other.len()).then(number.cmp(other));
    if other.len() < DATE { order.is_lt() } else { order.is_gt() }
}

/// The name without the ending of a compression, and with one `#` for each number.
fn mask(rest: &[u8]) -> Vec<u8> {
    let rest = rest.strip_suffix(b".gz").or_else(|| rest.strip_suffix(b".zst")).unwrap_or(rest);
    let mut mask: Vec<u8> =
        rest.iter().map(|byte| if byte.is_ascii_digit() { b'#' } else { *byte }).collect();
    mask.dedup_by(|a, b| *a == b'#' && *b == b'#');
    mask
}

fn digits(rest: &[u8]) -> Vec<u8> {
    rest.iter().copied().filter(u8::is_ascii_digit).collect()
}

/// Whether a copy is one of what the file holds now: it is not truncated yet.
fn begins_alike(copy: &mut Content, live: &mut Content) -> io::Result<bool> {
    let begin = copy.read_at(0, HEAD)?;
    let end = match copy {
        Content::Plain(_) => copy.about()?.size.saturating_sub(HEAD as u64),
        // To unpack it to its end would take long.
        Content::Packed(_) => 0,
    };
    Ok(begin.is_empty() || (live.has_at(0, &begin)? && live.has_at(end, &copy.read_at(end, HEAD)?)?))
}

fn open_next(path: &Path, identity: Identity) -> Option<Content> {
    let (file, _) = open_file(path, identity)?;
    match packing(path) {
        Some(packing) => Packed::open(file, packing).ok().map(Content::Packed),
        None => Some(Content::Plain(file)),
    }
}

/// The files beside `names`, the likeliest copies first.
fn candidates(names: &[PathBuf]) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = names.iter().filter_map(|name| beside(name)).flatten().collect();
    // One that is just being compressed is not whole, and the file it is made of is still there.
    candidates.sort_by(|a, b| {
        let packed = packing(&a.path).is_some().cmp(&packing(&b.path).is_some());
        packed.then(b.modified.cmp(&a.modified)).then(b.path.cmp(&a.path))
    });
    candidates.dedup();
    candidates.truncate(MAX_CANDIDATES);
    candidates
}

/// The newest change of a name in the folders of `names`.
pub(super) fn names_changed(names: &[PathBuf]) -> Option<SystemTime> {
    let changed = |name: &PathBuf| fs::metadata(name.parent()?).ok()?.modified().ok();
    names.iter().filter_map(changed).max()
}

fn beside(name: &Path) -> Option<impl Iterator<Item = Candidate>> {
    let stem = name.file_stem()?.as_encoded_bytes().to_owned();
    let entries = fs::read_dir(name.parent()?).ok()?.flatten();
    Some(entries.filter_map(move |entry| {
        let rest = entry.file_name().as_encoded_bytes().strip_prefix(stem.as_slice())?.to_owned();
        Some(Candidate { modified: entry.metadata().ok()?.modified().ok()?, path: entry.path(), rest })
    }))
}

/// A file that holds what was read.
fn open(path: &Path, identity: Identity, known: &Fingerprint, budget: &mut u64) -> Option<Content> {
    let (file, size) = open_file(path, identity)?;
    let mut content = content(path, file, size, known, budget)?;
    known.is_in(&mut content).ok()?.then_some(content)
}

fn open_file(path: &Path, identity: Identity) -> Option<(File, u64)> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).ok()?;
    let about = About::of_file(&file).ok()?;
    (about.is_regular && about.identity != identity).then_some((file, about.size))
}

fn content(path: &Path, file: File, size: u64, known: &Fingerprint, budget: &mut u64) -> Option<Content> {
    let Some(packing) = packing(path) else {
        return (size >= known.offset).then_some(Content::Plain(file));
    };
    let may_be = known.offset < *budget && size.saturating_mul(MAX_RATIO) > known.offset;
    let mut content = Content::Packed(Packed::open(file, packing).ok().filter(|_| may_be)?);
    // Cheap to see, and nearly always enough to see that it is not.
    if !known.has_head(&mut content).ok()? {
        return None;
    }
    *budget -= known.offset;
    Some(content)
}

/// How a file is compressed, by the end of its name.
pub(super) fn packing(path: &Path) -> Option<Packing> {
    match path.extension()?.to_str()? {
        "gz" => Some(Packing::Gzip),
        "zst" => Some(Packing::Zstd),
        _ => None,
    }
}
