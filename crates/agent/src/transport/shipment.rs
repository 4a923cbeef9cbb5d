//! What travels in one call.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use lapwing::v1::{Batch, IngestRequest, Origin};
use tokio::sync::watch;

/// Batches on their way, in the order of their numbers. One that is open takes more, and its answer comes after it was closed.
/// Clones are the same shipment, and each try sends the same bytes.
#[derive(Debug, Clone)]
pub struct Shipment {
    load: Arc<watch::Sender<Load>>,
}

#[derive(Debug)]
struct Load {
    batches: Vec<Arc<Batch>>,
    is_open: bool,
    /// Asked in place of batches: whether all up to there are held.
    question: Option<Origin>,
}

impl Shipment {
    /// A closed shipment of one batch.
    pub fn of(batch: Arc<Batch>) -> Self {
        Self::new(batch, false)
    }

    /// A shipment that takes more.
    pub fn open(batch: Arc<Batch>) -> Self {
        Self::new(batch, true)
    }

    fn new(batch: Arc<Batch>, is_open: bool) -> Self {
        Self::loaded(Load { batches: vec![batch], is_open, question: None })
    }

    /// A closed shipment without a batch, which asks whether the collector holds what it `acknowledged`.
    pub fn question(acknowledged: Origin) -> Self {
        Self::loaded(Load { batches: Vec::new(), is_open: false, question: Some(acknowledged) })
    }

    fn loaded(load: Load) -> Self {
        Self { load: Arc::new(watch::Sender::new(load)) }
    }

    /// Adds a batch, which leaves at once.
    pub fn add(&self, batch: Arc<Batch>) {
        self.load.send_modify(|load| load.batches.push(batch));
    }

    /// Ends the shipment; without it no answer comes.
    pub fn close(&self) {
        self.load.send_modify(|load| load.is_open = false);
    }

    /// What is in it.
    pub fn batches(&self) -> Vec<Arc<Batch>> {
        self.load.borrow().batches.clone()
    }

    /// Whether both are the same shipment.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.load, &other.load)
    }

    /// What one try sends: all that is in it, and what is added until it is closed.
    pub(crate) fn requests(&self) -> impl Stream<Item = IngestRequest> + Send + use<> {
        let question = self.load.borrow().question.clone();
        let question =
            question.map(|acknowledged| IngestRequest { batch: None, acknowledged: Some(acknowledged) });
        let batches = stream::unfold((self.load.subscribe(), 0), |(mut load, sent)| async move {
            let loaded = load.wait_for(|load| sent < load.batches.len() || !load.is_open).await;
            let batch = loaded.ok()?.batches.get(sent)?.as_ref().clone();
            Some((IngestRequest { batch: Some(batch), acknowledged: None }, (load, sent + 1)))
        });
        stream::iter(question).chain(batches)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn batch(sequence: u64) -> Arc<Batch> {
        Arc::new(Batch { origin: Some(Origin { sequence, ..Origin::default() }), ..Batch::default() })
    }

    fn sequence(request: Option<IngestRequest>) -> Option<u64> {
        Some(request?.batch?.origin?.sequence)
    }

    #[test]
    fn each_try_sends_all_of_it_and_ends_when_it_is_closed() {
        let shipment = Shipment::open(batch(1));
        let mut first = Box::pin(shipment.requests());
        assert_eq!(sequence(first.next().now_or_never().flatten()), Some(1));
        assert!(first.next().now_or_never().is_none(), "it ended while it was open");
        shipment.add(batch(2));
        let mut second = Box::pin(shipment.clone().requests());
        shipment.close();
        assert_eq!(sequence(first.next().now_or_never().flatten()), Some(2));
        assert!(first.next().now_or_never().is_some_and(|end| end.is_none()));
        let again: Vec<_> = std::iter::from_fn(|| sequence(second.next().now_or_never().flatten())).collect();
        assert_eq!(again, [1, 2]);
    }

    #[test]
    fn a_shipment_that_nobody_can_close_any_more_ends() {
        let mut requests = Box::pin(Shipment::open(batch(1)).requests());
        assert_eq!(sequence(requests.next().now_or_never().flatten()), Some(1));
        assert!(requests.next().now_or_never().is_some_and(|end| end.is_none()));
    }
}
