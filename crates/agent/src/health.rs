//! Whether the agent reads and ships.

use std::sync::Arc;

use lapwing_service::{client::Credentials, tls::Standing, watchdog::Watchdog};

use crate::counters::Counters;

/// Knows what stands in the way.
#[derive(Debug, Clone)]
pub struct Health {
    watchdog: Watchdog,
    counters: Arc<Counters>,
    credentials: Credentials,
}

impl Health {
    /// The health of an agent with these parts, counts and credentials.
    pub fn new(watchdog: Watchdog, counters: Arc<Counters>, credentials: Credentials) -> Self {
        Self { watchdog, counters, credentials }
    }

    /// What will stand in the way soon, as a line; empty when nothing will.
    pub fn warning(&self) -> String {
        match self.credentials.standing() {
            Standing::Ending(text) => format!("warning: {text}\n"),
            _ => String::new(),
        }
    }

    fn invalid(&self) -> Option<String> {
        match self.credentials.standing() {
            Standing::Invalid(text) => Some(text),
            _ => None,
        }
    }

    /// Why a start of the process would help; `None` while it would not.
    pub fn stuck(&self) -> Option<String> {
        self.watchdog.fatal()
    }

    /// Why lines are not read or do not go through at the moment; `None` when all is well.
    pub fn trouble(&self) -> Option<String> {
        self.watchdog
            .trouble()
            .or_else(|| self.invalid())
            .or_else(|| self.folders())
            .or_else(|| self.counters.health().err())
    }

    fn folders(&self) -> Option<String> {
        let hung = self.counters.folders_hung.get();
        (hung > 0).then(|| {
            format!("{hung} folders do not answer (a network mount that is gone?); the log names them, all others are read")
        })
    }

    /// All figures in the Prometheus text format.
    pub fn page(&self) -> String {
        let mut page = self.counters.page(self.trouble().is_none(), &self.watchdog);
        self.credentials.seconds_left().into_iter().for_each(|seconds| page.certificate(seconds));
        page.finish()
    }
}
