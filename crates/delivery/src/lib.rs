//! Every line once: the rules of both sides, without I/O.
//!
//! - **The agent's side.** A batch is immutable once it is numbered ([`Sender`]). What an acknowledgement or a refusal leads to is
//!   decided in one place. [`Held`] counts what is missing of what can't be read again.
//! - **The collector's side.** An [`Agent`] is what was delivered: a batch is admitted in sequence and once, and moves the state only
//!   when its journal record is durable. The state is rebuilt from the journal's records ([`journal`]), in their order.
//! - **The books** ([`accounts`]): what was read of each source is dropped or journaled, with every batch.
//!
//! Nothing here waits, reads a clock or touches a disk; the programs do. docs/simulator.md says how the rules are judged.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod held;
mod sender;

mod admission;
mod bounds;
mod keys;
mod numbers;
mod positions;
mod retention;

pub mod accounts;
pub mod journal;
pub mod planted;

pub use self::{
    admission::{Admission, Agent, Run, WINDOW, check_held},
    bounds::{MAX_BATCH_POSITIONS, MAX_NAME_BYTES, check_bounds, check_id},
    held::{CRASHED, DAMAGED, FULL, Held, RESTORED, SPOOL, next_record},
    numbers::check_numbers,
    retention::{Snapshots, replay_from, trim_through},
    sender::{Outcome, Sender, is_restored, packed},
};
