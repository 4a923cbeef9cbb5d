//! Looking for files that lost their name, beside the place where they had it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use super::progress::Progress;
use crate::collectors::logs::files::identity::About;

/// A file that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::collectors::logs::files) struct Wanted {
    /// Its source.
    pub(in crate::collectors::logs::files) key: String,
    /// The name it had.
    pub(in crate::collectors::logs::files) path: PathBuf,
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
    let mut by_folder: BTreeMap<PathBuf, Vec<Wanted>> = BTreeMap::new();
    for wanted in wanted {
        let folder = wanted.path.parent().unwrap_or(&wanted.path).to_owned();
        by_folder.entry(folder).or_default().push(wanted);
    }

    let mut found = Vec::new();
    for (folder, wanted) in by_folder {
        let is_hung = folder.ancestors().any(|path| hung.contains(path));
        let there = if is_hung { None } else { list(&folder, &wanted, progress) };
        found.extend(wanted.into_iter().map(|wanted| {
            let place = match &there {
                None => Found::Unknown,
                Some(there) => match there.get(&wanted.key) {
                    None => Found::Gone,
                    Some(path) if *path == wanted.path => Found::Unknown,
                    Some(path) => Found::At(path.clone()),
                },
            };
            (wanted.key, place)
        }));
    }
    progress.done();
    found
}

/// Where in a directory the wanted files are; `None` when it can't be read.
fn list(folder: &Path, wanted: &[Wanted], progress: &Progress) -> Option<HashMap<String, PathBuf>> {
    progress.begin(folder);
    let keys: HashSet<&str> = wanted.iter().map(|wanted| wanted.key.as_str()).collect();
    let mut there = HashMap::new();
    for entry in fs::read_dir(folder).ok()? {
        // The rest of a listing that breaks off is unknown.
        let path = entry.ok()?.path();
        progress.tick();
        let Ok(about) = About::of_path(&path) else { continue };
        let key = about.identity.key();
        if keys.contains(key.as_str()) {
            there.entry(key).or_insert(path);
        }
    }
    Some(there)
}
