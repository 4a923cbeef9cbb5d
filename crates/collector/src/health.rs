//! Whether the collector can take and keep what comes.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use lapwing_service::{
    metrics::Page,
    renewed::Renewed,
    tls::{ServerSide, Standing},
    watchdog::{Beat, Watchdog},
};
use lapwing_spool::Log;
use lapwing_store::Tables;
use tonic::server::NamedService;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{counters::Counters, processor::Processor};

/// A disk that takes longer for one group of the journal hangs.
const HANGS: Duration = Duration::from_secs(3);
/// A journaled record that takes longer to become rows is stuck.
const STALLS: Duration = Duration::from_secs(10);
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Knows what stands in the way.
#[derive(Debug, Clone)]
pub struct Health {
    /// The journal.
    pub journal: Log,
    /// The tables.
    pub tables: Arc<Tables>,
    /// The certificate.
    pub tls: Option<Arc<Renewed<ServerSide>>>,
    /// Knows the threads and tasks.
    pub watchdog: Watchdog,
    /// Where journaled records become rows.
    pub processor: Processor,
    /// The collector's counts.
    pub counters: Arc<Counters>,
}

impl Health {
    /// What will stand in the way before long; `None` when nothing is known of.
    pub fn warning(&self) -> Option<String> {
        if let Some(error) = self.tls.as_ref().and_then(|tls| tls.trouble()) {
            return Some(format!("the TLS files changed and can't be used: {error}"));
        }
        if let Standing::Ending(text) = self.certificate() {
            return Some(text);
        }
        let aside = self.counters.records_set_aside.get();
        let text =
            || format!("{aside} journal records could not be read; they are in DATA_DIR/journal-aside");
        (aside > 0).then(text)
    }

    /// Seconds until the end of the own certificate.
    pub fn certificate_seconds(&self) -> Option<f64> {
        Some(self.tls.as_ref()?.current().validity.seconds_left(SystemTime::now()))
    }

    fn certificate(&self) -> Standing {
        let tls = self.tls.as_ref();
        tls.map_or(Standing::Good, |tls| tls.current().validity.at(SystemTime::now()))
    }

    /// Why a start of the process would help; `None` while it would not.
    pub fn stuck(&self) -> Option<String> {
        self.watchdog.fatal()
    }

    /// Adds the figures of threads and tasks to a page.
    pub fn write(&self, page: &mut Page) {
        self.watchdog.write(page, "lapwing_collector");
    }

    /// Why nothing can be taken or kept at the moment; `None` when all is well.
    pub fn trouble(&self) -> Option<String> {
        self.disk()
            .or_else(|| self.invalid())
            .or_else(|| self.stalled())
            .or_else(|| self.watchdog.trouble())
            .or_else(|| self.refused())
    }

    fn disk(&self) -> Option<String> {
        let stalled = self.journal.stalled();
        let seconds = stalled.as_secs();
        let text = || format!("the journal's disk hangs: no answer to a write or fsync for {seconds} s");
        (stalled >= HANGS).then(text)
    }

    fn invalid(&self) -> Option<String> {
        match self.certificate() {
            Standing::Invalid(text) => Some(text),
            _ => None,
        }
    }

    fn stalled(&self) -> Option<String> {
        let (next, waiting) = self.processor.stalled();
        let seconds = waiting.as_secs();
        let text = || {
            format!(
                "journal record {next} does not become rows: those behind it have been waiting for {seconds} s"
            )
        };
        (waiting >= STALLS).then(text)
    }

    fn refused(&self) -> Option<String> {
        let error = self.tables.stats().flush_error?;
        Some(format!("the store refuses flushes: {error}"))
    }

    /// Tells it to those who ask gRPC's health service for the whole collector or for the service `S`.
    pub async fn report<S: NamedService>(self, reporter: HealthReporter, beat: Beat) {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            let _working = beat.working();
            let status = match self.trouble() {
                None => ServingStatus::Serving,
                Some(_) => ServingStatus::NotServing,
            };
            for service in ["", S::NAME] {
                reporter.set_service_status(service, status).await;
            }
        }
    }
}
