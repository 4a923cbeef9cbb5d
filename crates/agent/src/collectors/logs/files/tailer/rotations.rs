//! Rotations that came one after another while nobody read: the files between the one that was read last and the one that has the name
//! now.
//!
//! A position says whether what had the name after its file is known. That and the first positions of those files leave together: so
//! they are read from their beginning once, however often the agent ends meanwhile.

use std::{io, path::Path, time::Instant};

use lapwing::v1::SourcePosition;

use super::{TailLoop, turn::Closed};
use crate::collectors::logs::files::{copy::packing, file::TailedFile, identity::Identity, names};

impl TailLoop {
    /// Opens the files that had the name of an open file after it and were rotated themselves. Those that a pattern leads to are found
    /// by that.
    pub(super) fn open_rotated_after(&mut self, key: &str) -> Result<(), Closed> {
        let Some(old) = self.files.open.get(key) else { return Ok(()) };
        let name = old.path().to_owned();
        let mut positions = Vec::new();
        for (path, identity) in old.rotated_after() {
            self.beat.beat();
            if packing(&path).is_none() && self.discovery.matches(&path) {
                continue;
            }
            if !self.files.has_room() {
                self.make_room();
            }
            match self.open_rotated(&path, &identity, &name) {
                Ok(Some(file)) => {
                    let (path, name) = (names::display(&path), names::display(&name));
                    tracing::info!("{path}: was {name} while nobody read, and is read from its beginning");
                    positions.push(file.position(false));
                    let key = file.key().to_owned();
                    self.files.insert(&key, file);
                }
                Ok(None) => {}
                Err(error) => {
                    self.counters.file_errors.add(1);
                    tracing::warn!("{}: can't be opened: {error}", names::display(&path));
                }
            }
        }

        if let Some(old) = self.files.open.get_mut(key) {
            old.succeeded = true;
            positions.push(old.position(false));
        } else if let Some(old) = self.held.get_mut(key) {
            // It gave its descriptor to one of them, and says so when it has its turn.
            old.position.succeeded = true;
        }
        self.turn.send_together(positions)
    }

    /// `None` for a file that is known.
    fn open_rotated(
        &mut self,
        path: &Path,
        identity: &Identity,
        name: &Path,
    ) -> io::Result<Option<TailedFile>> {
        let key = self.key_of(identity, path);
        if self.files.open.contains_key(&key) || self.held.contains_key(&key) {
            return Ok(None);
        }
        let file = TailedFile::open_rotated(path, name)?.filter(|file| file.identity() == *identity);
        Ok(file.map(|mut file| {
            file.take_key(&key);
            // The next ones are searched for from the first of them.
            file.succeeded = true;
            file.gone_since = Some(Instant::now());
            file
        }))
    }

    /// A new file has the name of these now: their positions, which say so.
    pub(super) fn succeeded_by(&mut self, file: &TailedFile) -> Vec<SourcePosition> {
        if !self.searched {
            return Vec::new();
        }
        let last_read = &self.last_read;
        let older = self.files.open.iter_mut().filter(|(key, old)| {
            old.path() == file.path() && !old.succeeded && !last_read.contains(key.as_str())
        });
        let older = older.map(|(_, old)| {
            old.succeeded = true;
            old.position(false)
        });
        older.collect()
    }
}
