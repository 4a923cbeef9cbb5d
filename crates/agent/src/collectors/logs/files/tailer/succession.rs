//! Files that take the place of others: copies of them, and clones.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::Path,
    sync::atomic::Ordering,
    time::Instant,
};

use lapwing::v1::SourcePosition;

use super::{
    TailLoop,
    held::{self, FileHeld},
    late::open_for_writing,
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

    /// Takes a file that was not known. Nothing of it is sent before it is clear whether it goes on where another one was.
    pub(super) fn take_new(&mut self, key: &str, mut file: TailedFile) -> Result<(), Closed> {
        let replaced = self.succeed(&mut file)?.unwrap_or_else(|error| {
            tracing::debug!("{}: can't be compared with what it replaced: {error}", file.path().display());
            None
        });
        if !file.is_undecided() {
            // From here on a restart knows where this file began to be read. The one it replaced is forgotten in the same moment:
            // with neither of them known, all lines would come twice.
            let older = self.succeeded_by(&file);
            self.turn
                .send_together([file.position(false)].into_iter().chain(replaced).chain(older).collect())?;
        }
        self.insert(key, file);
        Ok(())
    }

    /// Whether a file is to be read: one that came empty or half written is compared again first.
    pub(super) fn is_decided(&mut self, key: &str) -> Result<bool, Closed> {
        let Some(file) = self.files.open.get(key) else { return Ok(false) };
        if !file.is_undecided() {
            return Ok(true);
        }
        if file.may_be_decided().unwrap_or(true)
            && let Some(file) = self.files.open.remove(key)
        {
            self.take_new(key, file)?;
        }
        Ok(self.files.open.get(key).is_some_and(|file| !file.is_undecided()))
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
        let is_old = |open: &TailedFile| open.path() == file.path() && !open.is_undecided();
        let same_name = self.files.open.iter().filter(|(_, open)| is_old(open));
        let newest = same_name.max_by_key(|(_, open)| open.identity().birth_time).map(|(key, _)| key.clone());
        let open = newest.filter(|_| self.searched);
        if let Some(key) = open {
            let succession = match self.compare(file, &key)? {
                Ok(succession) => succession,
                Err(error) => {
                    file.decide();
                    return Ok(Err(error));
                }
            };
            return self.take_place(file, &key, succession).map(Ok);
        }
        file.decide();
        let held = held::newest(&self.held, file.path()).map(|held| held.key.clone());
        match held {
            Some(key) => Ok(self.succeed_held(file, &key)),
            None => Ok(Ok(None)),
        }
    }

    /// What a file is to the open one that had its name, which is read to its end first.
    fn compare(&mut self, file: &mut TailedFile, key: &str) -> Result<io::Result<Succession>, Closed> {
        if !self.files.open.get(key).is_some_and(|old| file.may_succeed(old)) {
            return Ok(Ok(Succession::None));
        }
        for _ in 0..MAX_STEPS {
            self.beat.beat();
            if self.stop.load(Ordering::Relaxed) {
                // The next run compares them.
                self.turn.end()?;
                return Err(Closed);
            }
            let Some(old) = self.files.open.get_mut(key) else { break };
            match old.step(self.bounds) {
                Ok(Step::Idle) => return Ok(file.succeed(old)),
                Ok(step) => self.take(key, step)?,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(Succession::None))
    }

    /// A file goes on where the one with this key was. The last position of that one is still to be sent.
    fn take_place(
        &mut self,
        file: &mut TailedFile,
        key: &str,
        succession: Succession,
    ) -> Result<Option<SourcePosition>, Closed> {
        if succession == Succession::Undecided {
            return Ok(None);
        }
        file.decide();
        if succession == Succession::None {
            return Ok(None);
        }
        let end = self.leave_to_successor(key)?;
        self.report(file.path(), Change::Overwritten);
        Ok(end)
    }

    /// A file that was replaced is closed, unless a program writes on to it that has it open. Its position is still to be sent.
    fn leave_to_successor(&mut self, key: &str) -> Result<Option<SourcePosition>, Closed> {
        let Some(old) = self.files.open.get_mut(key) else { return Ok(None) };
        let is_written = old.is_unlinked() && !open_for_writing(&HashSet::from([old.identity()])).is_empty();
        if !is_written {
            return self.end(key);
        }
        old.gone_since.get_or_insert_with(Instant::now);
        Ok(Some(old.position(false)))
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
