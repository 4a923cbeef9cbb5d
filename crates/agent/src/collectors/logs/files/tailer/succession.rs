//! Files that take the place of others: copies of them, and clones.

use std::{collections::HashMap, fs, io, path::Path, sync::atomic::Ordering};

use lapwing::v1::SourcePosition;

use super::{
    TailLoop,
    held::{self, FileHeld},
    turn::Closed,
};
use crate::collectors::logs::files::{
    FileIdentity,
    file::{Change, Step, Succession, TailedFile, places},
    fingerprint::Fingerprint,
    identity::{About, Identity},
    keys::{Owner, fits},
};

/// Steps in which an old file is read to its end before it is compared with the new one.
const MAX_STEPS: usize = 10_000;

impl TailLoop {
    /// What the file at `path` is known by.
    pub(super) fn key_of(&mut self, identity: &Identity, path: &Path) -> String {
        let held: &HashMap<String, FileHeld> = &self.held;
        let owner =
            |key: &str| held.get(key).map(|held| Owner { path: &held.path, device: held.position.device });
        self.keys.of(identity, path, owner)
    }

    /// A file that was not known may be a copy of the one that had its name: it goes on where that one was then.
    /// The last position of that one is to be sent with the first of this one.
    pub(super) fn succeed(
        &mut self,
        file: &mut TailedFile,
    ) -> Result<io::Result<Option<SourcePosition>>, Closed> {
        if self.config.identity == FileIdentity::Inode {
            return Ok(Ok(None));
        }
        // One that was rotated goes by its first name for as long as it is open.
        let same_name = self.files.open.iter().filter(|(_, open)| open.path() == file.path());
        let newest = same_name.max_by_key(|(_, open)| open.identity().birth_time).map(|(key, _)| key.clone());
        let open = newest.filter(|_| self.searched);
        if let Some(key) = open {
            return self.succeed_open(file, &key);
        }
        let held = held::newest(&self.held, file.path()).map(|held| held.key.clone());
        match held {
            Some(key) => Ok(self.succeed_held(file, &key)),
            None => Ok(Ok(None)),
        }
    }

    fn succeed_open(
        &mut self,
        file: &mut TailedFile,
        key: &str,
    ) -> Result<io::Result<Option<SourcePosition>>, Closed> {
        if !self.files.open.get(key).is_some_and(|old| file.may_succeed(old)) {
            return Ok(Ok(None));
        }
        let mut is_read = false;
        for _ in 0..MAX_STEPS {
            self.beat.beat();
            if self.stop.load(Ordering::Relaxed) {
                // The next run compares them.
                self.turn.end()?;
                return Err(Closed);
            }
            let Some(old) = self.files.open.get_mut(key) else { return Ok(Ok(None)) };
            match old.step(self.bounds) {
                Ok(Step::Idle) => {
                    is_read = true;
                    break;
                }
                Ok(step) => self.take(key, step)?,
                Err(error) => return Ok(Err(error)),
            }
        }
        let Some(old) = self.files.open.get_mut(key).filter(|_| is_read) else { return Ok(Ok(None)) };
        let succession = match file.succeed(old) {
            Ok(succession) => succession,
            Err(error) => return Ok(Err(error)),
        };
        let end = match succession {
            Succession::None => return Ok(Ok(None)),
            Succession::Part => self.end(key)?,
            Succession::Whole => {
                self.keys.forget(key);
                self.files.remove(key).map(|old| old.position(true))
            }
        };
        self.report(file.path(), Change::Overwritten);
        Ok(Ok(end))
    }

    fn succeed_held(&mut self, file: &mut TailedFile, key: &str) -> io::Result<Option<SourcePosition>> {
        let Some(held) = self.held.get(key) else { return Ok(None) };
        // One that was renamed is read on under its new name, and this one is the next.
        if is_beside(held) {
            return Ok(None);
        }
        let known = Fingerprint::of_position(&held.position);
        if !file.succeed_held(&known, held.position.within_line)? {
            return Ok(None);
        }
        self.report(file.path(), Change::Overwritten);
        let Some(held) = self.held.remove(key) else { return Ok(None) };
        Ok(Some(held.into_closed()))
    }
}

/// Whether a file is where it was under another name.
fn is_beside(held: &FileHeld) -> bool {
    let is_it = |path: &Path| About::of_path(path).is_ok_and(|about| fits(&about.identity, &held.key));
    let places = places(&held.path, held.target().as_deref());
    let folders = places.iter().filter_map(|place| fs::read_dir(place.parent()?).ok());
    folders.flatten().flatten().any(|entry| is_it(&entry.path()))
}
