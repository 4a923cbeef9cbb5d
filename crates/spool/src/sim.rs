//! A simulated disk for tests: it loses what was not synced, and fails on demand.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::disk::Disk;

/// What a disk writes at once.
const SECTOR: usize = 512;

/// A disk in memory. Clones share it, so that a test can crash it under a running spool.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug, Default, Clone)]
struct State {
    /// By number; a name that was removed and not synced may bring its file back.
    files: Vec<SimFile>,
    names: BTreeMap<String, usize>,
    /// The names at the last directory sync.
    durable_names: BTreeMap<String, usize>,
    /// Syncs of files so far.
    syncs: u64,
    fail_next_sync: bool,
    fail_next_sync_dir: bool,
    /// Bytes that may still be appended.
    room: Option<usize>,
}

#[derive(Debug, Default, Clone)]
struct SimFile {
    bytes: Vec<u8>,
    /// What is on the platter.
    durable: Vec<u8>,
    /// Written since the last sync, whether that failed or not.
    dirty: bool,
}

impl SimFile {
    fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.dirty = true;
    }
}

impl SimDisk {
    /// Power loss: names are as at the last directory sync, and of each file's unsynced bytes only the first
    /// `keep(unsynced)` are there.
    pub fn crash(&self, mut keep: impl FnMut(usize) -> usize) {
        self.crash_with(|unsynced| unsynced.truncate(keep(unsynced.len())));
    }

    /// Power loss that does with each file's unsynced bytes what `lose` does: a disk need not write them in order.
    pub fn crash_with(&self, mut lose: impl FnMut(&mut Vec<u8>)) {
        let mut state = self.state();
        state.names = state.durable_names.clone();
        for file in &mut state.files {
            let mut unsynced = file.bytes.strip_prefix(&file.durable[..]).unwrap_or_default().to_vec();
            if file.dirty {
                lose(&mut unsynced);
                file.durable.append(&mut unsynced);
            }
            (file.bytes, file.dirty) = (file.durable.clone(), false);
        }
        (state.fail_next_sync, state.fail_next_sync_dir) = (false, false);
    }

    /// Power loss as it may be at worst: of the names that were not synced some are as before; of each file's unsynced bytes
    /// some sectors were never written, and the end may be missing. `below` gives a number below its argument.
    pub fn crash_randomly(&self, mut below: impl FnMut(usize) -> usize) {
        self.state().sync_some_names(&mut below);
        self.crash_with(|unsynced| {
            if below(2) == 0 {
                unsynced.truncate(below(unsynced.len() + 1));
            }
            for sector in unsynced.chunks_mut(SECTOR) {
                if below(4) == 0 {
                    sector.fill(0);
                }
            }
        });
    }

    /// The next sync fails. What it was to write can still be read, is not on the disk, and no later sync puts it there (as file
    /// systems do: USENIX ATC 2020).
    pub fn fail_next_sync(&self) {
        self.state().fail_next_sync = true;
    }

    /// The next sync of the directory fails.
    pub fn fail_next_sync_dir(&self) {
        self.state().fail_next_sync_dir = true;
    }

    /// Sets how many bytes may still be appended; `None` for no limit.
    pub fn set_room(&self, room: Option<usize>) {
        self.state().room = room;
    }

    /// Bytes of a file, to look at or to damage.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Ok(file) = self.state().file(name) {
            change(&mut file.bytes);
            file.durable = file.bytes.clone();
        }
    }

    /// A copy as a backup makes it: whole files, all of it on the platter, and nothing shared with this disk.
    pub fn backup(&self) -> Self {
        let mut state = self.state().clone();
        state.durable_names = state.names.clone();
        for file in &mut state.files {
            (file.durable, file.dirty) = (file.bytes.clone(), false);
        }
        (state.fail_next_sync, state.fail_next_sync_dir, state.room) = (false, false, None);
        Self(Arc::new(Mutex::new(state)))
    }

    /// How often files were synced.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Names of all files.
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The system may have written any change of a name by itself.
    fn sync_some_names(&mut self, below: &mut impl FnMut(usize) -> usize) {
        let changed: BTreeSet<String> = self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        for name in changed {
            if self.names.get(&name) == self.durable_names.get(&name) || below(2) == 0 {
                continue;
            }
            match self.names.get(&name) {
                Some(number) => drop(self.durable_names.insert(name, *number)),
                None => drop(self.durable_names.remove(&name)),
            }
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut SimFile> {
        let number = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.files.get_mut(*number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimDisk {
    fn list(&mut self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.files.len();
        state.files.push(SimFile::default());
        state.names.insert(name.to_owned(), number);
        Ok(())
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.state().file(name)?.bytes.len() as u64)
    }

    fn append(&mut self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = parts.concat();
        let mut state = self.state();
        let room = state.room.unwrap_or(usize::MAX).min(bytes.len());
        if let Some(left) = &mut state.room {
            *left -= room;
        }
        state.file(name)?.write(|file| file.extend_from_slice(&bytes[..room]));
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read(&mut self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        let bytes = &state.file(name)?.bytes;
        let start = (offset as usize).min(bytes.len());
        Ok(bytes[start..bytes.len().min(start.saturating_add(length))].to_vec())
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.state().file(name)?.write(|file| file.truncate(length as usize));
        Ok(())
    }

    fn rewrite(&mut self, name: &str, _offset: u64, _length: u64) -> io::Result<()> {
        self.state().file(name)?.write(|_| {});
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.syncs += 1;
        let fails = std::mem::take(&mut state.fail_next_sync);
        let file = state.file(name)?;
        if std::mem::take(&mut file.dirty) && !fails {
            file.durable = file.bytes.clone();
        }
        if fails { Err(io::Error::other("simulated fsync failure")) } else { Ok(()) }
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let mut state = self.state();
        if std::mem::take(&mut state.fail_next_sync_dir) {
            return Err(io::Error::other("simulated fsync failure of the directory"));
        }
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.state().names.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
