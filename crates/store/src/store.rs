//! The contract of a store.

use std::{path::PathBuf, sync::Arc};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{SourceCounts, StoreError, Table};

/// Rows to keep, and the journal position they reach.
#[derive(Debug, Clone)]
pub struct Flush {
    /// Every row of every journal record up to this index is in this flush or an earlier one.
    pub through: u64,
    /// Rows by table, in order of arrival.
    pub tables: Vec<(Table, Vec<RecordBatch>)>,
}

/// A lake as one commit left it. Whoever may read the folder can open it there, in another process too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeAt {
    /// The lake's folder.
    pub folder: PathBuf,
    /// The snapshot of its catalog.
    pub snapshot: i64,
}

/// What is in a store at one moment.
#[derive(Debug, Clone, Default)]
pub struct LakeSnapshot {
    /// Where to read it; none where a store can't be read.
    pub lake: Option<LakeAt>,
    /// Rows ever committed, by source; `None` where the store does not count them.
    pub stored: Option<Arc<SourceCounts>>,
}

/// Keeps rows for good.
#[async_trait]
pub trait Store: Send + Sync {
    /// The journal position that is committed; 0 when nothing is.
    async fn committed(&self) -> Result<u64, StoreError>;

    /// Keeps the rows and the position together, or neither. A flush that reaches no further than [`Store::committed`] is
    /// done already and changes nothing. When this returns, the rows are durable and in every later [`Store::snapshot`].
    async fn commit(&self, flush: &Flush) -> Result<(), StoreError>;

    /// What is committed now.
    async fn snapshot(&self) -> Result<LakeSnapshot, StoreError>;
}
