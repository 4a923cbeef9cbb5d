//! What the collector holds of files.

use std::path::PathBuf;

use lapwing::v1::{FilePosition, SourcePosition, source_position::Position};

use crate::collectors::logs::files::{discover::Wanted, file::Events, names};

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
        let events = Events {
            read: position.events_read,
            truncated: position.events_truncated,
            dropped: position.events_dropped,
        };
        let path = names::path(&position.display_name);
        let key = position.source;
        match position.position {
            Some(Position::File(position)) => Some(Self { key, path, position, events }),
            _ => None,
        }
    }

    /// To be searched for under another name.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted { key: self.key.clone(), path: self.path.clone(), target: self.target() }
    }

    /// Where its name led to, when that was another place.
    pub(super) fn target(&self) -> Option<PathBuf> {
        Some(&self.position.target).filter(|target| !target.is_empty()).map(|target| names::path(target))
    }
}
