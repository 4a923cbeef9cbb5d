//! The signals that ask `lapwing up` to end.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// SIGINT (Ctrl-C), SIGTERM, and SIGHUP (the terminal was closed).
pub(super) struct Signals([Signal; 3]);

impl Signals {
    /// From now on these signals do nothing by themselves.
    pub(super) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).context("listen to signals");
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
    }
}
