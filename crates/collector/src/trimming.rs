//! The journal is trimmed behind the store, and behind what stands for the senders.
//!
//! No sender can be in the way of others here: each is locked only while its own state is written, a state of any size goes into records that
//! fit, who did not change keeps the record that stands for it, and who is away for long is forgotten.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lapwing_delivery::trim_through;
use lapwing_service::{clock::now, said::Said, watchdog::Beat};
use lapwing_spool::{Log, SpoolError};
use tokio::sync::watch;

use crate::{
    agents::{Agents, Part},
    ingest::nanos,
    processor::Processor,
};

/// How long a trim that failed waits before it is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// How long one record of a snapshot may take. A journal that is full takes none until it is trimmed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What trims the journal.
#[derive(Debug, Clone)]
pub struct Trimming {
    /// The journal.
    pub journal: Log,
    /// The senders.
    pub agents: Arc<Agents>,
    /// Where records without rows pass.
    pub processor: Processor,
    /// Bytes of a segment: only whole ones can go.
    pub segment: u64,
    /// Bytes that the journal takes.
    pub max_bytes: u64,
    /// For how long a sender that is away is remembered.
    pub keep: Duration,
    /// Lines about trims that failed.
    pub said: Arc<Said<()>>,
}

/// Why the journal was not trimmed.
#[derive(Debug, thiserror::Error)]
enum TrimError {
    #[error(transparent)]
    Journal(#[from] SpoolError),
    #[error("the journal took no snapshot within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("the journal has no room for a snapshot; give [storage] journal_max_bytes more")]
    Full,
}

impl Trimming {
    /// Trims whenever the store has committed more, or when the last try failed.
    pub async fn run(self, mut committed: watch::Receiver<u64>, beat: Beat) {
        committed.mark_changed();
        while committed.changed().await.is_ok() {
            let _working = beat.working();
            while self.journal.stats().bytes >= self.segment {
                let through = *committed.borrow_and_update();
                let Err(error) = self.trim(through, &beat).await else { break };
                if let Some(left_out) = self.said.again(&()) {
                    let seconds = PAUSE.as_secs();
                    tracing::error!("trimming the journal: {error}; trying again in {seconds} s{left_out}");
                }
                beat.beat();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn trim(&self, committed: u64, beat: &Beat) -> Result<(), TrimError> {
        let stats = self.journal.stats();
        // Records of senders in the older half are written anew, so that with each time a half can go at least.
        let fresh = stats.first + committed.saturating_sub(stats.first) / 2;
        // Whoever sends later is in the journal behind this record.
        let mut oldest = stats.next;
        let mut rest = self.agents.list();
        while !rest.is_empty() {
            beat.beat();
            let part = self.agents.part(&mut rest, fresh, &mut oldest, (now(), nanos(self.keep))).await;
            self.write(part).await?;
        }
        self.journal.trim(trim_through(committed, Some(oldest))).await?;
        self.agents.trimmed();
        Ok(())
    }

    async fn write(&self, mut part: Part) -> Result<(), TrimError> {
        let mut first = None;
        for record in std::mem::take(&mut part.records) {
            let index = self.append(record).await?;
            first.get_or_insert(index);
        }
        if let Some(first) = first {
            self.agents.written(part, first);
        }
        Ok(())
    }

    async fn append(&self, record: Bytes) -> Result<u64, TrimError> {
        let full = self.journal.stats().bytes.saturating_add(record.len() as u64);
        if full > self.max_bytes {
            return Err(TrimError::Full);
        }
        let journal = self.journal.clone();
        let processor = self.processor.clone();
        // Once it is asked for, it may become durable at any time: its index passes, whether or not this waits for it.
        let appended = tokio::spawn(async move {
            let index = journal.append(record).await?;
            processor.nothing(index);
            Ok(index)
        });
        match tokio::time::timeout(PATIENCE, appended).await {
            Ok(Ok(appended)) => appended.map_err(TrimError::Journal),
            _ => Err(TrimError::Slow),
        }
    }
}
