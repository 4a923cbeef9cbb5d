//! From what collectors read to numbered batches, and from there to acknowledgements.
//!
//! Batches size themselves: when nothing is in flight, what is there leaves at once; while something is in flight the next batch
//! grows, up to [`TARGET_BYTES`]. A batch is packed and numbered once, in one place, when it leaves.
//!
//! What trickles in leaves at once, too, but shares a call with what comes next (`boarding`).

mod boarding;
mod open;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lapwing::{
    codec::{CodecError, Compressor},
    status::Kind,
    v1::{Batch, Codec, IngestResponse, Resource},
};
use lapwing_delivery::{Outcome, Sender, packed};
use lapwing_service::said::Said;
use tokio::{
    sync::{mpsc::Receiver, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::{boarding::Boarding, open::Open};
use crate::{
    counters::{Counters, Part},
    dead_letters::DeadLetters,
    input::Input,
    transport::{Refusal, Shipment, Shipper, Undelivered, ship},
};

/// Uncompressed size at which a batch is full.
pub const TARGET_BYTES: usize = 1 << 20;

/// Pause before a batch that is refused, and can't be set aside, is sent again.
const HOLD: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(5) };

/// When nothing was answered for so long, and nothing is under way, the collector is asked whether it still holds what it acknowledged.
const QUIET: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(10) };

/// How a pipeline packs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Agent id and epoch of the batches.
    pub agent: String,
    /// Epoch of the batches.
    pub epoch: u64,
    /// Number of the lease.
    pub lease: u64,
    /// Resource attributes of all that is sent.
    pub resource: Resource,
    /// How batches are compressed.
    pub codec: Codec,
    /// Level of the codec.
    pub level: Option<i32>,
    /// Most log events held and not acknowledged.
    pub max_events: usize,
    /// Most log events that come at a time.
    pub max_rows: usize,
    /// Longest a batch waits while others are in flight.
    pub flush_interval: Duration,
    /// Most shipments under way.
    pub in_flight: usize,
    /// How long the last shipments may take when the inputs have ended.
    pub drain: Duration,
}

/// How a pipeline ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The inputs ended, and everything is acknowledged; or the time for it was up.
    Drained {
        /// Events that were not acknowledged; they are read again.
        left: u64,
    },
    /// The collector does not know this lease any more.
    Renew(String),
    /// Another run of this agent has the lease.
    Fenced(String),
    /// A batch could not be packed, or a shipment failed here.
    Broken(String),
}

/// The pipeline.
pub struct Pipeline {
    options: Options,
    inputs: Receiver<Vec<Input>>,
    shipper: Shipper,
    /// Up to which number batches are acknowledged; what sends them again compares it with what the collector says it holds.
    acknowledged: Arc<AtomicU64>,
    /// Where the spool may be trimmed to: the record after the last acknowledged one.
    spool_durable: watch::Sender<u64>,
    dead_letters: DeadLetters,
    counters: Arc<Counters>,
    compressor: Compressor,
    open: Open,
    shipments: JoinSet<Answer>,
    /// The question whether the collector holds what it acknowledged, while it is under way.
    question: JoinSet<Answer>,
    /// When the last answer came.
    answered: Instant,
    /// The shipment among them that takes more.
    boarding: Option<Boarding>,
    sender: Sender,
    /// Numbers of batches that are refused and can't be set aside.
    held: BTreeSet<u64>,
    /// What was reported of refused batches, by the kind of refusal.
    said: Said<String>,
}

/// A shipment, and what became of it.
type Answer = (Shipment, Result<IngestResponse, Undelivered>);

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// A pipeline from `inputs` to `shipper`, which knows by `acknowledged` what it may not hear of again.
    pub fn new(
        options: Options,
        inputs: Receiver<Vec<Input>>,
        (shipper, acknowledged): (Shipper, Arc<AtomicU64>),
        spool_durable: watch::Sender<u64>,
        dead_letters: DeadLetters,
        counters: Arc<Counters>,
    ) -> Self {
        let compressor = Compressor::new(options.codec, options.level);
        let sender =
            Sender::new(options.agent.clone(), options.epoch, options.lease, options.resource.clone());
        let open_rows = options.max_rows;
        Self {
            options,
            inputs,
            shipper,
            acknowledged,
            spool_durable,
            dead_letters,
            counters,
            compressor,
            open: Open::new(open_rows),
            shipments: JoinSet::new(),
            question: JoinSet::new(),
            answered: Instant::now(),
            boarding: None,
            sender,
            held: BTreeSet::new(),
            said: Said::default(),
        }
    }

    /// Runs until the inputs end, or until `hurry`; then lets what is under way arrive. What was not taken by then is read again.
    pub async fn run(mut self, hurry: CancellationToken) -> End {
        match self.pump(&hurry).await {
            Ok(()) => match self.drain().await {
                Ok(left) => End::Drained { left },
                Err(end) => end,
            },
            Err(end) => end,
        }
    }

    async fn pump(&mut self, hurry: &CancellationToken) -> Result<(), End> {
        loop {
            while self.is_due() {
                self.ship_next()?;
            }
            self.close_boarding(false);
            self.ask_when_quiet();
            let wake = self.wake();
            let may_take = self.has_room();
            tokio::select! {
                Some(done) = self.shipments.join_next() => self.settle(done)?,
                Some(done) = self.question.join_next() => self.hear(done)?,
                input = self.inputs.recv(), if may_take => match input {
                    Some(inputs) => inputs.into_iter().for_each(|input| self.open.add(input)),
                    None => return Ok(()),
                },
                () = hurry.cancelled() => return Ok(()),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Ships all that is left and waits for the answers. Gives how many events have none.
    async fn drain(&mut self) -> Result<u64, End> {
        let deadline = Instant::now() + self.options.drain;
        loop {
            while !self.open.is_empty() && self.has_slot() {
                self.ship_next()?;
            }
            self.close_boarding(true);
            if self.shipments.is_empty() {
                return Ok(0);
            }
            match timeout_at(deadline, self.shipments.join_next()).await {
                Ok(Some(done)) => self.settle(done)?,
                Ok(None) => {}
                Err(_) => return Ok((self.sender.held() + self.open.rows()) as u64),
            }
        }
    }

    fn has_room(&self) -> bool {
        let events = self.sender.held() + self.open.rows();
        let fits = events == 0 || events + self.options.max_rows <= self.options.max_events;
        fits && !self.open.is_full()
    }

    /// Whether a batch is to leave now.
    fn is_due(&self) -> bool {
        let Some(since) = self.open.since() else { return false };
        let awaited = self.shipments.len() - usize::from(self.boarding.is_some());
        let due = awaited == 0 || self.open.is_full() || since.elapsed() >= self.options.flush_interval;
        due && self.has_slot()
    }

    /// Whether a batch that is due can leave.
    fn has_slot(&self) -> bool {
        self.boarding.is_some() || self.shipments.len() < self.options.in_flight
    }

    /// When to look again without an event.
    fn wake(&self) -> Option<Instant> {
        // With no slot free an acknowledgement comes first.
        let batch =
            self.open.since().filter(|_| self.has_slot()).map(|since| since + self.options.flush_interval);
        let boarding = self.boarding.as_ref().map(Boarding::ends);
        let question = self.is_quiet().then(|| self.answered + QUIET);
        batch.into_iter().chain(boarding).chain(question).min()
    }

    fn is_quiet(&self) -> bool {
        self.shipments.is_empty() && self.question.is_empty() && self.open.is_empty()
    }

    /// An agent that has nothing to send would never learn that its collector was restored from an older copy.
    fn ask_when_quiet(&mut self) {
        if self.is_quiet() && self.answered.elapsed() >= QUIET {
            let (shipper, question) = (self.shipper.clone(), Shipment::question(self.sender.known()));
            self.question.spawn(async move { (question.clone(), ship(shipper, question).await) });
        }
    }

    /// Takes the answer to the question. What it does not say about the lease says nothing: an older collector does not know the question.
    fn hear(&mut self, done: Result<Answer, tokio::task::JoinError>) -> Result<(), End> {
        let (_, answer) = done.map_err(|error| End::Broken(format!("a question's task: {error}")))?;
        self.answered = Instant::now();
        match answer {
            Err(Undelivered::Refused(refusal)) if Sender::ends_lease(refusal.kind) => {
                Err(lease_ended(refusal))
            }
            _ => Ok(()),
        }
    }

    fn ship_next(&mut self) -> Result<(), End> {
        let Some(content) = self.open.take() else { return Ok(()) };
        let packed =
            content.pack(&mut self.compressor).map_err(|error: CodecError| End::Broken(error.to_string()))?;
        self.counters.events_sent.add(content.rows as u64);
        let bytes = packed.as_ref().map_or(0, |packed| packed.uncompressed_size as usize);
        let batch = Arc::new(self.sender.number(packed, content.positions));
        match &mut self.boarding {
            Some(boarding) => boarding.add(batch, bytes),
            None => {
                let shipment = Shipment::open(batch);
                self.boarding = Some(Boarding::new(shipment.clone(), bytes));
                self.send(shipment);
            }
        }
        let is_last = !self.has_room();
        self.close_boarding(is_last);
        Ok(())
    }

    /// Ends the call that takes more, when its time is up or when it must.
    fn close_boarding(&mut self, must: bool) {
        if let Some(boarding) = self.boarding.take_if(|boarding| must || boarding.is_over()) {
            boarding.close();
        }
    }

    fn send(&mut self, shipment: Shipment) {
        self.send_after(Duration::ZERO, shipment);
    }

    fn send_after(&mut self, pause: Duration, shipment: Shipment) {
        let (shipper, sent) = (self.shipper.clone(), shipment.clone());
        self.shipments.spawn(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            (sent, ship(shipper, shipment).await)
        });
    }

    /// Takes an answer.
    fn settle(&mut self, done: Result<Answer, tokio::task::JoinError>) -> Result<(), End> {
        let (shipment, answer) = done.map_err(|error| End::Broken(format!("a shipment's task: {error}")))?;
        self.answered = Instant::now();
        // Nobody listens to it any more.
        self.boarding.take_if(|boarding| boarding.is(&shipment));
        let batches = shipment.batches();
        match answer {
            Ok(response) => {
                batches.iter().try_for_each(|batch| self.acknowledged(batch, response.durable_sequence))
            }
            // It says nothing about the batches.
            Err(Undelivered::Failed(reason)) => Err(End::Broken(format!("a shipment failed: {reason}"))),
            Err(Undelivered::Refused(refusal)) if batches.len() > 1 && !Sender::ends_lease(refusal.kind) => {
                // One of them was refused; alone, each gets an answer of its own.
                batches.into_iter().for_each(|batch| self.send(Shipment::of(batch)));
                Ok(())
            }
            Err(Undelivered::Refused(refusal)) => {
                batches.into_iter().next().map_or(Ok(()), |batch| self.refused(batch, refusal))
            }
        }
    }

    fn acknowledged(&mut self, batch: &Batch, durable_sequence: u64) -> Result<(), End> {
        let sequence = sequence(batch);
        if durable_sequence < sequence {
            let text = format!("the collector answered with {durable_sequence} to batch {sequence}");
            return Err(End::Renew(text));
        }
        if !batch.dropped_cause.is_empty()
            && let Err(error) = self.dead_letters.confirm(batch.origin.as_ref())
        {
            // The next lease settles it.
            if let Some(left_out) = self.said.again(&"pending".to_owned()) {
                tracing::error!("a dead letter stays pending: {error}{left_out}");
            }
        }
        let (rows, bytes) = packed(batch).map_or((0, 0), |packed| (packed.rows, packed.data.len()));
        self.counters.events_acknowledged.add(u64::from(rows));
        self.counters.bytes_acknowledged.add(bytes as u64);
        self.counters.batches_acknowledged.add(1);
        if let Some(next) = self.sender.acknowledged(batch, durable_sequence) {
            self.spool_durable.send_replace(next);
        }
        self.acknowledged.fetch_max(durable_sequence, Ordering::Relaxed);
        self.let_go(sequence);
        Ok(())
    }

    fn refused(&mut self, batch: Arc<Batch>, refusal: Refusal) -> Result<(), End> {
        let reason = format!("{}: {}", refusal.kind.reason(), refusal.message);
        match Sender::refused(&batch, refusal.kind) {
            Outcome::Fenced | Outcome::Renew => return Err(lease_ended(refusal)),
            Outcome::Hold => {
                let text = format!(
                    "the collector refuses a batch that has no rows, only positions ({reason}); nothing is read beyond it until the \
                     collector takes it: look at its limits and its version"
                );
                self.hold(batch, text);
                return Ok(());
            }
            Outcome::SetAside => {}
        }
        match self.dead_letters.keep(&batch, &reason) {
            Ok(path) => self.replace(&batch, &reason, &path),
            Err(error) => {
                let text = format!(
                    "the collector refuses a batch ({reason}), and it can't be set aside: nothing is read beyond it, and nothing is \
                     lost; {error}"
                );
                self.hold(batch, text);
            }
        }
        self.counters.dead_letter_bytes.set(self.dead_letters.bytes());
        Ok(())
    }

    /// Sends an empty batch under the number of one that was set aside.
    fn replace(&mut self, batch: &Batch, reason: &str, path: &Path) {
        let kind = reason.split(':').next().unwrap_or_default();
        if let Some(left_out) = self.said.again(&kind.to_owned()) {
            let path = path.display();
            tracing::error!(
                "the collector refused a batch for good ({reason}); it is set aside in {path}{left_out}"
            );
        }
        self.let_go(sequence(batch));
        self.counters.events_dead.add(packed(batch).map_or(0, |packed| u64::from(packed.rows)));
        // Its number must not stay empty: what comes behind it waits for it.
        let empty = self.sender.replace(batch);
        self.send(Shipment::of(Arc::new(empty)));
    }

    /// Keeps a batch under way that can neither be delivered nor set aside. What is behind it waits for it, so reading stops when
    /// `max_events` are under way. Each try finds out whether the collector takes it by now, or there is room to set it aside.
    fn hold(&mut self, batch: Arc<Batch>, reason: String) {
        self.held.insert(sequence(&batch));
        if self.counters.set_trouble_of(Part::DeadLetters, reason.clone()) {
            tracing::error!("{reason}");
        }
        self.send_after(HOLD, Shipment::of(batch));
    }

    /// Notes that a batch is not held any more.
    fn let_go(&mut self, sequence: u64) {
        if self.held.remove(&sequence) && self.held.is_empty() {
            self.counters.clear_trouble(Part::DeadLetters);
            tracing::info!("the batch that held everything up is through; reading goes on");
        }
    }
}

/// The end of a lease, by a refusal that is about it.
fn lease_ended(Refusal { kind, message }: Refusal) -> End {
    match kind {
        Kind::Fenced => End::Fenced(message),
        Kind::OutOfOrder => End::Renew(format!(
            "{message}, though it was acknowledged: the collector was restored from an older copy, and what it lost is read again"
        )),
        _ => End::Renew(message),
    }
}

fn sequence(batch: &Batch) -> u64 {
    batch.origin.as_ref().map_or(0, |origin| origin.sequence)
}
