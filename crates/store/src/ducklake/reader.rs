//! The lake's tables for whoever only reads them.

use std::{collections::HashMap, path::Path, sync::Arc};

use datafusion::catalog::{CatalogProvider, TableProvider};
use datafusion_ducklake::{DuckLakeCatalog, MetadataProvider, SqliteMetadataProvider};
use tokio::sync::Mutex;

use super::catalog_file;
use crate::{StoreError, Table};

type Providers = HashMap<Table, Arc<dyn TableProvider>>;

/// Reads a lake at any of its snapshots.
pub struct LakeReader {
    catalog: Arc<dyn MetadataProvider>,
    /// The newest snapshot that was asked for: most queries ask for the same one.
    last: Mutex<Option<(i64, Providers)>>,
}

impl std::fmt::Debug for LakeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeReader").finish_non_exhaustive()
    }
}

impl LakeReader {
    /// Opens the catalog of the lake in `folder`, which must be there.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let file = catalog_file(folder);
        let catalog = SqliteMetadataProvider::new(&format!("sqlite://{}?mode=ro", file.display()))
            .await
            .map_err(|error| lake(&error))?;
        Ok(Self { catalog: Arc::new(catalog), last: Mutex::new(None) })
    }

    /// The tables at a snapshot.
    ///
    /// # Errors
    /// When the catalog can't be read, or has no such tables.
    pub async fn tables(&self, snapshot: i64) -> Result<Providers, StoreError> {
        let mut last = self.last.lock().await;
        if let Some((_, tables)) = last.as_ref().filter(|(of, _)| *of == snapshot) {
            return Ok(tables.clone());
        }

        let catalog = DuckLakeCatalog::with_snapshot(Arc::clone(&self.catalog), snapshot)
            .map_err(|error| lake(&error))?;
        let schema =
            catalog.schema("main").ok_or_else(|| StoreError::Lake("it has no schema main".to_owned()))?;
        let mut tables = HashMap::new();
        for table in Table::ALL {
            let provider = schema.table(table.name()).await.map_err(|error| lake(&error))?;
            let missing = || StoreError::Lake(format!("it has no table {}", table.name()));
            tables.insert(table, provider.ok_or_else(missing)?);
        }

        *last = Some((snapshot, tables.clone()));
        Ok(tables)
    }
}

fn lake(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Lake(error.to_string())
}
