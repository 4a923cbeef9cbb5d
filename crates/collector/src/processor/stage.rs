//! Stages: what happens to the rows of a batch between the journal and the tables.
//!
//! A stage is a function of the batch alone, so that a replay of the journal gives the same rows again. What it may add is part of the room
//! that the batch takes *before* it is decoded, and a batch is never refused for it: one that has no room left stays as it came.

use std::{fmt, sync::Arc};

use lapwing::{
    columns::{Columns, Encoded},
    v1::Resource,
};
use lapwing_store::rows::About;
use thiserror::Error;

use super::recognise::Recognise;
use crate::{budget::Budget, config::ProcessingConfig};

/// One step of what is done to rows.
pub trait Stage: fmt::Debug + Send + Sync {
    /// What it is called in the log.
    fn name(&self) -> &'static str;

    /// Most bytes that it adds to a batch, from now until its rows are in a table.
    fn adds(&self, encoded: &Encoded) -> usize;

    /// Most bytes that it usually adds to a batch of so many rows of which nothing else is known.
    fn adds_usually(&self, rows: usize) -> usize;

    /// Does it, adding at most `room` bytes. The columns change at the very end, so that one that fails or panics leaves them as they were.
    ///
    /// # Errors
    /// When it can't be done; the rows stay as they came.
    fn run(&self, columns: &mut Columns, about: &About, room: usize) -> Result<(), StageError>;
}

/// Why a stage left rows as they came.
#[derive(Debug, Error)]
pub enum StageError {
    /// Columns of one batch have different lengths.
    #[error("a column has {rows} rows, the batch {expected}")]
    Rows {
        /// Those of the column.
        rows: usize,
        /// Those of the batch.
        expected: usize,
    },
}

/// The stages of a collector, in their order.
#[derive(Debug, Clone)]
pub struct Stages(Arc<[Box<dyn Stage>]>);

impl Stages {
    /// Those that are configured.
    pub fn new(config: &ProcessingConfig) -> Self {
        let recognise = config.recognise.then(|| Box::new(Recognise::new(config)) as Box<dyn Stage>);
        Self(recognise.into_iter().collect())
    }

    #[cfg(test)]
    pub(crate) fn of(stages: Vec<Box<dyn Stage>>) -> Self {
        Self(stages.into())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Stage> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Bytes that they may add to a batch, at most what is left of the largest one. It is counted on what is journaled, and not on what a sender
    /// wrote, so that it is the same in a replay.
    pub fn room(&self, encoded: &Encoded, resource: Option<&Resource>) -> usize {
        let attributes = resource.map_or(0, |resource| resource.attributes.len());
        let cost = encoded.cost().with_resource(encoded.rows(), attributes);
        let added = self.iter().fold(0, |sum: usize, stage| sum.saturating_add(stage.adds(encoded)));
        added.min(Budget::LARGEST_BATCH.saturating_sub(cost.bytes))
    }

    /// Bytes that they usually add to a batch of so many rows.
    pub fn usual_room(&self, rows: usize) -> usize {
        self.iter().fold(0, |sum: usize, stage| sum.saturating_add(stage.adds_usually(rows)))
    }

    /// What a batch becomes that takes `bytes` and for which stages have `room`. What they add doesn't make it too large.
    pub fn becomes(bytes: usize, room: usize) -> usize {
        bytes.max(bytes.saturating_add(room).min(Budget::LARGEST_BATCH))
    }
}
