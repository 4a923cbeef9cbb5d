//! What became of the events of each source, from the agent that read them to the store.

pub(crate) mod rows;

use std::collections::BTreeMap;

use async_trait::async_trait;

/// What agents and journal know of one source. Events of clients that keep no numbers are known from the journal on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The agent.
    pub agent: String,
    /// The source, as rows name it.
    pub source: String,
    /// What the agent says, up to its newest batch with this source; `None` for clients that keep no numbers.
    pub told: Option<Told>,
    /// Events that were read and are not in the journal, by cause; and those of batches that could not be turned into rows.
    pub dropped: BTreeMap<String, u64>,
    /// Rows in the journal, ever.
    pub journaled: u64,
    /// Of these, rows of clients that keep no numbers; dead letters that were sent again, too.
    pub unnumbered: u64,
    /// Events that the agent read, did not drop, and that are not in the journal; negative when there are more than it read.
    pub missing: i64,
    /// Epoch and sequence of that batch; of a gap, of the batch that showed it.
    pub number: (u64, u64),
    /// When it came, nanoseconds since the Unix epoch.
    pub time_unix_nano: u64,
}

/// What an agent says of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Events read.
    pub read: u64,
    /// Of these, lines that were cut.
    pub truncated: u64,
    /// Of these, those that went through the agent's spool.
    pub spooled: u64,
    /// Of these, those whose acknowledgement had come.
    pub acknowledged: u64,
}

/// The ledger of one moment.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// One entry per agent and source.
    pub sources: Vec<LedgerEntry>,
    /// The newest gaps: batches with which the counts of agent and journal parted. `told` is empty.
    pub gaps: Vec<LedgerEntry>,
}

/// Knows the ledger up to the journal.
#[async_trait]
pub trait LedgerSource: Send + Sync {
    /// The ledger of this moment.
    async fn ledger(&self) -> Ledger;
}
