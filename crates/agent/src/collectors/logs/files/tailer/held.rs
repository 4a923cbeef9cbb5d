//! What the collector holds of files, and looking for those that lost their name.

use std::path::PathBuf;

use lapwing::v1::{FilePosition, SourcePosition, source_position::Position};

use crate::collectors::logs::files::{
    file::Events,
    identity::{About, Identity},
};

/// What the collector holds of a file.
#[derive(Debug)]
pub(super) struct FileHeld {
    pub(super) key: String,
    pub(super) path: PathBuf,
    pub(super) position: FilePosition,
    pub(super) events: Events,
}

impl FileHeld {
    /// `None` for what is no file.
    pub(super) fn new(position: SourcePosition) -> Option<Self> {
        let events = Events { read: position.events_read, truncated: position.events_truncated };
        let (key, path) = (position.source, position.display_name.into());
        match position.position {
            Some(Position::File(position)) => Some(Self { key, path, position, events }),
            _ => None,
        }
    }
}

/// Where a file is that lost its name.
pub(super) enum Found {
    At(PathBuf),
    /// The directory is there, and the file is not in it.
    Gone,
    /// The directory is not there: perhaps it is not mounted.
    Unknown,
}

/// Looks for a file beside its old name. One that still has it is left alone: the globs decide.
pub(super) fn find_in_directory(held: &FileHeld) -> Found {
    let wanted = Identity::of_position(&held.position).key();
    let Some(entries) = held.path.parent().and_then(|directory| std::fs::read_dir(directory).ok()) else {
        return Found::Unknown;
    };
    let mut paths = entries.flatten().map(|entry| entry.path());
    let same = |path: &PathBuf| About::of_path(path).is_ok_and(|about| about.identity.key() == wanted);
    match paths.find(same) {
        Some(path) if path == held.path => Found::Unknown,
        Some(path) => Found::At(path),
        None => Found::Gone,
    }
}
