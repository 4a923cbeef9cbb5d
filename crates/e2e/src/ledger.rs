//! Whether the books close: what was read of each source is dropped or journaled, and what is journaled is stored or in memory.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{http, wait};

/// How long rows may be on their way from the journal to the tables.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// One source of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Books {
    /// The agent.
    pub agent: String,
    /// The source.
    pub source: String,
    /// Events read.
    pub read: u64,
    /// Lines cut.
    pub truncated: u64,
    /// Events dropped, for whatever cause.
    pub dropped: u64,
    /// Events of which the agent knows that they are durable.
    pub acknowledged: u64,
    /// Rows in the journal.
    pub journaled: u64,
    /// Of these, rows of clients that keep no numbers.
    pub unnumbered: u64,
    /// Rows in the store.
    pub stored: u64,
    /// Rows in memory.
    pub in_memory: u64,
}

/// The books of all agents that keep numbers, once everything journaled is in the tables.
///
/// # Errors
/// When they do not close, or show a gap.
pub fn close(address: &str) -> Result<Vec<Books>> {
    let gaps =
        http::rows(address, "SELECT agent, source, missing, epoch, sequence FROM ledger WHERE kind = 'gap'")?;
    ensure!(gaps.is_empty(), "gaps: {gaps:?}");
    wait::until("everything journaled is in the tables", PATIENCE, || {
        let open = "SELECT * FROM ledger WHERE kind = 'source' AND journaled != stored + in_memory";
        let open = http::rows(address, open)?;
        if open.is_empty() { Ok(Some(())) } else { anyhow::bail!("{open:?}") }
    })?;
    let rows = http::rows(address, "SELECT * FROM ledger WHERE kind = 'source' AND read IS NOT NULL")?;
    let books = rows.iter().map(read).collect::<Result<Vec<Books>>>()?;
    for books in &books {
        ensure!(
            books.read + books.unnumbered == books.dropped + books.journaled,
            "read = dropped + journaled does not hold: {books:?}"
        );
        ensure!(books.acknowledged <= books.journaled, "acknowledged and not journaled: {books:?}");
    }
    Ok(books)
}

fn read(row: &Value) -> Result<Books> {
    let count = |name: &str| row[name].as_u64().with_context(|| format!("{name} of {row}"));
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    Ok(Books {
        agent: text("agent"),
        source: text("source"),
        read: count("read")?,
        truncated: count("truncated")?,
        dropped: count("dropped")?,
        acknowledged: count("acknowledged")?,
        journaled: count("journaled")?,
        unnumbered: count("unnumbered")?,
        stored: count("stored")?,
        in_memory: count("in_memory")?,
    })
}
