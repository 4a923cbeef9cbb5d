//! Looking for files that lost their name, beside the place where they had it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::progress::Progress;
use crate::collectors::logs::files::{
    file::places,
    identity::About,
    keys::{self, fits},
};

/// Directories in that of a lost file which are looked into as well, and names in them: a rotation may put files aside (`olddir` of logrotate).
const MAX_BELOW: usize = 64;
const MAX_NAMES_BELOW: usize = 10_000;

/// A file that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::collectors::logs::files) struct Wanted {
    /// Its source.
    pub(in crate::collectors::logs::files) key: String,
    /// The name it had.
    pub(in crate::collectors::logs::files) path: PathBuf,
    /// Where that led to, when it is another place.
    pub(in crate::collectors::logs::files) target: Option<PathBuf>,
}

/// Where a file is that lost its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::collectors::logs::files) enum Found {
    At(PathBuf),
    /// The directory is there, and the file is not in it.
    Gone,
    /// The directory can't be looked at: perhaps it is not mounted. Or the file still has its name: the patterns decide.
    Unknown,
}

/// Looks for files in the directories where they were: one listing for each directory, however many are looked for.
pub(super) fn search(
    wanted: Vec<Wanted>,
    hung: &HashSet<PathBuf>,
    progress: &Progress,
) -> Vec<(String, Found)> {
    let mut by_folder: BTreeMap<PathBuf, Vec<&Wanted>> = BTreeMap::new();
    for wanted in &wanted {
        progress.begin(&wanted.path);
        let places = places(&wanted.path, wanted.target.as_deref());
        let folders: BTreeSet<&Path> = places.iter().map(|place| place.parent().unwrap_or(place)).collect();
        for folder in folders {
            by_folder.entry(folder.to_owned()).or_default().push(wanted);
        }
    }

    let mut found: HashMap<&str, Found> = HashMap::new();
    for (folder, wanted) in by_folder {
        let is_hung = folder.ancestors().any(|path| hung.contains(path));
        let there = if is_hung { None } else { list(&folder, &wanted, progress) };
        for wanted in wanted {
            let place = match &there {
                None => Found::Unknown,
                Some(there) => match there.get(wanted.key.as_str()) {
                    None => Found::Gone,
                    Some(path) => Found::At(path.clone()),
                },
            };
            let known = found.entry(&wanted.key).or_insert(Found::Gone);
            // What could not be looked at may hold it.
            if matches!((&*known, &place), (Found::Gone, _) | (_, Found::At(_))) {
                *known = place;
            }
        }
    }
    let located = wanted.iter().map(|wanted| {
        let place = found.remove(wanted.key.as_str()).unwrap_or(Found::Unknown);
        let place = if place == Found::Unknown && is_removed(wanted) { Found::Gone } else { place };
        let has_name = matches!(place, Found::At(_))
            && About::of_path(&wanted.path).is_ok_and(|about| fits(&about.identity, &wanted.key));
        (wanted.key.clone(), if has_name { Found::Unknown } else { place })
    });
    let located = located.collect();
    progress.done();
    located
}

/// Whether both a link and the directory that it led to are gone, as when a pod is deleted.
fn is_removed(wanted: &Wanted) -> bool {
    let is_gone =
        |path: &Path| fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let folder = wanted.target.as_deref().and_then(Path::parent);
    folder.is_some_and(is_gone)
        && is_gone(&wanted.path)
        && wanted.path.parent().is_some_and(|path| path.is_dir())
}

/// Where in a directory, or in one in it, the wanted files are; `None` when it can't be read.
fn list(folder: &Path, wanted: &[&Wanted], progress: &Progress) -> Option<HashMap<String, PathBuf>> {
    progress.begin(folder);
    let keys: HashMap<&str, &str> =
        wanted.iter().map(|wanted| (keys::file_part(&wanted.key), wanted.key.as_str())).collect();
    let mut there = HashMap::new();
    let mut below = Vec::new();
    for entry in fs::read_dir(folder).ok()? {
        // The rest of a listing that breaks off is unknown.
        let entry = entry.ok()?;
        progress.tick();
        if below.len() < MAX_BELOW && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below.push(entry.path());
        } else {
            take(entry.path(), &keys, &mut there);
        }
    }

    let mut names = 0;
    for folder in below {
        if there.len() == keys.len() || names >= MAX_NAMES_BELOW {
            break;
        }
        progress.begin(&folder);
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries.take(MAX_NAMES_BELOW - names) {
            progress.tick();
            names += 1;
            take(entry.path(), &keys, &mut there);
        }
    }
    Some(there)
}

/// Notes where a file is, if it is wanted.
fn take(path: PathBuf, keys: &HashMap<&str, &str>, there: &mut HashMap<String, PathBuf>) {
    let Ok(about) = About::of_path(&path) else { return };
    if let Some(key) = keys.get(about.identity.key().as_str()) {
        there.entry((*key).to_owned()).or_insert(path);
    }
}
