//! The delivery rules under every fault that a seed can think of. docs/simulator.md tells what is real here and what is a model.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests"
)]

mod bugs;
mod collector;
mod files;
mod host;
mod oracle;
mod random;
mod session;
mod wire;
mod world;

#[cfg(not(feature = "planted-bugs"))]
mod seeds;

#[cfg(feature = "planted-bugs")]
mod planted;
