//! What can go wrong with a store.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a store did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("{path}: {action}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The catalog's database refused.
    #[error("lake catalog: {0}")]
    Catalog(#[from] sqlx::Error),
    /// The lake could not be read.
    #[error("lake: {0}")]
    Lake(String),
    /// A Parquet file could not be written.
    #[error("parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Rows could not be brought into columns.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A task ended before its time.
    #[error("a task of the store ended early: {0}")]
    Task(String),
}
