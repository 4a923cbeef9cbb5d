//! A simulated disk for tests: it loses what was not synced, and fails on demand.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use crate::disk::Disk;

/// A disk in memory. Clones share it, so that a test can crash it under a running spool.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, SimFile>,
    /// Names that were there at the last directory sync.
    durable_names: Vec<String>,
    fail_next_sync: bool,
    /// Bytes that may still be appended.
    room: Option<usize>,
}

#[derive(Debug, Default, Clone)]
struct SimFile {
    bytes: Vec<u8>,
    /// What is on the platter.
    durable: Vec<u8>,
}

impl SimDisk {
    /// Power loss: unsynced names are gone, and of each file's unsynced bytes only the first `keep(unsynced)` are there.
    pub fn crash(&self, mut keep: impl FnMut(usize) -> usize) {
        let mut state = self.state();
        let names = state.durable_names.clone();
        state.files.retain(|name, _| names.contains(name));
        for file in state.files.values_mut() {
            let kept = if file.bytes.starts_with(&file.durable) {
                file.durable.len() + keep(file.bytes.len() - file.durable.len())
            } else {
                file.bytes = file.durable.clone();
                file.durable.len()
            };
            file.bytes.truncate(kept);
            file.durable = file.bytes.clone();
        }
        state.fail_next_sync = false;
    }

    /// The next sync fails, and what it was to write is lost (as file systems do: USENIX ATC 2020).
    pub fn fail_next_sync(&self) {
        self.state().fail_next_sync = true;
    }

    /// Sets how many bytes may still be appended; `None` for no limit.
    pub fn set_room(&self, room: Option<usize>) {
        self.state().room = room;
    }

    /// Bytes of a file, to look at or to damage.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = self.state().files.get_mut(name) {
            change(&mut file.bytes);
            file.durable = file.bytes.clone();
        }
    }

    /// Names of all files.
    pub fn names(&self) -> Vec<String> {
        self.state().files.keys().cloned().collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut SimFile) -> T) -> io::Result<T> {
        self.state().files.get_mut(name).map(act).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimDisk {
    fn list(&mut self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(name.to_owned(), SimFile::default());
        Ok(())
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        self.with(name, |file| file.bytes.len() as u64)
    }

    fn append(&mut self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = parts.concat();
        let mut state = self.state();
        let room = state.room.unwrap_or(usize::MAX).min(bytes.len());
        if let Some(left) = &mut state.room {
            *left -= room;
        }
        let file = state.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        file.bytes.extend_from_slice(&bytes[..room]);
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read(&mut self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.with(name, |file| {
            let start = (offset as usize).min(file.bytes.len());
            file.bytes[start..file.bytes.len().min(start.saturating_add(length))].to_vec()
        })
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.with(name, |file| file.bytes.truncate(length as usize))
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let fails = std::mem::take(&mut state.fail_next_sync);
        let file = state.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        if fails {
            file.bytes = file.durable.clone();
            return Err(io::Error::other("simulated fsync failure"));
        }
        file.durable = file.bytes.clone();
        Ok(())
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.durable_names = state.files.keys().cloned().collect();
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.state().files.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
