//! Programs that were not told of a rotation, and write on to a file that has no place any more.
//!
//! A file that was closed and still has a name costs a look at its size now and then. One without a name is held open for as long as
//! another program has it open for writing.

use std::{
    collections::{HashSet, VecDeque},
    fs,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use super::{TailLoop, Topic, turn::Closed};
use crate::collectors::logs::files::{
    file::TailedFile,
    identity::{About, Identity},
    names,
};

/// Closed files that are looked at; beyond that the oldest are let go of.
const MAX_LATE: usize = 1024;

/// Files that were read to their end and closed, and have a name.
#[derive(Debug, Default)]
pub(super) struct LateFiles(VecDeque<LateFile>);

#[derive(Debug)]
struct LateFile {
    key: String,
    /// Where it is now.
    path: PathBuf,
    identity: Identity,
    /// What was looked at.
    size: u64,
}

impl LateFiles {
    /// Takes a file that is about to be closed.
    pub(super) fn add(&mut self, key: &str, file: &TailedFile) {
        let Ok(path) = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) else { return };
        let Ok(about) = About::of_path(&path) else { return };
        if about.identity != file.identity() {
            return;
        }
        if self.0.len() >= MAX_LATE {
            self.0.pop_front();
        }
        let size = if file.has_more() { file.searched() } else { about.size };
        self.0.push_back(LateFile { key: key.to_owned(), path, identity: about.identity, size });
    }

    /// Those that were written to since, with their places, until they are [forgotten](Self::forget). What is gone is let go of.
    fn written(&mut self) -> Vec<(String, PathBuf)> {
        let mut written = Vec::new();
        self.0.retain(|file| match About::of_path(&file.path) {
            Ok(about) if about.identity != file.identity => false,
            Ok(about) if about.size == file.size => true,
            Ok(_) => {
                written.push((file.key.clone(), file.path.clone()));
                true
            }
            Err(_) => false,
        });
        written
    }

    /// Lets go of a file that is open again.
    fn forget(&mut self, key: &str) {
        self.0.retain(|file| file.key != key);
    }
}

impl TailLoop {
    /// Opens files again that were closed and are written to.
    pub(super) fn find_late(&mut self) -> Result<(), Closed> {
        for (key, path) in self.late.written() {
            if !self.files.open.contains_key(&key) {
                if !self.files.has_room() {
                    self.make_room();
                }
                // Without a descriptor it has its turn at the next look.
                if !self.files.has_room() {
                    break;
                }
                self.open(&key, &path, true)?;
            }
            if self.files.open.contains_key(&key) {
                if let Some(left_out) = self.said.again(&(Topic::Late, path.clone())) {
                    tracing::info!("{}: is still written to{left_out}", names::display(&path));
                }
                self.late.forget(&key);
            }
        }
        Ok(())
    }
}

/// Those of these files without a name that another program has open for writing, as far as this one may see that.
pub(super) fn open_for_writing(files: &HashSet<Identity>) -> HashSet<Identity> {
    let own = std::process::id().to_string();
    let mut found = HashSet::new();
    if files.is_empty() {
        return found;
    }
    let is_other = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit()) && name != own;
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !process.file_name().to_str().is_some_and(is_other) {
            continue;
        }
        for descriptor in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            // Nothing else is looked at: a file on a file system that hangs would not come back.
            let is_deleted = |link: PathBuf| link.as_os_str().as_encoded_bytes().ends_with(b" (deleted)");
            if !fs::read_link(descriptor.path()).is_ok_and(is_deleted) {
                continue;
            }
            let Ok(about) = About::of_path(&descriptor.path()) else { continue };
            if files.contains(&about.identity) && is_for_writing(&process.path(), &descriptor.file_name()) {
                found.insert(about.identity);
            }
        }
    }
    found
}

fn is_for_writing(process: &Path, descriptor: &std::ffi::OsStr) -> bool {
    /// The bits of the flags that say how a file is open; 0 is for reading.
    const ACCESS: u32 = 0o3;
    let Ok(info) = fs::read_to_string(process.join("fdinfo").join(descriptor)) else { return false };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & ACCESS != 0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_file_that_is_written_to_late_is_told_of_until_it_is_open() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let path = named.path().to_owned();
        let file = TailedFile::open(&path, &path).unwrap().unwrap();
        let mut late = LateFiles::default();
        late.add("a", &file);
        assert!(late.written().is_empty());
        fs::write(&path, "late\n").unwrap();
        for _ in 0..2 {
            assert_eq!(late.written(), [("a".to_owned(), path.clone())]);
        }
        late.forget("a");
        assert!(late.written().is_empty());
    }

    #[test]
    fn a_program_that_has_a_file_open_for_writing_is_seen_and_one_that_reads_it_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let identity = About::of_path(file.path()).unwrap().identity;
        let files = HashSet::from([identity]);
        let reader = fs::File::open(file.path()).unwrap();
        let writer = fs::OpenOptions::new().append(true).open(file.path()).unwrap();
        drop(file);
        let mut reader = Command::new("sleep").arg("60").stdin(reader).spawn().unwrap();
        assert!(open_for_writing(&files).is_empty());
        let mut writer = Command::new("sleep").arg("60").stdout(writer).spawn().unwrap();
        assert_eq!(open_for_writing(&files), files);

        for process in [&mut reader, &mut writer] {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}
