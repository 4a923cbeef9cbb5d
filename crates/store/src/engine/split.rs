//! One table of a view: the rows that the collector holds in memory and those of the lake.
//!
//! The rows in memory are in another process while a query is planned. Only the columns that the plan reads are handed over,
//! before the plan becomes an execution.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use arrow::{
    datatypes::{Schema, SchemaRef},
    record_batch::RecordBatch,
};
use async_trait::async_trait;
use datafusion::{
    catalog::{MemTable, Session, TableProvider},
    common::{exec_datafusion_err, internal_datafusion_err, tree_node::TreeNodeRecursion},
    error::Result,
    logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType},
    physical_plan::{ExecutionPlan, union::UnionExec},
};
use serde::{Deserialize, Serialize};

/// Columns of a table in memory that a plan reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The table.
    pub table: String,
    /// Places of the columns in the table's schema, in ascending order.
    pub columns: Vec<usize>,
}

/// What was handed over for a need.
#[derive(Debug)]
struct Handed {
    columns: Vec<usize>,
    batches: Vec<RecordBatch>,
}

/// Reads both parts; conditions and columns are handed down to the lake.
#[derive(Debug)]
pub(super) struct SplitTable {
    schema: SchemaRef,
    memory: OnceLock<Handed>,
    lake: Option<Arc<dyn TableProvider>>,
}

impl SplitTable {
    pub(super) fn new(schema: SchemaRef, lake: Option<Arc<dyn TableProvider>>) -> Self {
        Self { schema, memory: OnceLock::new(), lake }
    }

    /// Sets the rows in memory, which have the columns that `need` names.
    pub(super) fn hand_over(&self, need: &Need, batches: Vec<RecordBatch>) {
        let _ = self.memory.set(Handed { columns: need.columns.clone(), batches });
    }

    async fn scan_memory(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // An explanation may plan what no query would read.
        let nothing = Handed { columns: (0..self.schema.fields().len()).collect(), batches: Vec::new() };
        let handed = self.memory.get().unwrap_or(&nothing);
        let place = |column: &usize| {
            let place = handed.columns.binary_search(column);
            place.map_err(|_| internal_datafusion_err!("column {column} was not handed over"))
        };
        let all = (0..self.schema.fields().len()).collect();
        let places = projection.unwrap_or(&all).iter().map(place).collect::<Result<Vec<_>>>()?;

        let fields = handed.columns.iter().map(|column| Arc::clone(&self.schema.fields()[*column]));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let table = MemTable::try_new(schema, vec![handed.batches.clone()])?;
        table.scan(state, Some(&places), &[], limit).await
    }
}

#[async_trait]
impl TableProvider for SplitTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// The lake may skip what can't match; what it does give is checked again.
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
        let memory = self.scan_memory(state, projection, limit).await?;
        let Some(lake) = &self.lake else { return Ok(memory) };
        let lake = lake.scan(state, projection, filters, limit).await?;
        UnionExec::try_new(vec![lake, memory])
    }
}

/// What an optimized plan reads of `tables`.
pub(super) fn needs(plan: &LogicalPlan, tables: &[(String, Arc<SplitTable>)]) -> Result<Vec<Need>> {
    let mut needed: Vec<Option<BTreeSet<usize>>> = vec![None; tables.len()];
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(TreeNodeRecursion::Continue) };
        let Some(at) = tables.iter().position(|(name, _)| name == scan.table_name.table()) else {
            return Ok(TreeNodeRecursion::Continue);
        };
        let all = 0..tables[at].1.schema.fields().len();
        let columns = needed[at].get_or_insert_default();
        match &scan.projection {
            Some(projection) => columns.extend(projection),
            None => columns.extend(all),
        }
        Ok(TreeNodeRecursion::Continue)
    })?;

    let named = tables.iter().zip(needed);
    let need = |((name, _), columns): (&(String, _), Option<BTreeSet<usize>>)| {
        Some(Need { table: name.clone(), columns: columns?.into_iter().collect() })
    };
    Ok(named.filter_map(need).collect())
}

/// The columns of a need.
pub(crate) fn project(batch: &RecordBatch, need: &Need) -> Result<RecordBatch> {
    batch.project(&need.columns).map_err(|error| exec_datafusion_err!("{}: {error}", need.table))
}
