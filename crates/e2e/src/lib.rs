//! lapwing's real binaries under real faults, judged by an oracle that counts every line.
//!
//! A [`Rig`] is a collector and an agent as child processes in a folder of their own. A [`Writer`] appends lines whose
//! whole content follows from an id, so the [`oracle`] needs no copy of what was written to say, line by line, what was
//! lost, doubled, altered or out of order.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

pub mod access_log;
pub mod chaos;
pub mod client;
pub mod hostile;
pub mod http;
pub mod ledger;
pub mod line;
pub mod oracle;
pub mod process;
pub mod proxy;
pub mod random;
pub mod rig;
pub mod tools;
pub mod wait;
pub mod writer;

pub use oracle::Verdict;
pub use rig::{Rig, RigOptions};
pub use writer::Writer;
