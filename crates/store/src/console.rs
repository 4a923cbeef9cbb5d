//! A store for looking: each row is a line on the standard output. It can't be queried.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{Flush, LakeSnapshot, Store, StoreError, export};

/// Prints rows as JSON, one per line, and remembers up to where in a small file.
pub struct Console {
    position: PathBuf,
    out: Mutex<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Console {
    /// Prints to `out`; `folder` holds the position.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn open(folder: &Path, out: Box<dyn Write + Send>) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(|source| error(folder, "create folder", source))?;
        Ok(Self { position: folder.join("console.position"), out: Mutex::new(out) })
    }

    fn print(&self, flush: &Flush) -> Result<(), StoreError> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, batches) in &flush.tables {
            for batch in batches {
                let lines = export::ndjson(batch)?;
                out.write_all(&lines)
                    .map_err(|source| error(Path::new("standard output"), "write", source))?;
            }
        }
        out.flush().map_err(|source| error(Path::new("standard output"), "flush", source))
    }

    fn remember(&self, through: u64) -> io::Result<()> {
        let temporary = self.position.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        write!(file, "{through}")?;
        file.sync_all()?;
        fs::rename(&temporary, &self.position)?;
        self.position.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

#[async_trait]
impl Store for Console {
    async fn committed(&self) -> Result<u64, StoreError> {
        match fs::read_to_string(&self.position) {
            Ok(text) => text.trim().parse().map_err(|_| {
                StoreError::Lake(format!(
                    "{} holds no number; remove it to begin anew",
                    self.position.display()
                ))
            }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(error(&self.position, "read", source)),
        }
    }

    async fn commit(&self, flush: &Flush) -> Result<(), StoreError> {
        if flush.through <= self.committed().await? {
            return Ok(());
        }
        self.print(flush)?;
        self.remember(flush.through).map_err(|source| error(&self.position, "write", source))
    }

    async fn snapshot(&self) -> Result<LakeSnapshot, StoreError> {
        Ok(LakeSnapshot::default())
    }
}

fn error(path: &Path, action: &'static str, source: io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), action, source }
}
