//! SQL over memory and lake as one table, read-only.
//!
//! The engine plans without bounds, allocates outside of its own pool and does not always yield. So it runs in a process of its
//! own ([`crate::process`]) that can be ended at any moment; what is here bounds only what can be bounded cheaply.

mod attribute;
mod compact;
mod error;
mod hints;
mod local;
mod own_rows;
mod severity;
mod split;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use datafusion::{
    common::tree_node::TreeNode,
    error::DataFusionError,
    execution::{
        SendableRecordBatchStream, SessionStateBuilder, SessionStateDefaults,
        context::{SQLOptions, SessionContext},
        memory_pool::GreedyMemoryPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    logical_expr::{LogicalPlan, LogicalPlanBuilder, ScalarUDF},
    physical_plan::{ExecutionPlan, execute_stream},
    prelude::SessionConfig,
    sql::{
        parser::{DFParserBuilder, Statement},
        sqlparser::{
            dialect::GenericDialect,
            tokenizer::{Token, Tokenizer},
        },
    },
};
use futures::StreamExt;
use tokio::sync::Mutex;

use self::{
    attribute::{Attribute, MapSubscript},
    severity::SeverityWords,
    split::SplitTable,
};
pub(crate) use self::{
    compact::{bytes, compact},
    split::project,
};
pub use self::{
    error::QueryError,
    local::{Answer, Local},
    split::Need,
};
use crate::{Table, ducklake::LakeReader, ledger, store::LakeAt};

/// Most bytes of Parquet footers that are kept for later queries.
const METADATA_CACHE: usize = 8 << 20;

/// Longest text of a query.
pub(crate) const MAX_QUERY_BYTES: usize = 256 << 10;
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

/// Plans and runs queries.
pub struct Engine {
    runtime: Arc<RuntimeEnv>,
    /// The lake that was read last.
    lake: Mutex<Option<(PathBuf, Arc<LakeReader>)>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that puts what its memory can't hold below `spill`, `spill_bytes` at most.
    ///
    /// # Errors
    /// When the engine's memory can't be set up.
    pub fn new(spill: &Path, spill_bytes: u64) -> Result<Self, QueryError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_temp_file_path(spill)
            .with_max_temp_directory_size(spill_bytes)
            .with_metadata_cache_limit(METADATA_CACHE)
            .build_arc()
            .map_err(|error| QueryError::Failed(error.to_string()))?;
        Ok(Self { runtime, lake: Mutex::new(None) })
    }

    /// Plans one statement over the rows of `lake` and those that are handed over to [`Prepared::run`].
    ///
    /// # Errors
    /// When it is not a query, or is wrong.
    pub async fn prepare(
        &self,
        query: &str,
        lake: Option<&LakeAt>,
        memory: usize,
    ) -> Result<Prepared, QueryError> {
        check_size(query)?;
        let statement = parse(query)?;
        let tables = self.tables(lake).await?;
        let context = self.context(&tables, memory)?;
        let refused = |error: DataFusionError| QueryError::of(&error, query, memory);

        let state = context.state();
        let plan = state.statement_to_plan(statement).await.map_err(refused)?;
        let allowed =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        allowed.verify_plan(&plan).map_err(|error| QueryError::NotAQuery(error::first_line(&error)))?;

        Ok(Prepared { query: query.to_owned(), context, plan, tables, memory })
    }

    async fn tables(&self, lake: Option<&LakeAt>) -> Result<Vec<(String, Arc<SplitTable>)>, QueryError> {
        let mut stored = match lake {
            Some(at) => {
                let reader = self.reader(&at.folder).await?;
                reader.tables(at.snapshot).await.map_err(|error| QueryError::Failed(error.to_string()))?
            }
            None => std::collections::HashMap::new(),
        };
        let mut tables = Vec::new();
        for table in Table::ALL {
            let split = SplitTable::new(table.schema(), stored.remove(&table));
            tables.push((table.name().to_owned(), Arc::new(split)));
        }
        let ledger = SplitTable::new(ledger::rows::schema(), None);
        tables.push((ledger::rows::NAME.to_owned(), Arc::new(ledger)));
        Ok(tables)
    }

    async fn reader(&self, folder: &Path) -> Result<Arc<LakeReader>, QueryError> {
        let mut lake = self.lake.lock().await;
        if let Some((_, reader)) = lake.as_ref().filter(|(of, _)| of == folder) {
            return Ok(Arc::clone(reader));
        }
        let reader = LakeReader::open(folder).await;
        let reader = Arc::new(reader.map_err(|error| QueryError::Failed(error.to_string()))?);
        *lake = Some((folder.to_owned(), Arc::clone(&reader)));
        Ok(reader)
    }

    /// A session that sees these tables, and nothing else: no files, no URLs.
    fn context(
        &self,
        tables: &[(String, Arc<SplitTable>)],
        memory: usize,
    ) -> Result<SessionContext, QueryError> {
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_target_partitions(2)
            .with_sort_spill_reservation_bytes(memory / 16);
        let mut planners = SessionStateDefaults::default_expr_planners();
        planners.insert(0, Arc::new(MapSubscript));
        planners.insert(0, Arc::new(SeverityWords));
        // What is cached of files stays; the memory is this query's alone.
        let pool = Arc::new(GreedyMemoryPool::new(memory));
        let runtime = RuntimeEnv { memory_pool: pool, ..RuntimeEnv::clone(&self.runtime) };
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::new(runtime))
            .with_default_features()
            .with_expr_planners(planners)
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_udf(ScalarUDF::from(Attribute::default()));
        for (name, table) in tables {
            context
                .register_table(name, Arc::clone(table) as _)
                .map_err(|error| QueryError::Failed(error.to_string()))?;
        }
        Ok(context)
    }
}

/// A statement that is a query.
pub struct Prepared {
    query: String,
    context: SessionContext,
    plan: LogicalPlan,
    tables: Vec<(String, Arc<SplitTable>)>,
    memory: usize,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("query", &self.query).finish_non_exhaustive()
    }
}

impl Prepared {
    /// Decides how the answer is found, and what that takes of the rows in memory. No more than `max_rows` rows are found, and
    /// one more that shows whether there are others.
    ///
    /// # Errors
    /// When the query is wrong.
    pub fn optimize(&mut self, max_rows: usize) -> Result<Vec<Need>, QueryError> {
        let explains = matches!(
            self.plan,
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)
        );
        let optimized = if explains {
            self.context.state().optimize(&self.plan)
        } else {
            LogicalPlanBuilder::from(self.plan.clone())
                .limit(0, Some(max_rows.saturating_add(1)))
                .and_then(LogicalPlanBuilder::build)
                .and_then(|plan| self.context.state().optimize(&plan))
        };
        self.plan = optimized.map_err(|error| self.error(&error))?;
        split::needs(&self.plan, &self.tables).map_err(|error| self.error(&error))
    }

    /// Sets the rows in memory of one need.
    pub fn hand_over(&self, need: &Need, batches: Vec<RecordBatch>) {
        let table = self.tables.iter().find(|(name, _)| *name == need.table);
        if let Some((_, table)) = table {
            table.hand_over(need, batches);
        }
    }

    /// Begins to run it.
    ///
    /// # Errors
    /// When it is wrong, or too much for the memory.
    pub async fn run(self, max_rows: usize) -> Result<Running, QueryError> {
        let state = self.context.state();
        let plan = state.query_planner().create_physical_plan(&self.plan, &state).await;
        let plan = plan.and_then(own_rows::before_sorts).map_err(|error| self.error(&error))?;
        let schema = plan.schema();
        let gathers = gathers(&plan);
        let stream = execute_stream(plan, self.context.task_ctx()).map_err(|error| self.error(&error))?;
        Ok(Running {
            schema,
            gathers,
            stream,
            room: max_rows,
            truncated: false,
            query: self.query,
            memory: self.memory,
        })
    }

    fn error(&self, error: &DataFusionError) -> QueryError {
        QueryError::of(error, &self.query, self.memory)
    }
}

/// A query that runs.
pub struct Running {
    /// The columns of the answer.
    pub schema: SchemaRef,
    /// It keeps rows before it gives some out, so that it may lack memory at any of them.
    pub gathers: bool,
    stream: SendableRecordBatchStream,
    room: usize,
    truncated: bool,
    query: String,
    memory: usize,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("query", &self.query).finish_non_exhaustive()
    }
}

impl Running {
    /// The next rows; `None` when there are no more, or the row limit is reached.
    ///
    /// # Errors
    /// When the query fails, or runs into a limit.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        if self.truncated {
            return Ok(None);
        }
        let Some(batch) = self.stream.next().await else { return Ok(None) };
        let batch = batch.map_err(|error| QueryError::of(&error, &self.query, self.memory))?;
        if batch.num_rows() > self.room {
            self.truncated = true;
            return Ok(Some(batch.slice(0, self.room)));
        }
        self.room -= batch.num_rows();
        Ok(Some(batch))
    }

    /// The row limit cut the answer.
    pub fn truncated(&self) -> bool {
        self.truncated
    }
}

/// What a plan is made of that gives rows out as it takes them in.
const PASSING: [&str; 16] = [
    "CoalesceBatchesExec",
    "CoalescePartitionsExec",
    "CooperativeExec",
    "DataSourceExec",
    "DeleteFilterExec",
    "EmptyExec",
    "FilterExec",
    "GlobalLimitExec",
    "LazyDeleteFilterExec",
    "LazyMemoryExec",
    "LocalLimitExec",
    "NanPruningBarrierExec",
    "PlaceholderRowExec",
    "ProjectionExec",
    "SnapshotFilterExec",
    "UnionExec",
];

/// Whether a part of a plan keeps rows.
fn gathers(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.exists(|node| Ok(!PASSING.contains(&node.name()))).unwrap_or(true)
}

fn parse(query: &str) -> Result<Statement, QueryError> {
    let statements = DFParserBuilder::new(query).build().and_then(|mut parser| parser.parse_statements());
    let mut statements = statements.map_err(|error| QueryError::of(&error, query, 0))?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        (None, _) => Err(QueryError::Invalid("the statement is empty".to_owned())),
        (Some(_), more) => {
            Err(QueryError::NotAQuery(format!("one statement at a time, {} were given", more + 1)))
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
