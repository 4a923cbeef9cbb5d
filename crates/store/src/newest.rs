//! The rows that only the collector has: those in memory, and the ledger.

use std::{fmt, sync::Arc};

use arrow::{
    compute::concat_batches,
    datatypes::Schema,
    error::ArrowError,
    record_batch::{RecordBatch, RecordBatchOptions},
};

use crate::{
    SourceCounts, Table, Tables, View,
    engine::{Need, QueryError, bytes, project},
    ledger::{self, LedgerSource},
};

/// Small batches are joined to such of about so many rows, or bytes.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 1 << 20;

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
        let rows = view.memory.iter().filter(|(of, _)| *of == table).map(|(_, rows)| rows);
        if need.columns.is_empty() {
            let rows = rows.map(RecordBatch::num_rows).sum();
            return Ok(vec![without_columns(rows).map_err(|error| failed(&error))?]);
        }
        let rows = rows.map(|rows| project(rows, need)).collect::<Result<Vec<_>, _>>();
        joined(&rows.map_err(|error| failed(&error))?).map_err(|error| failed(&error))
    }

    async fn ledger_rows(&self, view: &View) -> Result<RecordBatch, ArrowError> {
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

/// Rows of which only their number is asked for.
fn without_columns(rows: usize) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
}

/// The same rows in fewer batches. Agents send a few at a time; each batch that is handed over wakes three threads, which took longer than
/// most queries.
fn joined(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut all = Vec::new();
    let mut first = 0;
    let (mut rows, mut size) = (0, 0);
    for (place, batch) in batches.iter().enumerate() {
        rows += batch.num_rows();
        size += bytes(batch);
        let is_last = place + 1 == batches.len();
        if is_last || rows >= BATCH_ROWS || size >= BATCH_BYTES {
            all.push(join(&batches[first..=place])?);
            (first, rows, size) = (place + 1, 0, 0);
        }
    }
    Ok(all)
}

fn join(batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    match batches {
        [one] => Ok(one.clone()),
        many => concat_batches(&many[0].schema(), many),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn batch(from: i64, rows: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
        RecordBatch::try_from_iter([("number", numbers)]).unwrap()
    }

    fn sizes(batches: &[RecordBatch]) -> Vec<usize> {
        batches.iter().map(RecordBatch::num_rows).collect()
    }

    #[test]
    fn many_small_batches_become_few_with_the_same_rows_in_their_order() {
        let small: Vec<_> = (0..1_000).map(|n| batch(n * 10, 10)).collect();
        let large = joined(&small).unwrap();
        assert_eq!(sizes(&large), [8_200, 1_800]);
        assert_eq!(join(&large).unwrap(), batch(0, 10_000));
    }

    #[test]
    fn large_batches_stay_and_none_is_none() {
        let large = [batch(0, 50_000), batch(50_000, 1), batch(50_001, 60_000)];
        assert_eq!(sizes(&joined(&large).unwrap()), [50_000, 60_001]);
        assert!(joined(&[]).unwrap().is_empty());
    }
}
