//! Files that take the place of others: copies of them, and clones.

use std::{collections::HashMap, fs, io, path::Path};

use lapwing::v1::{SourcePosition, source_position::Position};

use super::{TailLoop, held::FileHeld, turn::Closed};
use crate::{
    collectors::logs::files::{
        FileIdentity,
        file::{Change, Step, Succession, TailedFile, places},
        fingerprint::Fingerprint,
        identity::{About, Identity},
        keys::{Owner, fits},
        names,
    },
    input::Input,
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
    pub(super) fn succeed(&mut self, file: &mut TailedFile) -> Result<io::Result<()>, Closed> {
        if self.config.identity == FileIdentity::Inode {
            return Ok(Ok(()));
        }
        let same_name = |key: &&String| self.files.open[*key].path() == file.path();
        let open = if self.searched { self.files.open.keys().find(same_name).cloned() } else { None };
        if let Some(key) = open {
            return self.succeed_open(file, &key);
        }
        let held = self.held.values().find(|held| held.path == file.path()).map(|held| held.key.clone());
        match held {
            Some(key) => self.succeed_held(file, &key),
            None => Ok(Ok(())),
        }
    }

    fn succeed_open(&mut self, file: &mut TailedFile, key: &str) -> Result<io::Result<()>, Closed> {
        for _ in 0..MAX_STEPS {
            let Some(old) = self.files.open.get_mut(key) else { return Ok(Ok(())) };
            match old.step(self.bounds) {
                Ok(Step::Idle) => break,
                Ok(step) => self.take(key, step)?,
                Err(error) => return Ok(Err(error)),
            }
        }
        let Some(old) = self.files.open.get_mut(key) else { return Ok(Ok(())) };
        let succession = match file.succeed(old) {
            Ok(succession) => succession,
            Err(error) => return Ok(Err(error)),
        };
        match succession {
            Succession::None => return Ok(Ok(())),
            Succession::Part => self.close(key)?,
            Succession::Whole => {
                self.keys.forget(key);
                if let Some(old) = self.files.remove(key) {
                    self.turn.send(Input::Position(old.position(true)))?;
                }
            }
        }
        self.report(file.path(), Change::Overwritten);
        Ok(Ok(()))
    }

    fn succeed_held(&mut self, file: &mut TailedFile, key: &str) -> Result<io::Result<()>, Closed> {
        let Some(held) = self.held.get(key) else { return Ok(Ok(())) };
        // One that was renamed is read on under its new name, and this one is the next.
        if is_beside(held) {
            return Ok(Ok(()));
        }
        let known = Fingerprint::of_position(&held.position);
        match file.succeed_held(&known, held.position.within_line) {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
        self.report(file.path(), Change::Overwritten);
        let Some(held) = self.held.remove(key) else { return Ok(Ok(())) };
        self.turn.send(Input::Position(SourcePosition {
            source: held.key,
            display_name: names::display(&held.path),
            closed: true,
            position: Some(Position::File(held.position)),
            events_read: held.events.read,
            events_truncated: held.events.truncated,
            events_dropped: held.events.dropped,
        }))?;
        Ok(Ok(()))
    }
}

/// Whether a file is where it was under another name.
fn is_beside(held: &FileHeld) -> bool {
    let is_it = |path: &Path| About::of_path(path).is_ok_and(|about| fits(&about.identity, &held.key));
    let places = places(&held.path, held.target().as_deref());
    let folders = places.iter().filter_map(|place| fs::read_dir(place.parent()?).ok());
    folders.flatten().flatten().any(|entry| is_it(&entry.path()))
}
