//! The collector: from the wire to the answer.
//!
//! In the order of a batch's way: [`access`] says who it comes from, [`gate`] lets it pass with its caller's [`share`], [`ingest`] checks, numbers and journals it, the
//! [`processor`] turns it into rows, the tables of `lapwing_store` show and keep these, [`query`] and [`http`] answer.
//!
//! - A batch is acknowledged when its record is on the journal's disk, and not before.
//! - What an agent has delivered is one number and one position per source ([`agents`]); both are rebuilt from the journal.
//! - The journal is the only hand-over to the store, which remembers in its own transaction up to where it took it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

pub mod collector;
mod opening;
mod serving;

pub mod access;
pub mod gate;

pub mod ingest;

pub mod agents;
pub mod ledger;
pub mod left_out;
pub mod recovery;
pub mod trimming;

pub mod processor;

pub mod query;

pub mod health;
pub mod http;
pub mod local;

pub mod budget;
mod heap;
pub mod share;

pub mod config;
pub mod counters;
