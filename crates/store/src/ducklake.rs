//! The embedded store: Parquet files and a DuckLake 1.0 catalog in SQLite, written by lapwing, readable by anything.
//!
//! - Files are written under a temporary name, synced, renamed, and their directory synced, before the catalog names them.
//! - One SQL transaction per flush holds the files of all tables, their statistics and the journal position.
//! - A crash between the two leaves files that no catalog names; they are removed when the lake is opened.
//!
//! docs/formats/lake.md describes the layout; DuckDB is its judge in the tests.

mod catalog;
mod files;
mod reader;
mod stats;

use std::{
    fs,
    path::{Path, PathBuf},
};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tokio::sync::Mutex;

use self::catalog::Catalog;
pub use self::reader::LakeReader;
use crate::{Flush, LakeSnapshot, SourceCounts, Store, StoreError, Table, store::LakeAt};

/// A lake in a folder.
pub struct DuckLake {
    folder: PathBuf,
    /// Holds `logs/`, `metrics/` and `flows/`.
    data: PathBuf,
    catalog: Mutex<Catalog>,
}

/// The catalog's file in a lake's folder.
pub(crate) fn catalog_file(folder: &Path) -> PathBuf {
    folder.join("catalog.sqlite")
}

impl std::fmt::Debug for DuckLake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DuckLake").field("data", &self.data).finish_non_exhaustive()
    }
}

impl DuckLake {
    /// Opens the lake in `folder`, made when missing, and removes files that no catalog names.
    ///
    /// # Errors
    /// When files can't be made, or the catalog is not one of ours.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let data = folder.join("data/main");
        for table in Table::ALL {
            let path = data.join(table.name());
            fs::create_dir_all(&path).map_err(|source| file_error(&path, "create folder", source))?;
        }
        let folder = folder.canonicalize().map_err(|source| file_error(folder, "open", source))?;
        let data = folder.join("data/main");
        let mut catalog = Catalog::open(&catalog_file(&folder), &folder.join("data")).await?;
        let named = catalog.files().await?;
        let swept = files::sweep(&data, &named)?;
        if swept > 0 {
            tracing::info!("removed {swept} Parquet files that a crash left without a commit");
        }
        Ok(Self { folder, data, catalog: Mutex::new(catalog) })
    }

    async fn write_files(&self, flush: &Flush) -> Result<Vec<files::DataFile>, StoreError> {
        let (data, through, tables) = (self.data.clone(), flush.through, flush.tables.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut written = Vec::new();
            for (table, batches) in &tables {
                for (day, parts) in files::by_day(batches) {
                    written.push(files::write(&data, *table, &day, through, &parts)?);
                }
            }
            Ok(written)
        });
        written.await.map_err(|error| StoreError::Task(error.to_string()))?
    }
}

#[async_trait]
impl Store for DuckLake {
    async fn committed(&self) -> Result<u64, StoreError> {
        self.catalog.lock().await.committed().await
    }

    async fn commit(&self, flush: &Flush) -> Result<(), StoreError> {
        let mut catalog = self.catalog.lock().await;
        if flush.through <= catalog.committed().await? {
            return Ok(());
        }
        let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        if flush.tables.iter().all(|(_, batches)| rows(batches) == 0) {
            return catalog.commit(flush.through, &[], &SourceCounts::default()).await;
        }
        let files = self.write_files(flush).await?;
        let mut counts = SourceCounts::default();
        for (table, batches) in &flush.tables {
            batches.iter().for_each(|rows| counts.add(*table, rows));
        }
        let counts = counts.named_as_in(&catalog.stored());
        catalog.commit(flush.through, &files, &counts).await
    }

    async fn snapshot(&self) -> Result<LakeSnapshot, StoreError> {
        let catalog = self.catalog.lock().await;
        let lake = LakeAt { folder: self.folder.clone(), snapshot: catalog.snapshot_id() };
        Ok(LakeSnapshot { lake: Some(lake), stored: Some(catalog.stored()) })
    }
}

fn file_error(path: &Path, action: &'static str, source: std::io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), action, source }
}
