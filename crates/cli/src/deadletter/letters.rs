//! The folder of dead letters.
//!
//! A letter is there as long as its `.batch` is: that file is moved or removed last, and its `.reason` before it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use anyhow::{Context, anyhow};
use lapwing::{
    batch::{self, BatchError},
    columns::Columns,
    v1::{Batch, Packed, Signal, batch::Payload},
};
use prost::Message;

use crate::{
    exit::{Exit, Failure, OrExit},
    output, rows,
};

const BATCH: &str = "batch";
const PENDING: &str = "pending";
const REASON: &str = "reason";
const REPLAYED: &str = "replayed";

/// A folder of letters.
#[derive(Debug, Clone)]
pub(crate) struct Letters {
    folder: PathBuf,
}

/// A letter.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// `EPOCH-SEQUENCE`: the number it was sent with.
    pub(crate) name: String,
    /// The batch.
    pub(crate) batch: Batch,
    /// Why it was refused.
    pub(crate) reason: String,
    /// When it was set aside, nanoseconds since the Unix epoch.
    pub(crate) set_aside: u64,
}

impl Letters {
    /// The letters in `folder`. It is made with the first letter: without one the folder above must be there.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let state_dir = folder.parent().unwrap_or(folder);
        if !state_dir.is_dir() {
            let text = format!("{}: no such directory; give the agent's state_dir", state_dir.display());
            return Err(Exit::Usage.because(anyhow!(text)));
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Those that were sent again.
    pub(crate) fn replayed(&self) -> Self {
        Self { folder: self.folder.join(REPLAYED) }
    }

    /// Names of all letters, in the order of their numbers within an epoch.
    pub(crate) fn names(&self) -> Result<Vec<String>, Failure> {
        self.names_with(BATCH)
    }

    /// How many batches a running agent has set aside and not yet given up: should it stop now, it reads their events again.
    pub(crate) fn pending(&self) -> Result<usize, Failure> {
        Ok(self.names_with(PENDING)?.len())
    }

    fn names_with(&self, wanted: &str) -> Result<Vec<String>, Failure> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| self.folder.display().to_string())?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| self.folder.display().to_string())?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|extension| extension == wanted)
                && let Some(stem) = stem
            {
                names.push(stem.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Reads a letter.
    pub(crate) fn read(&self, name: &str) -> Result<Letter, Failure> {
        let path = self.path(name, BATCH);
        let read = || -> io::Result<(Vec<u8>, u64)> {
            let since = fs::metadata(&path)?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok((fs::read(&path)?, u64::try_from(since.as_nanos()).unwrap_or_default()))
        };
        let (bytes, set_aside) = read().with_context(|| path.display().to_string())?;
        let batch = Batch::decode(&bytes[..]);
        let batch =
            batch.with_context(|| format!("{} is no batch", path.display())).or_exit(Exit::Unsound)?;
        let reason = fs::read(self.path(name, REASON)).unwrap_or_default();
        let reason = String::from_utf8_lossy(&reason).trim().to_owned();
        Ok(Letter { name: name.to_owned(), batch, reason, set_aside })
    }

    /// Moves a letter that was taken to those that were sent again.
    pub(crate) fn done(&self, name: &str) -> Result<(), Failure> {
        let replayed = self.replayed().folder;
        let moved = || -> io::Result<()> {
            fs::create_dir_all(&replayed)?;
            for extension in [REASON, BATCH] {
                let from = self.path(name, extension);
                if extension == BATCH || from.exists() {
                    fs::rename(from, replayed.join(format!("{name}.{extension}")))?;
                }
            }
            sync(&replayed)?;
            sync(&self.folder)
        };
        Ok(moved().with_context(|| format!("move {name} to {}", replayed.display()))?)
    }

    /// Notes why a letter was refused again.
    pub(crate) fn refused(&self, name: &str, reason: &str) -> Result<(), Failure> {
        let new = self.folder.join(format!("{name}.{REASON}.new"));
        let noted = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(reason.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, self.path(name, REASON))?;
            sync(&self.folder)
        };
        Ok(noted().with_context(|| format!("note the reason in {}", new.display()))?)
    }

    /// Removes a letter.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Failure> {
        let removed = || -> io::Result<()> {
            match fs::remove_file(self.path(name, REASON)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => fs::remove_file(self.path(name, BATCH))?,
            }
            sync(&self.folder)
        };
        Ok(removed().with_context(|| format!("remove {name} from {}", self.folder.display()))?)
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{name}.{extension}"))
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Letter {
    /// What was packed; `None` when the batch carries no columns, which no agent's does.
    pub(crate) fn packed(&self) -> Option<&Packed> {
        match &self.batch.payload {
            Some(Payload::Packed(packed)) => Some(packed),
            _ => None,
        }
    }

    /// How many rows.
    pub(crate) fn rows(&self) -> u64 {
        self.packed().map_or(0, |packed| u64::from(packed.rows))
    }

    /// The table its rows are for.
    pub(crate) fn signal(&self) -> &'static str {
        match self.packed().map(Packed::signal) {
            Some(Signal::Logs) => "logs",
            Some(Signal::Metrics) => "metrics",
            Some(Signal::Flows) => "flows",
            _ => "",
        }
    }

    /// The agent it came from; empty when the batch names none.
    pub(crate) fn agent(&self) -> &str {
        self.batch.origin.as_ref().map_or("", |origin| &origin.agent_id)
    }

    /// The host its rows are about.
    pub(crate) fn host(&self) -> &str {
        let attributes = self.batch.resource.as_ref().map(|resource| &resource.attributes);
        attributes.and_then(|attributes| attributes.get("host.name")).map_or("", |host| host)
    }

    /// Where its rows were read.
    pub(crate) fn sources(&self) -> Vec<&str> {
        let name = |position: &'_ lapwing::v1::SourcePosition| !position.display_name.is_empty();
        let positions = self.batch.positions.iter();
        let mut names: Vec<&str> = positions
            .map(|position| if name(position) { &*position.display_name } else { &*position.source })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Its rows as columns.
    pub(crate) fn columns(&self) -> Result<Columns, BatchError> {
        self.packed().map_or(Err(BatchError::Signal(0)), |packed| batch::unpack(packed, &rows::limits()))
    }

    /// Rows, signal and agent in words.
    pub(crate) fn summary(&self) -> String {
        let rows = output::counted(self.rows(), "row");
        format!("{rows} for {}, from agent {:?}", self.signal(), self.agent())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use lapwing::v1::Origin;

    use super::*;

    /// Writes a letter as an agent does.
    pub(crate) fn write(folder: &Path, sequence: u64) -> String {
        let name = format!("00000000000000ab-{sequence:010}");
        let packed = Packed { rows: 2, signal: 1, data: Bytes::from_static(b"x"), ..Packed::default() };
        let batch = Batch {
            origin: Some(Origin { agent_id: "a".to_owned(), epoch: 0xab, sequence, ..Origin::default() }),
            payload: Some(Payload::Packed(packed)),
            ..Batch::default()
        };
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(format!("{name}.batch")), batch.encode_to_vec()).unwrap();
        fs::write(folder.join(format!("{name}.reason")), "TOO_LARGE: a log body\n").unwrap();
        name
    }

    #[test]
    fn a_letter_that_was_taken_is_kept_beside_the_others_and_one_that_was_refused_has_the_new_reason() {
        let state = tempfile::tempdir().unwrap();
        let letters = Letters::open(&state.path().join("dead-letters")).unwrap();
        assert!(letters.names().unwrap().is_empty());
        let (first, second) = (write(letters.folder(), 1), write(letters.folder(), 2));
        letters.done(&first).unwrap();
        letters.refused(&second, "INVALID_ARGUMENT: no").unwrap();
        assert_eq!(letters.names().unwrap(), std::slice::from_ref(&second));
        assert_eq!(letters.read(&second).unwrap().reason, "INVALID_ARGUMENT: no");
        let replayed = letters.replayed();
        assert_eq!(replayed.names().unwrap(), std::slice::from_ref(&first));
        assert_eq!(replayed.read(&first).unwrap().reason, "TOO_LARGE: a log body");
        replayed.remove(&first).unwrap();
        assert!(replayed.names().unwrap().is_empty());
        assert_eq!(fs::read_dir(replayed.folder()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_no_batch_is_told_as_damage() {
        let state = tempfile::tempdir().unwrap();
        let letters = Letters::open(&state.path().join("dead-letters")).unwrap();
        let name = write(letters.folder(), 1);
        fs::write(letters.folder().join(format!("{name}.batch")), b"\xff\xff").unwrap();
        let (exit, told) = letters.read(&name).unwrap_err().parts();
        assert!(exit == Exit::Unsound && told.contains("is no batch"), "{told}");
        let nowhere = Letters::open(Path::new("/no/such/dead-letters")).unwrap_err();
        assert_eq!(nowhere.parts().0, Exit::Usage);
    }
}
