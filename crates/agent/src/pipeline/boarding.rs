//! The shipment that takes more.
//!
//! Lines of a busy file come every `PACE` of the tailer. A batch leaves when it is there, and the
//! collector shows it when it is durable; but a call for each, with its headers, its answer and the wake-ups for both, would cost
//! the agent more than the lines do. So small batches board one call, and are acknowledged together.

use std::{sync::Arc, time::Duration};

use lapwing::v1::Batch;
use tokio::time::Instant;

use crate::transport::Shipment;

/// A batch that comes this long after the first is the last ...
const LAST: Duration = Duration::from_millis(400);
/// ... and when none comes the shipment is closed without it.
const PATIENCE: Duration = Duration::from_millis(600);
/// Uncompressed size at which it is closed: a backlog has its acknowledgements soon, by which its batches grow.
const MAX_BYTES: usize = 512 << 10;
/// Most batches: shipments behind it must not get too far ahead of the one that the collector waits for.
const MAX_BATCHES: usize = 8;

/// An open shipment under way.
#[derive(Debug)]
pub(super) struct Boarding {
    shipment: Shipment,
    since: Instant,
    batches: usize,
    bytes: usize,
    is_over: bool,
}

impl Boarding {
    /// Under way with its first batch, of so many `bytes` uncompressed.
    pub(super) fn new(shipment: Shipment, bytes: usize) -> Self {
        Self { shipment, since: Instant::now(), batches: 1, bytes, is_over: bytes >= MAX_BYTES }
    }

    pub(super) fn add(&mut self, batch: Arc<Batch>, bytes: usize) {
        self.shipment.add(batch);
        self.batches += 1;
        self.bytes += bytes;
        self.is_over = self.bytes >= MAX_BYTES || self.batches >= MAX_BATCHES || self.since.elapsed() >= LAST;
    }

    pub(super) fn close(&self) {
        self.shipment.close();
    }

    pub(super) fn is(&self, shipment: &Shipment) -> bool {
        self.shipment.is(shipment)
    }

    /// When it is closed at the latest.
    pub(super) fn ends(&self) -> Instant {
        self.since + PATIENCE
    }

    /// Whether it takes no more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over || Instant::now() >= self.ends()
    }
}
