//! Looking at what there is: files that came are opened, files that went are closed.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lapwing::v1::{SourcePosition, source_position::Position};

use super::{
    TailLoop,
    held::{FileHeld, Found, find_in_directory},
    turn::Closed,
};
use crate::{
    collectors::logs::files::{
        StartAt,
        file::{Events, TailedFile},
        identity::About,
    },
    input::Input,
};

/// A scan may take one part in this many of the time: with very many files they get rarer.
const SCAN_SHARE: u32 = 200;
/// Time between two scans while files wait for a descriptor.
const TURNS: Duration = Duration::from_millis(250);

impl TailLoop {
    /// The first scan also looks for files that were rotated away while the agent was not there.
    pub(super) fn first_scan(&mut self) -> Result<(), Closed> {
        self.scan()?;
        self.first_start = false;
        let wanted = |held: &&FileHeld| self.config.globs.matches(&held.path);
        let rest: Vec<(String, Found)> = self
            .held
            .values()
            .filter(wanted)
            .map(|held| (held.key.clone(), find_in_directory(held)))
            .collect();
        for (key, found) in rest {
            match found {
                Found::At(path) => self.open(&key, &path, true)?,
                Found::Gone => self.forget(&key)?,
                Found::Unknown => {}
            }
        }
        Ok(())
    }

    /// A file that is gone has nothing to be read again.
    pub(super) fn forget(&mut self, key: &str) -> Result<(), Closed> {
        let Some(held) = self.held.remove(key) else { return Ok(()) };
        tracing::info!("{}: is gone; what was not read of it is lost", held.path.display());
        self.turn.send(Input::Position(SourcePosition {
            source: held.key,
            display_name: held.path.to_string_lossy().into_owned(),
            closed: true,
            position: Some(Position::File(held.position)),
            events_read: held.events.read,
            events_truncated: held.events.truncated,
            ..SourcePosition::default()
        }))
    }

    pub(super) fn scan(&mut self) -> Result<(), Closed> {
        let started = Instant::now();
        let mut present = HashSet::new();
        let mut waiting = Vec::new();
        let mut directories: HashSet<PathBuf> = self.config.globs.roots().into_iter().collect();
        for path in self.config.globs.scan() {
            directories.extend(path.parent().map(Path::to_owned));
            let Ok(about) = About::of_path(&path) else { continue };
            if !about.is_regular {
                continue;
            }
            let key = about.identity.key();
            match self.files.open.get(&key) {
                // No event may have come: the queue overflowed, or another machine wrote to it.
                Some(file) if file.searched() != about.size => self.files.heat(key.clone()),
                Some(_) => {}
                None if self.files.has_room() => self.open(&key, &path, false)?,
                None if self.held.get(&key).is_some_and(|held| held.position.offset == about.size) => {}
                None => waiting.push((key.clone(), path)),
            }
            present.insert(key);
        }
        for directory in directories {
            if let Err(error) = self.watch.directory(&directory) {
                tracing::debug!("{}: can't be watched: {error}", directory.display());
            }
        }
        self.files.look_at_unwatched(&mut self.watch);
        self.close_gone(&present)?;
        self.find_resting(&present)?;
        let take_turns = !waiting.is_empty();
        self.take_turns(waiting)?;
        self.counters.files_open.set(self.files.open.len() as u64);
        let pause = if take_turns { TURNS } else { self.config.rescan_interval };
        self.next_scan = Instant::now() + pause.max(started.elapsed() * SCAN_SHARE);
        Ok(())
    }

    /// Opens the file `key` at `path`; what the collector holds of it stays known until it is open.
    pub(super) fn open(&mut self, key: &str, path: &Path, gone: bool) -> Result<(), Closed> {
        let held = self.held.get(key);
        // A file that was rotated away keeps the name it is known by.
        let name = held.filter(|_| gone).map_or(path, |held| &held.path);
        let opened = TailedFile::open(path, name).and_then(|file| {
            let Some(mut file) = file else { return Ok(None) };
            if file.key() != key {
                // Another file has the name by now: the next scan takes it.
                return Ok(None);
            }
            self.place(&mut file, held)?;
            Ok(Some(file))
        });
        let is_new = held.is_none();
        let mut file = match opened {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                self.counters.file_errors.add(1);
                if self.complained.insert(path.to_owned()) {
                    tracing::warn!("{}: can't be opened: {error}", path.display());
                }
                return Ok(());
            }
        };
        self.complained.remove(path);
        file.gone_since = gone.then(Instant::now);
        self.held.remove(key);
        if is_new {
            // From here on a restart knows where this file began to be read.
            self.turn.send(Input::Position(file.position(false)))?;
        }
        self.files.insert(key, file);
        Ok(())
    }

    /// Where reading begins.
    fn place(&self, file: &mut TailedFile, held: Option<&FileHeld>) -> io::Result<()> {
        match held {
            Some(held) => {
                if !file.resume(&held.position, held.events)? {
                    self.counters.files_truncated.add(1);
                    tracing::info!(
                        "{}: has other content than before, reading it from its beginning",
                        file.path().display()
                    );
                }
                Ok(())
            }
            None if self.first_start && self.config.start_at == StartAt::End => file.skip_to_end(),
            None => Ok(()),
        }
    }

    /// Files that no glob leads to any more are followed until they are quiet, then closed and forgotten.
    fn close_gone(&mut self, present: &HashSet<String>) -> Result<(), Closed> {
        let mut quiet = Vec::new();
        for (key, file) in &mut self.files.open {
            if present.contains(key) || file.may_still_have_its_name() {
                file.gone_since = None;
                continue;
            }
            let since = *file.gone_since.get_or_insert_with(Instant::now);
            let limit = self.config.close_after;
            if since.elapsed() >= limit && file.grew.elapsed() >= limit && !file.has_more() {
                quiet.push(key.clone());
            }
        }
        for key in quiet {
            self.close(&key)?;
        }
        Ok(())
    }

    fn close(&mut self, key: &str) -> Result<(), Closed> {
        let Some(file) = self.files.open.get_mut(key) else { return Ok(()) };
        match file.unfinished_line(self.bounds) {
            Ok(Some(step)) => self.take(key, step)?,
            Ok(None) => {}
            Err(error) => self.files.complain(key, &error, &self.counters),
        }
        let Some(file) = self.files.remove(key) else { return Ok(()) };
        tracing::debug!("{}: closed (deleted: {})", file.path().display(), file.is_unlinked());
        if !file.is_unlinked() {
            // Should it get its name back, it goes on from here; the collector forgets it, and its counts begin anew.
            let held = FileHeld::new(file.position(false))
                .map(|held| FileHeld { events: Events::default(), ..held });
            self.held.extend(held.map(|held| (held.key.clone(), held)));
        }
        self.turn.send(Input::Position(file.position(true)))
    }
}
