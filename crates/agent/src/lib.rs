//! The agent: from the file to the wire.
//!
//! In the order of a line's way: [`collectors`] read, the [`pipeline`] packs what they read into numbered batches, the
//! [`transport`] ships these. [`agent`] wires them up; a [`session`] is one lease of the collector on this agent.
//!
//! - Everything shipped has a position it can be read again from (docs/adr/0001), so a batch that was not acknowledged when the
//!   process ended is read again, and one that was is not.
//! - A full channel stops what feeds it, back to the file. Nothing is dropped that can be read again.
//! - Each event is counted by what became of it ([`counters`]).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

pub mod agent;

pub mod collectors;

pub mod pipeline;

pub mod transport;

pub mod session;

pub mod admin;
pub mod config;
pub mod counters;
pub mod dead_letters;
pub mod health;
pub mod input;
pub mod parts;

mod time_zone;
