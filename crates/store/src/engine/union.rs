//! One table of a view: the store's rows and those in memory.

use std::sync::Arc;

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use async_trait::async_trait;
use datafusion::{
    catalog::{MemTable, Session, TableProvider},
    error::Result,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{ExecutionPlan, union::UnionExec},
};

use crate::{Table, View};

/// Reads both parts; conditions and columns are handed down to the store.
#[derive(Debug)]
pub(super) struct UnionTable {
    schema: SchemaRef,
    memory: MemTable,
    lake: Option<Arc<dyn TableProvider>>,
}

impl UnionTable {
    pub(super) fn new(table: Table, view: &View) -> Result<Self> {
        let batches: Vec<RecordBatch> =
            view.memory.iter().filter(|(of, _)| *of == table).map(|(_, batch)| batch.clone()).collect();
        let memory = MemTable::try_new(table.schema(), vec![batches])?;
        Ok(Self { schema: table.schema(), memory, lake: view.lake.tables.get(&table).cloned() })
    }
}

#[async_trait]
impl TableProvider for UnionTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// The store may skip what can't match; what it does give is checked again.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let memory = self.memory.scan(state, projection, &[], limit).await?;
        let Some(lake) = &self.lake else { return Ok(memory) };
        let lake = lake.scan(state, projection, filters, limit).await?;
        UnionExec::try_new(vec![lake, memory])
    }
}
