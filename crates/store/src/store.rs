//! The contract of a store.

use std::{collections::HashMap, sync::Arc};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;

use crate::{SourceCounts, StoreError, Table};

/// Rows to keep, and the journal position they reach.
#[derive(Debug, Clone)]
pub struct Flush {
    /// Every row of every journal record up to this index is in this flush or an earlier one.
    pub through: u64,
    /// Rows by table, in order of arrival.
    pub tables: Vec<(Table, Vec<RecordBatch>)>,
}

/// What is in a store at one moment.
#[derive(Debug, Clone, Default)]
pub struct LakeSnapshot {
    /// Tables to read; none where a store can't be read.
    pub tables: HashMap<Table, Arc<dyn TableProvider>>,
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
