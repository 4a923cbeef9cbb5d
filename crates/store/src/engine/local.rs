//! Queries in this process, for tests and small tools: nothing ends a plan that does not yield.

use std::sync::Arc;

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};

use super::{Engine, QueryError, QueryLimits};
use crate::{Tables, newest::Newest};

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// The row limit cut it.
    pub truncated: bool,
}

/// Answers SQL over tables in this process.
#[derive(Debug)]
pub struct Local {
    engine: Engine,
    newest: Newest,
    limits: QueryLimits,
}

impl Local {
    /// An engine over `tables`.
    ///
    /// # Errors
    /// When the engine's memory can't be set up.
    pub fn new(tables: Arc<Tables>, limits: QueryLimits) -> Result<Self, QueryError> {
        let engine = Engine::new(&std::env::temp_dir(), limits.max_memory as u64)?;
        Ok(Self { engine, newest: Newest::new(tables, None), limits })
    }

    /// Answers one statement with at most `max_rows` rows, and no more than the limit.
    ///
    /// # Errors
    /// When it is not a query, is wrong, or needs more than the limit of memory.
    pub async fn sql(&self, query: &str, max_rows: Option<usize>) -> Result<Answer, QueryError> {
        let max_rows = max_rows.map_or(self.limits.max_rows, |rows| rows.min(self.limits.max_rows));
        let view = self.newest.view();
        let mut prepared =
            self.engine.prepare(query, view.lake.lake.as_ref(), self.limits.max_memory).await?;
        for need in prepared.optimize(max_rows)? {
            let rows = self.newest.rows(&view, &need).await?;
            prepared.hand_over(&need, rows);
        }

        let mut running = prepared.run(max_rows).await?;
        let mut batches = Vec::new();
        while let Some(batch) = running.next().await? {
            batches.push(batch);
        }
        Ok(Answer { schema: Arc::clone(&running.schema), batches, truncated: running.truncated() })
    }
}
