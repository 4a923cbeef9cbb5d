//! Where lapwing keeps telemetry.
//!
//! - A [`Store`] keeps rows for good. Its commit carries the journal position it reaches, in the same transaction, so that a
//!   replay after a crash can't commit twice.
//! - [`Tables`] hold the newest rows in memory and hand them to the store. A [`View`] of both shows each row exactly once.
//! - The [`Engine`] answers SQL over a view, read-only. It runs in a [`process`] of its own, limited in time, memory and rows.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

pub mod console;
pub mod ducklake;
pub mod engine;
mod error;
pub mod export;
pub mod ledger;
pub mod newest;
pub mod process;
pub mod rows;
pub mod schema;
mod sources;
mod store;
pub mod tables;

pub use self::{
    engine::{Engine, QueryLimits},
    error::StoreError,
    newest::Newest,
    process::Asker,
    schema::Table,
    sources::{OTHERS, SourceCounts},
    store::{Flush, LakeSnapshot, Store},
    tables::{Tables, TablesOptions, View},
};
