//! When to try again, and what to say about it.

use std::{
    error::Error,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lapwing::{
    status::{self, Kind},
    v1::IngestResponse,
};
use lapwing_delivery::is_restored;
use lapwing_service::said::Said;
use tonic::Status;
use tower::{BoxError, timeout::error::Elapsed};

use super::Shipment;
use crate::counters::Counters;

/// First pause; it doubles with each further try.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause of our own choice: with it, and a new connection, lines are there again within ten seconds of the end of a fault.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause that a collector may ask for.
const MAX_ASKED: Duration = Duration::from_secs(60);
/// Time between two lines about the same trouble.
const TELL: Duration = Duration::from_secs(30);

/// What HTTP/2 without TLS makes of a TLS alert: its first bytes are read as a frame's length.
const READ_AS_FRAME: &str = "frame with invalid size";

/// Tries again for as long as trying again can help.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    counters: Arc<Counters>,
    target: Arc<str>,
    /// Up to which number batches are acknowledged by now.
    acknowledged: Arc<AtomicU64>,
    /// Up to which number they were when this try began.
    known: u64,
    tries: u32,
    said: Arc<Said<String>>,
}

impl Policy {
    /// All policies of an agent share what was `said`: each shipment under way meets the same trouble.
    pub(super) fn new(
        counters: Arc<Counters>,
        target: &str,
        acknowledged: Arc<AtomicU64>,
        said: Arc<Said<String>>,
    ) -> Self {
        Self { counters, target: target.into(), acknowledged, known: 0, tries: 0, said }
    }

    /// Nothing was said so far.
    pub(super) fn nothing_said() -> Arc<Said<String>> {
        Arc::new(Said::new(TELL))
    }

    /// Notes a failure and waits as long as it asks for.
    pub(super) fn pause(&mut self, status: &Status) -> impl Future<Output = ()> + Send + use<> {
        tokio::time::sleep(self.failed(status))
    }

    /// Notes a failure and gives how long to wait.
    fn failed(&mut self, status: &Status) -> Duration {
        self.counters.retries.add(1);
        let reason = describe(&self.target, status);
        // One lost answer on a busy day is no news.
        if self.tries > 0
            && let Some(left_out) = self.said.again(&reason)
        {
            tracing::warn!("{reason}; trying again{left_out}");
        }
        if self.tries > 0 {
            self.counters.set_trouble(reason);
        }
        let own = jittered((FIRST_PAUSE * 2u32.saturating_pow(self.tries.min(10))).min(MAX_PAUSE));
        self.tries += 1;
        let asked = status::retry_after(status).map(|delay| delay.min(MAX_ASKED) + jittered(FIRST_PAUSE));
        asked.unwrap_or(own)
    }
}

impl tower::retry::Policy<Shipment, IngestResponse, BoxError> for Policy {
    type Future = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn retry(
        &mut self,
        _: &mut Shipment,
        result: &mut Result<IngestResponse, BoxError>,
    ) -> Option<Self::Future> {
        let error = match result {
            Ok(_) => {
                self.counters.set_shipping();
                return None;
            }
            Err(error) => error,
        };
        let late = Status::deadline_exceeded("no answer in time");
        let status = match error.downcast_ref::<Status>() {
            Some(status) => status,
            None if error.is::<Elapsed>() => &late,
            None => return None,
        };
        if status::durable_sequence(status).is_some_and(|durable| is_restored(self.known, durable)) {
            return None;
        }
        may_help(status).then(|| Box::pin(self.pause(status)) as Self::Future)
    }

    fn clone_request(&mut self, shipment: &Shipment) -> Option<Shipment> {
        self.known = self.acknowledged.load(Ordering::Relaxed);
        Some(shipment.clone())
    }
}

/// Whether trying again may help. Only the collector itself refuses for good, but for a message that is too large: what a proxy
/// says in its place says nothing of the batch.
fn may_help(status: &Status) -> bool {
    match Kind::named(status) {
        Some(kind) => kind.retry(),
        None => status.code() != tonic::Code::OutOfRange,
    }
}

/// A time between half of `pause` and all of it, so that many agents don't come back in the same moment.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// What went wrong, down to its cause.
fn describe(target: &str, status: &Status) -> String {
    let mut text = format!("collector {target}: {}", status.message());
    let mut cause = status.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        cause = error.source();
    }
    if text.contains(READ_AS_FRAME) {
        text.push_str("; it answers with TLS: write https:// in [collector] endpoint, and give ca_file");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(acknowledged: Arc<AtomicU64>) -> Policy {
        Policy::new(Arc::default(), "x", acknowledged, Policy::nothing_said())
    }

    #[test]
    fn a_pause_is_jittered_downwards_by_half_at_most() {
        for _ in 0..1000 {
            let pause = jittered(MAX_PAUSE);
            assert!(pause >= MAX_PAUSE / 2 && pause <= MAX_PAUSE);
        }
    }

    #[test]
    fn only_the_collector_itself_refuses_for_good() {
        assert!(may_help(&Status::unimplemented("404 by a proxy")));
        assert!(may_help(&Status::invalid_argument("by a proxy")));
        assert!(!may_help(&Kind::InvalidArgument.status("by the collector")));
        assert!(!may_help(&Status::out_of_range("decoded message length too large")));
        assert!(may_help(&Kind::Corrupted.status("by the collector")));
    }

    #[test]
    fn pauses_double_and_a_delay_that_is_asked_for_is_kept() {
        let mut policy = policy(Arc::default());
        let pauses: Vec<Duration> = (0..12).map(|_| policy.failed(&Status::unavailable("down"))).collect();
        for (tries, pause) in (0..).zip(&pauses) {
            let whole = (FIRST_PAUSE * 2u32.pow(tries)).min(MAX_PAUSE);
            assert!(*pause >= whole / 2 && *pause <= whole, "try {tries}: {pause:?}");
        }
        let asked = Duration::from_secs(20);
        assert!(policy.failed(&Kind::Overloaded.status_after("full", asked)) >= asked);
        let endless = Duration::from_secs(86_400);
        assert!(policy.failed(&Kind::Overloaded.status_after("full", endless)) < MAX_ASKED * 2);
    }

    #[test]
    fn a_collector_that_wants_what_it_acknowledged_is_not_asked_again() {
        use tower::retry::Policy as _;
        let acknowledged = Arc::new(AtomicU64::new(7));
        let mut policy = policy(Arc::clone(&acknowledged));
        let mut shipment = Shipment::of(Arc::default());
        let mut asks_again = |policy: &mut Policy, durable| {
            let status = status::out_of_order("early", durable, Duration::ZERO);
            policy.retry(&mut shipment, &mut Err(Box::new(status))).is_some()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        policy.clone_request(&Shipment::of(Arc::default()));
        assert!(asks_again(&mut policy, 7), "what is missing is under way");
        assert!(!asks_again(&mut policy, 6), "what is missing never comes");
        acknowledged.store(9, Ordering::Relaxed);
        assert!(asks_again(&mut policy, 8), "the acknowledgement overtook the answer");
    }
}
