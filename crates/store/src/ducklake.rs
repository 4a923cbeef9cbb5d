//! The embedded store: Parquet files and a DuckLake 1.0 catalog in SQLite, written by lapwing, readable by anything.
//!
//! - Files are written under a temporary name, synced, renamed, and their directory synced, before the catalog names them.
//! - One SQL transaction per flush holds the files of all tables, their statistics and the journal position.
//! - A crash between the two leaves files that no catalog names; they are removed when the lake is opened.
//!
//! docs/formats/lake.md describes the layout; DuckDB is its judge in the tests.

mod catalog;
mod files;
mod stats;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::CatalogProvider;
use datafusion_ducklake::{DuckLakeCatalog, MetadataProvider, SqliteMetadataProvider};
use tokio::sync::Mutex;

use self::catalog::Catalog;
use crate::{Flush, LakeSnapshot, SourceCounts, Store, StoreError, Table};

/// A lake in a folder.
pub struct DuckLake {
    /// Holds `logs/`, `metrics/` and `flows/`.
    data: PathBuf,
    catalog: Mutex<Catalog>,
    reader: Arc<dyn MetadataProvider>,
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
        let file = folder.join("catalog.sqlite");
        let mut catalog = Catalog::open(&file, &folder.join("data")).await?;
        let named = catalog.files().await?;
        let swept = files::sweep(&data, &named)?;
        if swept > 0 {
            tracing::info!("removed {swept} Parquet files that a crash left without a commit");
        }
        let reader = SqliteMetadataProvider::new(&format!("sqlite://{}?mode=ro", file.display()))
            .await
            .map_err(|error| StoreError::Lake(error.to_string()))?;
        Ok(Self { data, catalog: Mutex::new(catalog), reader: Arc::new(reader) })
    }

    async fn write_files(&self, flush: &Flush) -> Result<Vec<files::DataFile>, StoreError> {
        let (data, through, tables) = (self.data.clone(), flush.through, flush.tables.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut written = Vec::new();
            for (table, batches) in &tables {
                for (day, batches) in files::by_day(batches)? {
                    written.push(files::write(&data, *table, &day, through, &batches)?);
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
        catalog.commit(flush.through, &files, &counts).await
    }

    async fn snapshot(&self) -> Result<LakeSnapshot, StoreError> {
        let (id, stored) = {
            let catalog = self.catalog.lock().await;
            (catalog.snapshot_id(), catalog.stored())
        };
        let lake = |error: &dyn std::fmt::Display| StoreError::Lake(error.to_string());
        let catalog =
            DuckLakeCatalog::with_snapshot(Arc::clone(&self.reader), id).map_err(|error| lake(&error))?;
        let schema =
            catalog.schema("main").ok_or_else(|| StoreError::Lake("it has no schema main".to_owned()))?;
        let mut tables = HashMap::new();
        for table in Table::ALL {
            let provider = schema.table(table.name()).await.map_err(|error| lake(&error))?;
            let missing = || StoreError::Lake(format!("it has no table {}", table.name()));
            tables.insert(table, provider.ok_or_else(missing)?);
        }
        Ok(LakeSnapshot { tables, stored: Some(stored) })
    }
}

fn file_error(path: &Path, action: &'static str, source: std::io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), action, source }
}
