//! Too few descriptors for all files: those that are read to their end give theirs to others.

use std::{collections::HashSet, path::PathBuf, time::Instant};

use super::{
    TailLoop,
    held::{FileHeld, Found, find_in_directory},
    turn::Closed,
};

impl TailLoop {
    /// Opens files for which there was no descriptor, in the place of those that are read to their end; when there are none, of those that
    /// did not grow for longest.
    pub(super) fn take_turns(&mut self, waiting: Vec<(String, PathBuf)>) -> Result<(), Closed> {
        if waiting.is_empty() {
            return Ok(());
        }

        if !std::mem::replace(&mut self.files.told_of_turns, true) {
            self.counters.file_errors.add(1);
            let limit = self.files.max_open;
            tracing::warn!(
                "there are descriptors for {limit} files only: files are read in turns; raise the limit of open files (LimitNOFILE=)"
            );
        }

        let places = self.files.open.iter().map(|(key, file)| (file.has_more(), file.grew, key.clone()));
        let mut places: Vec<(bool, Instant, String)> = places.collect();
        places.sort();
        for ((_, _, place), (key, path)) in places.into_iter().zip(waiting) {
            self.rest(&place);
            self.open(&key, &path, false)?;
        }
        Ok(())
    }

    /// Gives up a descriptor; the file goes on from here at its next turn.
    fn rest(&mut self, key: &str) {
        let Some(file) = self.files.remove(key) else { return };
        self.held.extend(FileHeld::new(file.position(false)).map(|held| (held.key.clone(), held)));
        self.files.resting.insert(key.to_owned());
    }

    /// Files that lost their name while they rested are read to their end under the new one.
    pub(super) fn find_resting(&mut self, present: &HashSet<String>) -> Result<(), Closed> {
        self.files.resting.retain(|key| self.held.contains_key(key));
        let resting = self.files.resting.iter();
        let lost: Vec<String> = resting.filter(|key| !present.contains(*key)).cloned().collect();
        for key in lost {
            match self.held.get(&key).map(find_in_directory) {
                Some(Found::At(path)) if self.files.has_room() => self.open(&key, &path, true)?,
                Some(Found::Gone) => self.forget(&key)?,
                _ => {}
            }
        }
        Ok(())
    }
}
