//! The network: messages that wait, in no order, and may be lost or come twice. What a dead process sent may still come.

use bytes::Bytes;
use lapwing::{
    status::Kind,
    v1::{Batch, SourcePosition},
};

/// Who is to get an answer: a host, and which of its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: usize,
    pub(crate) epoch: u64,
}

/// Sequence and digest.
pub(crate) type Number = (u64, Bytes);

#[derive(Debug, Clone)]
pub(crate) enum Request {
    Resume,
    /// As bytes: what is sent again is the same bytes.
    Ingest(Bytes),
}

#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Lease {
        number: u64,
        positions: Vec<SourcePosition>,
    },
    /// For the batch of this number and digest: an answer belongs to what was sent.
    Durable {
        number: Number,
        durable: u64,
    },
    Refused {
        number: Number,
        kind: Kind,
    },
    /// What is before the batch is missing; what is durable ends with `durable`.
    Early {
        number: Number,
        durable: u64,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Message {
    ToCollector(Address, Request),
    ToAgent(Address, Answer),
}

#[derive(Default)]
pub(crate) struct Network {
    pub(crate) messages: Vec<Message>,
    /// What is sent this way is lost.
    pub(crate) cut_to_collector: bool,
    pub(crate) cut_to_agent: bool,
    /// Leases that were given by all collectors, restored ones, too: what they draw is never the same.
    leases: u64,
}

impl Network {
    /// The number of a new lease.
    pub(crate) fn draw_lease(&mut self) -> u64 {
        self.leases += 1;
        self.leases
    }

    pub(crate) fn send(&mut self, message: Message) {
        let cut = match message {
            Message::ToCollector(..) => self.cut_to_collector,
            Message::ToAgent(..) => self.cut_to_agent,
        };
        if !cut {
            self.messages.push(message);
        }
    }
}

/// The rows of a batch.
pub(crate) fn rows(batch: &Batch) -> Vec<String> {
    let data = lapwing_delivery::packed(batch).map(|packed| packed.data.clone()).unwrap_or_default();
    String::from_utf8_lossy(&data).lines().map(str::to_owned).collect()
}

pub(crate) fn number(batch: &Batch) -> Number {
    (batch.origin.as_ref().map_or(0, |origin| origin.sequence), batch.digest.clone())
}
