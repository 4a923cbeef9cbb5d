//! Too few descriptors for all files: those that are read to their end give theirs to others.

use std::time::{Duration, Instant};

use super::{TailLoop, held::FileHeld, turn::Closed};
use crate::collectors::logs::files::discover::Wanted;

/// Time between two turns while files wait for a descriptor.
pub(super) const TURNS: Duration = Duration::from_millis(250);

impl TailLoop {
    /// Opens files for which there was no descriptor, in the place of those that are read to their end; when there are none, of those that
    /// did not grow for longest.
    pub(super) fn take_turns(&mut self) -> Result<(), Closed> {
        if self.waiting.is_empty() {
            return Ok(());
        }

        if !std::mem::replace(&mut self.files.told_of_turns, true) {
            self.counters.file_errors.add(1);
            let limit = self.files.max_open;
            tracing::warn!(
                "there are descriptors for {limit} files only: files are read in turns; raise the limit of open files (LimitNOFILE=)"
            );
        }

        while self.files.has_room()
            && let Some((key, path)) = self.waiting.pop_first()
        {
            self.open(&key, &path, false)?;
        }
        let places = self.files.open.iter().map(|(key, file)| (file.has_more(), file.grew, key.clone()));
        let mut places: Vec<(bool, Instant, String)> = places.collect();
        places.sort();
        // Those that come back into the queue now have their turn behind those that are in it.
        let mut waiting = std::mem::take(&mut self.waiting);
        for (_, _, place) in places {
            let Some((key, path)) = waiting.pop_first() else { break };
            self.rest(&place);
            self.open(&key, &path, false)?;
        }
        self.waiting.append(&mut waiting);
        Ok(())
    }

    /// Closes the file that did not grow for longest, of those that are read to their end.
    pub(super) fn make_room(&mut self) {
        let idle = self.files.open.iter().filter(|(_, file)| !file.has_more());
        if let Some(key) = idle.min_by_key(|(_, file)| file.grew).map(|(key, _)| key.clone()) {
            self.rest(&key);
        }
    }

    /// Gives up a descriptor; the file goes on from here at its next turn.
    fn rest(&mut self, key: &str) {
        let Some(file) = self.files.remove(key) else { return };
        if file.has_more() {
            self.waiting.insert(key.to_owned(), file.path().to_owned());
        }
        self.held.extend(FileHeld::new(file.position(false)).map(|held| (held.key.clone(), held)));
        self.files.resting.insert(key.to_owned());
    }

    /// Files that lost their name while they rested are read to their end under the new one.
    pub(super) fn search_resting(&mut self) {
        self.files.resting.retain(|key| self.held.contains_key(key));
        let lost = self.files.resting.iter().filter(|key| !self.present.contains(*key));
        let wanted: Vec<Wanted> = lost.filter_map(|key| self.held.get(key)).map(FileHeld::wanted).collect();
        if !wanted.is_empty() {
            self.discovery.search(wanted);
        }
    }
}
