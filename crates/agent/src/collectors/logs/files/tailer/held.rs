//! What the collector holds of files.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
};

use lapwing::v1::{FilePosition, SourcePosition, source_position::Position};

use crate::collectors::logs::files::{discover::Wanted, file::Events, names};

/// What the collector holds of a file.
#[derive(Debug)]
pub(super) struct FileHeld {
    pub(super) key: String,
    pub(super) path: PathBuf,
    pub(super) position: FilePosition,
    pub(super) events: Events,
    /// It was closed, as the so-manieth file; the collector does not hold it any more.
    pub(super) closed: Option<u64>,
}

/// What is held of the file that had a name last.
pub(super) fn newest<'a>(held: &'a HashMap<String, FileHeld>, path: &Path) -> Option<&'a FileHeld> {
    let of_path = held.values().filter(|held| held.path == path);
    of_path.max_by_key(|held| (held.position.birth_time_unix_nano, held.closed, &held.key))
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
            Some(Position::File(position)) => Some(Self { key, path, position, events, closed: None }),
            _ => None,
        }
    }

    /// Its last position: nothing of it will be read again.
    pub(super) fn into_closed(self) -> SourcePosition {
        SourcePosition {
            source: self.key,
            display_name: names::display(&self.path),
            closed: true,
            position: Some(Position::File(self.position)),
            events_read: self.events.read,
            events_truncated: self.events.truncated,
            events_dropped: self.events.dropped,
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

/// Files that were closed and have a name: should one get its old name back, it goes on where it was. Beyond some thousands the oldest are
/// forgotten.
#[derive(Debug, Default)]
pub(super) struct ClosedFiles {
    closed: VecDeque<(String, u64)>,
    count: u64,
}

impl ClosedFiles {
    /// Most of them that are kept.
    const MAX: usize = 4096;

    /// Adds what was just closed, and takes the oldest away when there are too many.
    pub(super) fn add(&mut self, all: &mut HashMap<String, FileHeld>, held: FileHeld) {
        self.count += 1;
        self.closed.push_back((held.key.clone(), self.count));
        all.insert(held.key.clone(), FileHeld { closed: Some(self.count), ..held });
        if self.closed.len() <= Self::MAX {
            return;
        }
        // It may be open again, or have been closed once more.
        if let Some((oldest, count)) = self.closed.pop_front()
            && all.get(&oldest).is_some_and(|held| held.closed == Some(count))
        {
            all.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(key: String, birth_time_unix_nano: u64) -> FileHeld {
        let position = FilePosition { birth_time_unix_nano, ..FilePosition::default() };
        FileHeld { key, path: "/logs/a.log".into(), position, events: Events::default(), closed: None }
    }

    #[test]
    fn the_newest_file_of_a_name_is_the_one_that_a_copy_took_the_place_of() {
        let all = (0..50).map(|n| (format!("file:{n}"), held(format!("file:{n}"), 1000 - n))).collect();
        let newest = newest(&all, Path::new("/logs/a.log"));
        assert_eq!(newest.map(|held| held.key.as_str()), Some("file:0"));
    }

    #[test]
    fn files_that_were_closed_are_forgotten_one_day_and_those_that_are_held_again_are_not() {
        let mut all = HashMap::new();
        let mut closed = ClosedFiles::default();
        closed.add(&mut all, held("open".to_owned(), 0));
        all.insert("open".to_owned(), held("open".to_owned(), 0));
        for n in 0..3 * ClosedFiles::MAX {
            closed.add(&mut all, held(format!("file:{n}"), 0));
        }
        assert_eq!(all.len(), ClosedFiles::MAX + 1);
        assert!(all.contains_key("open"));
        assert!(closed.closed.len() <= ClosedFiles::MAX);
    }
}
