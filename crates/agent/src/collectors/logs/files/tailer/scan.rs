//! What there is: files that came are opened, files that went are closed.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lapwing::v1::SourcePosition;

use super::{TailLoop, Topic, held::FileHeld, late::open_for_writing, rest::TURNS, turn::Closed};
use crate::{
    collectors::logs::files::{
        StartAt,
        discover::{Found, FoundFile, News, Wanted},
        file::{Events, GONE, Resumed, TailedFile},
        names,
    },
    input::Input,
};

/// News heard before the files that grow have their turn again.
const NEWS: usize = 4;
/// Longest time between two looks over all files and at the thread that finds them.
const LOOK: Duration = Duration::from_secs(5);
/// So long a file that is gone is kept at least for one that has its name and is written slowly.
const HALF_WRITTEN: Duration = Duration::from_secs(10);

impl TailLoop {
    /// Takes what the thread that finds files has to tell. Whether there may be more.
    pub(super) fn hear(&mut self) -> Result<bool, Closed> {
        for _ in 0..NEWS {
            match self.discovery.news() {
                Some(News::Files(files)) => files.into_iter().try_for_each(|file| self.found(file))?,
                Some(News::Walked { left_out }) => self.walked(&left_out)?,
                Some(News::Located(located)) => {
                    located.into_iter().try_for_each(|(key, found)| self.located(&key, found))?;
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// A file that is to be read is there.
    fn found(&mut self, file: FoundFile) -> Result<(), Closed> {
        self.beat.beat();
        let key = self.key_of(&file.about.identity, &file.path);
        if let Some(target) = file.target.filter(|_| !self.files.open.contains_key(&key)) {
            tracing::debug!("{}: leads to {}", names::display(&file.path), names::display(&target));
        }

        match self.files.open.get(&key) {
            // No event may have come: the queue overflowed, or another machine wrote to it.
            Some(open) if !open.is_as_seen(&file.about) || open.is_to_be_compared() => {
                self.files.heat(key.clone())
            }
            Some(_) => {}
            None if self.files.has_room() => self.open(&key, &file.path, false)?,
            None if self.held.get(&key).is_some_and(|held| held.position.offset == file.about.size) => {}
            None => {
                self.waiting.insert(key.clone(), file.path);
                self.next_look = self.next_look.min(Instant::now() + TURNS);
            }
        }
        self.present.insert(key);
        Ok(())
    }

    /// A walk came to its end.
    fn walked(&mut self, left_out: &[PathBuf]) -> Result<(), Closed> {
        self.mark_gone(left_out);
        self.search_resting();
        if !std::mem::replace(&mut self.searched, true) {
            self.search_held();
        }

        self.first_start = false;
        self.waiting.retain(|key, _| self.present.contains(key));
        self.present.clear();
        self.look_over()
    }

    /// Looks for files that were rotated away while the agent was not there.
    fn search_held(&mut self) {
        let lost = self.held.values().filter(|held| !self.waiting.contains_key(&held.key));
        let lost: Vec<&FileHeld> = lost.filter(|held| self.discovery.matches(&held.path)).collect();
        let last = lost.iter().filter(|held| !held.position.succeeded);
        self.last_read = last.map(|held| held.key.clone()).collect();
        let wanted: Vec<Wanted> = lost.into_iter().map(FileHeld::wanted).collect();
        self.discovery.search(wanted);
    }

    fn located(&mut self, key: &str, found: Found) -> Result<(), Closed> {
        let is_last = self.last_read.remove(key);
        match found {
            _ if self.files.open.contains_key(key) => return Ok(()),
            Found::At(path) => self.open(key, &path, true)?,
            Found::Gone => self.forget(key)?,
            Found::Unknown => return Ok(()),
        }
        if is_last { self.open_rotated_after(key) } else { Ok(()) }
    }

    /// Looks at the files of which no event comes, closes those that are gone, and looks after the thread that finds files.
    pub(super) fn look_over(&mut self) -> Result<(), Closed> {
        self.files.look_at_unwatched(&mut self.watch);
        self.close_gone()?;
        self.find_late()?;
        self.take_turns()?;
        match self.discovery.oversee() {
            Ok(false) => {}
            // What the former one was asked, the new one does not know; and its walk begins anew.
            Ok(true) => {
                self.searched = false;
                self.present.clear();
            }
            Err(error) => {
                if let Some(left_out) = self.said.again(&(Topic::Unstarted, PathBuf::new())) {
                    tracing::error!("the thread that looks for files can't be started: {error}{left_out}");
                }
            }
        }
        let pause = if self.waiting.is_empty() { LOOK.min(self.config.rescan_interval) } else { TURNS };
        self.next_look = Instant::now() + pause;
        Ok(())
    }

    /// Of a file that is gone there may be a copy; else nothing can be read again.
    pub(super) fn forget(&mut self, key: &str) -> Result<(), Closed> {
        let Some(mut held) = self.held.remove(key) else { return Ok(()) };
        if let Some(copy) = TailedFile::copy_of(&held.path, &held.position, &held.key, held.events.clone()) {
            if let Some(left_out) = self.said.again(&(Topic::Gone, held.path.clone())) {
                let path = names::display(&held.path);
                tracing::info!("{path}: is gone; what was not read of it is read from its copy{left_out}");
            }
            self.files.insert(&held.key, copy);
            return Ok(());
        }

        held.events.drop_one(GONE);
        if let Some(left_out) = self.said.again(&(Topic::Gone, held.path.clone())) {
            tracing::warn!(
                "{}: is gone; what was written to it while nobody read it is lost, how much is not known{left_out}",
                names::display(&held.path)
            );
        }
        self.turn.send(Input::Position(held.into_closed()))
    }

    /// Opens the file `key` at `path`; what the collector holds of it stays known until it is open.
    pub(super) fn open(&mut self, key: &str, path: &Path, gone: bool) -> Result<(), Closed> {
        let held = self.held.get(key);
        // A file that was rotated away keeps the name it is known by.
        let name = held.filter(|_| gone).map_or(path, |held| &held.path);
        let opened = if gone { TailedFile::open_rotated(path, name) } else { TailedFile::open(path, name) };
        let opened = opened.and_then(|file| {
            let Some(mut file) = file else { return Ok(None) };
            if !file.take_key(key) {
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
                if let Some(left_out) = self.said.again(&(Topic::Unopened, path.to_owned())) {
                    tracing::warn!("{}: can't be opened: {error}{left_out}", names::display(path));
                }
                return Ok(());
            }
        };
        file.gone_since = gone.then(Instant::now);
        self.held.remove(key);
        if is_new {
            return self.take_new(key, file);
        }
        self.insert(key, file);
        Ok(())
    }

    /// Where reading begins.
    fn place(&self, file: &mut TailedFile, held: Option<&FileHeld>) -> io::Result<()> {
        match held {
            Some(held) => {
                match file.resume(&held.position, held.events.clone(), self.config.identity)? {
                    Resumed::Same => {}
                    Resumed::Changed(change) => self.report(file.path(), change),
                }
                Ok(())
            }
            None if self.first_start && self.config.start_at == StartAt::End => file.skip_to_end(),
            None => Ok(()),
        }
    }

    pub(super) fn insert(&mut self, key: &str, file: TailedFile) {
        self.files.insert(key, file);
        self.counters.files_open.set(self.files.open.len() as u64);
    }

    /// Reports that a file can't be read.
    pub(super) fn cant_read(&self, key: &str, error: &io::Error) {
        self.counters.file_errors.add(1);
        let path = self.files.open.get(key).map(|file| file.path().to_owned()).unwrap_or_default();
        if let Some(left_out) = self.said.again(&(Topic::Unread, path.clone())) {
            let path = names::display(&path);
            tracing::warn!("{path}: can't be read: {error}; trying again in a moment{left_out}");
        }
    }

    /// Files that no pattern leads to any more are gone, unless nobody could look where they are.
    fn mark_gone(&mut self, left_out: &[PathBuf]) {
        for (key, file) in &mut self.files.open {
            let is_there = self.present.contains(key)
                || left_out.iter().any(|path| file.path().starts_with(path))
                || file.may_still_have_its_name();
            file.gone_since = if is_there { None } else { file.gone_since.or(Some(Instant::now())) };
        }
    }

    /// Files that are gone are followed until they are quiet, then closed and forgotten.
    fn close_gone(&mut self) -> Result<(), Closed> {
        let limit = self.config.close_after;
        // A file that may become a copy of one is compared with it.
        let is_half_written = |file: &&TailedFile| file.is_undecided() && file.grew.elapsed() < HALF_WRITTEN;
        let half_written = self.files.open.values().filter(is_half_written).map(TailedFile::path);
        let half_written: HashSet<PathBuf> = half_written.map(Path::to_owned).collect();
        let is_quiet = |file: &TailedFile| {
            (file.is_undecided() || !half_written.contains(file.path()))
                && file.gone_since.is_some_and(|since| since.elapsed() >= limit)
                && file.grew.elapsed() >= limit
                && !file.has_more()
        };
        let quiet = self.files.open.iter().filter(|(_, file)| is_quiet(file)).map(|(key, _)| key.clone());
        let quiet: Vec<String> = quiet.collect();
        self.close_unwritten(quiet)
    }

    /// Closes files that are quiet, but none without a name that another program may still write to.
    fn close_unwritten(&mut self, quiet: Vec<String>) -> Result<(), Closed> {
        let unlinked =
            quiet.iter().filter_map(|key| self.files.open.get(key)).filter(|file| file.is_unlinked());
        let written = open_for_writing(&unlinked.map(TailedFile::identity).collect());
        for key in quiet {
            match self.files.open.get_mut(&key) {
                Some(file) if written.contains(&file.identity()) => file.gone_since = Some(Instant::now()),
                _ => self.close(&key)?,
            }
        }
        Ok(())
    }

    /// At the end: deleted files that were read to their end are done with. The next run would find no trace of them, and could not tell
    /// that nothing is lost.
    pub(super) fn close_deleted(&mut self) -> Result<(), Closed> {
        let is_done = |file: &TailedFile| file.is_unlinked() && !file.has_more();
        let done = self.files.open.iter().filter(|(_, file)| is_done(file)).map(|(key, _)| key.clone());
        self.close_unwritten(done.collect())
    }

    fn close(&mut self, key: &str) -> Result<(), Closed> {
        let end = self.end(key)?;
        self.turn.send_together(end.into_iter().collect())
    }

    /// Closes a file; its last position is still to be sent.
    pub(super) fn end(&mut self, key: &str) -> Result<Option<SourcePosition>, Closed> {
        let Some(file) = self.files.open.get_mut(key) else { return Ok(None) };
        match file.unfinished_line(self.bounds) {
            Ok(Some(step)) => self.take(key, step)?,
            Ok(None) => {}
            Err(error) => self.cant_read(key, &error),
        }
        let Some(file) = self.files.remove(key) else { return Ok(None) };
        self.counters.files_open.set(self.files.open.len() as u64);
        self.keys.forget(key);
        tracing::debug!("{}: closed (deleted: {})", file.path().display(), file.is_unlinked());
        if !file.is_unlinked() {
            // Should it get its name back, it goes on from here; the collector forgets it, and its counts begin anew.
            if let Some(held) = FileHeld::new(file.position(false)) {
                self.closed.add(&mut self.held, FileHeld { events: Events::default(), ..held });
            }
            self.late.add(key, &file);
        }
        Ok(Some(file.position(true)))
    }
}
