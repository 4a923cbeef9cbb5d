//! The rows that only the collector has: those in memory, and the ledger.

use std::{fmt, sync::Arc};

use arrow::record_batch::RecordBatch;

use crate::{
    SourceCounts, Table, Tables, View,
    engine::{Need, QueryError, project},
    ledger::{self, LedgerSource},
};

/// Gives a query the rows that it needs.
#[derive(Clone)]
pub struct Newest {
    tables: Arc<Tables>,
    ledger: Option<Arc<dyn LedgerSource>>,
}

impl fmt::Debug for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newest").finish_non_exhaustive()
    }
}

impl Newest {
    /// The rows of `tables`, and of the ledger where there is one.
    pub fn new(tables: Arc<Tables>, ledger: Option<Arc<dyn LedgerSource>>) -> Self {
        Self { tables, ledger }
    }

    /// The rows of this moment.
    pub fn view(&self) -> View {
        self.tables.view()
    }

    /// The rows of a view that `need` names, with its columns only.
    ///
    /// # Errors
    /// When there is no such table or column.
    pub async fn rows(&self, view: &View, need: &Need) -> Result<Vec<RecordBatch>, QueryError> {
        let failed = |error: &dyn fmt::Display| QueryError::Failed(error.to_string());
        if need.table == ledger::rows::NAME {
            let rows = self.ledger_rows(view).await.map_err(|error| failed(&error))?;
            return Ok(vec![project(&rows, need).map_err(|error| failed(&error))?]);
        }
        let Some(table) = Table::ALL.into_iter().find(|table| table.name() == need.table) else {
            return Err(QueryError::Failed(format!("there are no rows of a table {}", need.table)));
        };
        let rows = view.memory.iter().filter(|(of, _)| *of == table).map(|(_, rows)| project(rows, need));
        rows.collect::<Result<_, _>>().map_err(|error| failed(&error))
    }

    async fn ledger_rows(&self, view: &View) -> Result<RecordBatch, arrow::error::ArrowError> {
        let mut memory = SourceCounts::default();
        view.memory.iter().for_each(|(table, rows)| memory.add(*table, rows));
        // Asked after the view was taken: what is in it was journaled before.
        let ledger = match &self.ledger {
            Some(source) => source.ledger().await,
            None => ledger::Ledger::default(),
        };
        ledger::rows::record_batch(&ledger, view.lake.stored.as_deref(), &memory)
    }
}
