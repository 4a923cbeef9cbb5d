//! SQL over memory and store as one table: read-only, limited in time, memory and rows.

mod attribute;
mod ledger;
mod union;

use std::{collections::HashSet, sync::Arc, time::Duration};

use arrow::{array::ArrayData, datatypes::SchemaRef, record_batch::RecordBatch};
use datafusion::{
    error::DataFusionError,
    execution::{
        SessionStateBuilder, SessionStateDefaults,
        context::{SQLOptions, SessionContext},
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    logical_expr::ScalarUDF,
    physical_plan::execute_stream,
    prelude::SessionConfig,
    sql::{
        parser::DFParserBuilder,
        sqlparser::{
            dialect::GenericDialect,
            tokenizer::{Token, Tokenizer},
        },
    },
};
use futures::StreamExt;
use lapwing::status::Kind;
use thiserror::Error;
use tokio::{sync::Semaphore, time::Instant};

use self::{
    attribute::{Attribute, MapSubscript},
    ledger::LedgerTable,
    union::UnionTable,
};
use crate::{Table, Tables, ledger::LedgerSource};

/// What queries may put on the disk together, as a multiple of their memory.
const SPILL_FACTOR: usize = 8;

/// Longest text of a query.
const MAX_QUERY_BYTES: usize = 256 << 10;
/// Most words and operators of a query; literals and commas are not counted, so that long lists of values are taken.
const MAX_QUERY_WORDS: usize = 1000;

/// Bounds on one query, and on all together.
#[derive(Debug, Clone)]
pub struct QueryLimits {
    /// Most rows of an answer; further ones are cut, and the answer says so.
    pub max_rows: usize,
    /// Longest a query may run.
    pub max_time: Duration,
    /// Most memory of all queries together, in bytes.
    pub max_memory: usize,
    /// Queries at a time; more wait.
    pub concurrency: usize,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self { max_rows: 100_000, max_time: Duration::from_secs(30), max_memory: 256 << 20, concurrency: 4 }
    }
}

/// Why a query has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// Something that is not a question.
    #[error("only queries are answered (SELECT, WITH, VALUES, SHOW, DESCRIBE, EXPLAIN): {0}")]
    NotAQuery(String),
    /// Wrong SQL, an unknown table or column.
    #[error("{0}")]
    Invalid(String),
    /// The memory of all queries is used up.
    #[error(
        "the query needs more memory than {limit} bytes: {reason}; narrow it, or raise [limits] query_memory_bytes"
    )]
    Memory {
        /// The limit.
        limit: usize,
        /// What the engine said.
        reason: String,
    },
    /// It took too long.
    #[error("the query ran into the limit of {0:?}; narrow it, or raise [limits] query_seconds")]
    Timeout(Duration),
    /// A fault of the engine or the store.
    #[error("the query failed: {0}")]
    Failed(String),
}

impl QueryError {
    /// Its place in the table of refusals.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotAQuery(_) | Self::Invalid(_) => Kind::InvalidArgument,
            Self::Memory { .. } => Kind::Overloaded,
            Self::Timeout(_) => Kind::Timeout,
            Self::Failed(_) => Kind::Internal,
        }
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// The row limit cut it.
    pub truncated: bool,
}

/// Answers SQL over the tables.
pub struct Engine {
    tables: Arc<Tables>,
    ledger: Option<Arc<dyn LedgerSource>>,
    limits: QueryLimits,
    runtime: Arc<RuntimeEnv>,
    slots: Semaphore,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine over `tables`.
    ///
    /// # Errors
    /// When the engine's memory can't be set up.
    pub fn new(tables: Arc<Tables>, limits: QueryLimits) -> Result<Self, QueryError> {
        let spill = limits.max_memory.saturating_mul(SPILL_FACTOR) as u64;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_limit(limits.max_memory, 1.0)
            .with_max_temp_directory_size(spill)
            .build_arc();
        let runtime = runtime.map_err(|error| QueryError::Failed(error.to_string()))?;
        let slots = Semaphore::new(limits.concurrency);
        Ok(Self { tables, ledger: None, limits, runtime, slots })
    }

    /// Answers questions to the table `ledger`, too.
    #[must_use]
    pub fn with_ledger(self, ledger: Arc<dyn LedgerSource>) -> Self {
        Self { ledger: Some(ledger), ..self }
    }

    /// Answers one statement with at most `max_rows` rows, and no more than the limit. The work ends when the future is dropped.
    ///
    /// # Errors
    /// When it is not a query, is wrong, or runs into a limit.
    pub async fn sql(&self, query: &str, max_rows: Option<usize>) -> Result<Answer, QueryError> {
        let max_rows = max_rows.map_or(self.limits.max_rows, |rows| rows.min(self.limits.max_rows));
        let deadline = Instant::now() + self.limits.max_time;
        let answer = async {
            let _slot = self.slots.acquire().await;
            self.answer(query, max_rows).await
        };
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(QueryError::Timeout(self.limits.max_time)),
        }
    }

    async fn answer(&self, query: &str, max_rows: usize) -> Result<Answer, QueryError> {
        check_size(query)?;
        let context = self.context()?;
        let state = context.state();
        let mut statements = DFParserBuilder::new(query)
            .build()
            .and_then(|mut parser| parser.parse_statements())
            .map_err(|error| self.error(error))?;
        let statement = match (statements.pop_front(), statements.len()) {
            (Some(statement), 0) => statement,
            (None, _) => return Err(QueryError::Invalid("the statement is empty".to_owned())),
            (Some(_), more) => {
                return Err(QueryError::NotAQuery(format!(
                    "one statement at a time, {} were given",
                    more + 1
                )));
            }
        };
        let plan = state.statement_to_plan(statement).await.map_err(|error| self.error(error))?;
        let allowed =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        allowed.verify_plan(&plan).map_err(|error| QueryError::NotAQuery(first_line(&error)))?;
        let plan = state.create_physical_plan(&plan).await.map_err(|error| self.error(error))?;
        let schema = plan.schema();
        let mut stream = execute_stream(plan, context.task_ctx()).map_err(|error| self.error(error))?;
        let (mut batches, mut rows, mut held) = (Vec::new(), 0, Held::default());
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| self.error(error))?;
            let room = max_rows - rows;
            if batch.num_rows() > room {
                batches.push(batch.slice(0, room));
                return Ok(Answer { schema, batches, truncated: true });
            }
            rows += batch.num_rows();
            // The engine counts what it works on, not what it handed over.
            if held.add(&batch) > self.limits.max_memory {
                let reason = format!("its first {rows} rows are that large");
                return Err(QueryError::Memory { limit: self.limits.max_memory, reason });
            }
            batches.push(batch);
        }
        Ok(Answer { schema, batches, truncated: false })
    }

    /// A session that sees one view, and nothing else: no files, no URLs.
    fn context(&self) -> Result<SessionContext, QueryError> {
        let config = SessionConfig::new().with_information_schema(true).with_target_partitions(2);
        let mut planners = SessionStateDefaults::default_expr_planners();
        planners.insert(0, Arc::new(MapSubscript));
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_default_features()
            .with_expr_planners(planners)
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_udf(ScalarUDF::from(Attribute::default()));
        let view = self.tables.view();
        for table in Table::ALL {
            let provider = UnionTable::new(table, &view).map_err(|error| self.error(error))?;
            context.register_table(table.name(), Arc::new(provider)).map_err(|error| self.error(error))?;
        }
        if let Some(source) = &self.ledger {
            let table = LedgerTable::new(Arc::clone(source), Arc::clone(&self.tables));
            context.register_table(ledger::NAME, Arc::new(table)).map_err(|error| self.error(error))?;
        }
        Ok(context)
    }

    fn error(&self, error: DataFusionError) -> QueryError {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(reason) => {
                QueryError::Memory { limit: self.limits.max_memory, reason: reason.clone() }
            }
            DataFusionError::SQL(..)
            | DataFusionError::SchemaError(..)
            | DataFusionError::Plan(_)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Diagnostic(..) => QueryError::Invalid(first_line(&error)),
            // A cast or a division that fails is the query's fault, too.
            DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
                QueryError::Invalid(first_line(&error))
            }
            _ => QueryError::Failed(first_line(&error)),
        }
    }
}

/// The planner recurses over long chains of operators: enough of them would overflow the stack and end the process.
fn check_size(query: &str) -> Result<(), QueryError> {
    if query.len() > MAX_QUERY_BYTES {
        let (actual, limit) = (query.len(), MAX_QUERY_BYTES);
        return Err(QueryError::Invalid(format!(
            "the query is {actual} bytes long, at most {limit} are taken"
        )));
    }
    // What can't be read as tokens, the parser explains better.
    let tokens = Tokenizer::new(&GenericDialect {}, query).tokenize().unwrap_or_default();
    let flat = |token: &&Token| {
        matches!(
            token,
            Token::Whitespace(_) | Token::Comma | Token::Number(..) | Token::SingleQuotedString(_)
        )
    };
    let actual = tokens.iter().filter(|token| !flat(token)).count();
    if actual > MAX_QUERY_WORDS {
        let reason =
            format!("the query has {actual} words and operators, at most {MAX_QUERY_WORDS} are taken");
        return Err(QueryError::Invalid(reason));
    }
    Ok(())
}

/// Memory of an answer; batches may share it.
#[derive(Debug, Default)]
struct Held {
    seen: HashSet<usize>,
    bytes: usize,
}

impl Held {
    /// Adds a batch and gives the sum.
    fn add(&mut self, batch: &RecordBatch) -> usize {
        batch.columns().iter().for_each(|column| self.add_data(&column.to_data()));
        self.bytes
    }

    fn add_data(&mut self, data: &ArrayData) {
        for buffer in data.buffers() {
            if self.seen.insert(buffer.as_ptr() as usize) {
                self.bytes += buffer.len();
            }
        }
        data.child_data().iter().for_each(|child| self.add_data(child));
    }
}

fn first_line(error: &DataFusionError) -> String {
    // What wraps the cause names the engine's rule, not the query's mistake.
    let text = error.find_root().strip_backtrace();
    text.lines().next().unwrap_or_default().to_owned()
}
