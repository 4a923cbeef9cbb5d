//! Why a query has no answer, in words for whoever typed it.

use datafusion::error::DataFusionError;
use lapwing::status::Kind;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// Why a query has no answer.
#[derive(Debug, Clone, Error, Serialize, Deserialize)]
pub enum QueryError {
    /// Something that is not a question.
    #[error("only queries are answered (SELECT, WITH, VALUES, SHOW, DESCRIBE, EXPLAIN): {0}")]
    NotAQuery(String),
    /// Wrong SQL, an unknown table or column.
    #[error("{0}")]
    Invalid(String),
    /// It needs more memory than queries have.
    #[error(
        "the query needed more memory than {} MiB: {reason}; narrow it (a shorter time, fewer columns, a LIMIT), \
         or raise [limits] query_memory_bytes",
        .limit >> 20
    )]
    Memory {
        /// The limit in bytes.
        limit: usize,
        /// What was too large.
        reason: String,
    },
    /// It took too long.
    #[error("the query took longer than {} s; narrow it (a shorter time, fewer rows), or raise [limits] query_seconds", .0.as_secs_f64())]
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

    /// What the engine said about `query`, which had `memory` bytes.
    pub(super) fn of(error: &DataFusionError, query: &str, memory: usize) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(reason) => {
                Self::Memory { limit: memory, reason: reason.lines().next().unwrap_or_default().to_owned() }
            }
            DataFusionError::SQL(..)
            | DataFusionError::SchemaError(..)
            | DataFusionError::Plan(_)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Diagnostic(..)
            // A cast or a division that fails is the query's fault, too.
            | DataFusionError::ArrowError(..)
            | DataFusionError::Execution(_) => Self::Invalid(super::hints::explain(error, query)),
            _ => Self::Failed(first_line(error)),
        }
    }
}

pub(super) fn first_line(error: &DataFusionError) -> String {
    // What wraps the cause names the engine's rule, not the query's mistake.
    let text = error.find_root().strip_backtrace();
    text.lines().next().unwrap_or_default().to_owned()
}
