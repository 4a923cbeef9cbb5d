//! Queries in a process of their own: whatever a query does, it does it there.
//!
//! The engine's plans are not bounded, it allocates outside of its pool and does not always yield (docs/adr/0009). So the
//! collector starts itself again as a *query process*: with a hard limit of memory, behind everything else in priority,
//! and with no right but to read the lake. It is killed when a query is over its time or nobody waits any more, and what it dies
//! of is an error of that one query.
//!
//! - [`Asker`] is the collector's side. It keeps one process warm, and starts another when one had to be killed.
//! - [`run`] is the process. It reads a question from its standard input, asks back for the columns of the rows in memory that the
//!   plan reads, and writes the answer to its standard output, a batch of bounded size at a time.

mod asker;
mod child;
mod confine;
mod held;
mod wire;
mod worker;

pub use self::{
    asker::{Asker, AskerOptions, Program, Rows, Slot},
    child::{ChildOptions, run},
};
