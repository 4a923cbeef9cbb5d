//! From a batch to a durable journal record. gRPC, HTTP and whatever comes later all enter here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lapwing::{
    codec::CodecError,
    columns::{Columns, Cost},
    limits::Limits,
    status::{self, Kind},
    undecoded::{Envelope, EnvelopeError, Undecoded},
    v1::{Batch, Origin, Resource, ResumeRequest, ResumeResponse},
};
use lapwing_delivery::{
    Admission, Agent, WINDOW,
    accounts::SourceRows,
    check_id,
    journal::{BatchRecord, LeaseRecord, Record},
    packed,
};
use lapwing_service::{clock::now, said::Said};
use lapwing_spool::{Log, SpoolError};
use lapwing_store::rows::About;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    positions::room_for_positions,
    reading::{Read, Reading, refuse},
    room::MessageRoom,
};
use crate::{
    access::{Caller, Who},
    agents::{Agents, Entry},
    counters::Counters,
    processor::{Processor, Room, stage::Stages},
    share::{Holder, Permit, Share, Shares, UNIT},
};

/// How long an early batch waits for its predecessors, and any batch for room.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a caller is asked to stay away.
const DELAY: Duration = Duration::from_millis(500);
/// How long a sender waits when nothing more is remembered.
const SENDERS_DELAY: Duration = Duration::from_secs(30);
/// Most shipments of one agent at a time ...
const IN_FLIGHT: usize = 4;
/// ... and of all agents together, but two for each, since one alone misses its turn between an answer and the next batch.
const ALL_IN_FLIGHT: usize = 32;

/// Longest zone of a host that is looked at. Those that exist have 45 bytes at most.
const MAX_TIME_ZONE: usize = 64;

/// What a door needs.
#[derive(Debug)]
pub struct DoorOptions {
    /// The journal.
    pub journal: Log,
    /// What agents have delivered.
    pub agents: Arc<Agents>,
    /// Where journaled batches go.
    pub processor: Processor,
    /// Room for batches that came before their turn.
    pub shares: Arc<Shares>,
    /// Bounds on what is taken.
    pub limits: Limits,
    /// How far ahead of this clock a time may be.
    pub times: Duration,
    /// The collector's counts.
    pub counters: Arc<Counters>,
    /// Cancelled when the journal is broken and the process must end.
    pub fatal: CancellationToken,
    /// Bytes of the journal at which batches are refused until it is trimmed.
    pub journal_room: u64,
}

/// The door.
#[derive(Debug)]
pub struct Door {
    options: DoorOptions,
    /// Lines of the log that senders cause.
    said: Said<Subject>,
}

/// What such a line is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Lease(String),
    SentBack(String),
    Journal,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// All batches of the epoch up to this sequence are durable.
    pub durable: u64,
    /// Rows that became durable.
    pub rows: u64,
    /// The batch was durable before.
    pub duplicate: bool,
}

/// A batch that was checked: what is journaled and what becomes rows.
pub(super) struct Checked {
    pub(super) batch: Batch,
    pub(super) columns: Option<Columns>,
    pub(super) rows: u64,
    pub(super) by_source: Vec<SourceRows>,
    /// When it came, nanoseconds since the Unix epoch.
    pub(super) received: u64,
    pub(super) room: Room,
}

impl Door {
    /// A door that is open.
    pub fn new(options: DoorOptions) -> Self {
        Self { options, said: Said::default() }
    }

    /// Bounds on what is taken.
    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// The collector's counts.
    pub fn counters(&self) -> &Counters {
        &self.options.counters
    }

    /// Gives the lease for an epoch, durably. Returns the encoded `ResumeResponse`, and the part of the caller's share that it takes until it
    /// is read.
    ///
    /// # Errors
    /// When the caller is not the agent, does not read earlier answers, or the journal does not take the record.
    pub async fn resume(
        self: &Arc<Self>,
        caller: &Caller,
        share: Option<Share>,
        request: ResumeRequest,
    ) -> Result<(Undecoded, Option<Permit>), Status> {
        caller.may_lease()?;
        let agent_id = caller.agent_id(&request.agent_id)?;
        if request.epoch == 0 {
            return Err(Kind::InvalidArgument.status("epoch: expected a random number, got 0"));
        }
        check_id(agent_id.len()).map_err(|(kind, text)| kind.status(text))?;
        let entry = self.entry(&agent_id)?;
        let state = Arc::clone(&entry.state).lock_owned().await;
        let room = share.map(|share| room_for_positions(&share, state.positions_bytes())).transpose()?;
        let door = Arc::clone(self);
        // A caller that goes away must not leave a record that nobody applied.
        let leased = tokio::spawn(async move { door.lease(state, &entry, agent_id, request.epoch).await });
        Ok((leased.await.map_err(|error| broken(&error))??, room))
    }

    fn entry(&self, sender: &str) -> Result<Arc<Entry>, Status> {
        let entry = self.options.agents.entry(sender);
        entry
            .ok_or_else(|| Kind::Overloaded.status_after("more senders are known than may be", SENDERS_DELAY))
    }

    async fn lease(
        &self,
        mut state: OwnedMutexGuard<Agent>,
        entry: &Entry,
        agent_id: String,
        epoch: u64,
    ) -> Result<Undecoded, Status> {
        state.may_lease(epoch).map_err(|(kind, text)| kind.status(text))?;
        let received_unix_nano = now();
        let number = state.lease_number(epoch).map_or_else(draw, Ok)?;
        let lease = LeaseRecord { agent_id: agent_id.clone(), epoch, received_unix_nano, number };
        let index = self.append(Record::Lease(lease).encode()).await?;
        self.options.processor.nothing(index);
        state.seen(received_unix_nano);
        state.lease(epoch, number);
        entry.moved();
        entry.see();
        let previous = state.previous();
        entry.durable.send_replace((epoch, state.durable()));
        self.options.counters.leases.add(1);
        if let Some(left_out) = self.said.again(&Subject::Lease(agent_id.clone())) {
            tracing::info!(agent = agent_id, "lease given{left_out}");
        }
        let answer = ResumeResponse {
            agent_id,
            durable_sequence: state.durable(),
            max_shipment_bytes: self.options.limits.max_message_bytes as u32,
            max_shipments_in_flight: in_flight(self.options.agents.active()),
            known_agent: state.has_delivered(),
            previous_epoch: previous.epoch,
            previous_durable_sequence: previous.durable,
            lease: number,
            ..ResumeResponse::default()
        };
        Ok(Undecoded::resumed(&answer, state.encoded_positions(), state.positions_bytes()))
    }

    /// Up to which sequence batches of a run are durable, for a run that was acknowledged up to `acknowledged`.
    ///
    /// # Errors
    /// When the run has no lease, or less is held than was acknowledged.
    pub async fn holds(&self, caller: &Caller, acknowledged: Origin) -> Result<u64, Status> {
        caller.may_lease()?;
        let agent_id = caller.agent_id(&acknowledged.agent_id)?;
        let origin = Origin { agent_id, ..acknowledged };
        let entry = self.entry(&origin.agent_id)?;
        entry.see();
        self.check_held(&entry, &origin, origin.sequence)?;
        let state = entry.state.lock().await;
        state.check_lease(&origin).map_err(|(kind, text)| kind.status(text))?;
        Ok(state.durable())
    }

    /// Takes an encoded `IngestRequest` until its batch is durable. `room` is what its bytes hold.
    ///
    /// # Errors
    /// The refusal, with its place in `lapwing::status`.
    pub async fn take(
        self: &Arc<Self>,
        caller: &Caller,
        request: Bytes,
        room: &MessageRoom,
    ) -> Result<Taken, Status> {
        let taken = self.try_take(caller, request, room).await;
        match &taken {
            Ok(taken) if taken.duplicate => self.options.counters.duplicates.add(1),
            Ok(_) => {}
            Err(status) => self.options.counters.refused(Kind::of(status)),
        }
        taken
    }

    async fn try_take(
        self: &Arc<Self>,
        caller: &Caller,
        request: Bytes,
        room: &MessageRoom,
    ) -> Result<Taken, Status> {
        let mut envelope =
            Envelope::read(&request, self.limits()).map_err(|error| refuse_envelope(&error))?;
        envelope.origin.agent_id = caller.agent_id(&envelope.origin.agent_id)?;
        let origin = envelope.origin.clone();
        check_id(origin.agent_id.len()).map_err(|(kind, text)| kind.status(text))?;
        if origin.epoch != 0 {
            caller.may_lease()?;
        }
        let sender = sender(caller, &origin);
        let entry = self.entry(&sender)?;
        if origin.epoch != 0 {
            entry.see();
        }
        self.check_held(&entry, &origin, envelope.acknowledged)?;

        // It is acknowledged whatever the limits are by now.
        if let Some(durable) = entry.known(&origin, &envelope.digest).await {
            return Ok(Taken { durable, rows: 0, duplicate: true });
        }

        // Given back when the batch is durable, or refused.
        let holder = holder(caller, &origin);
        let early = self.early_room(&entry, &holder, &origin, request.len())?;
        if early.is_some() {
            // Those that it waits for may need the room.
            room.give_back();
        }
        let checked = self.check(&entry, &holder, envelope, request).await?;
        let state = match self.admit(&entry, &origin, &checked.batch).await? {
            Admitted::Next(state) => state,
            Admitted::Duplicate(durable) => return Ok(Taken { durable, rows: 0, duplicate: true }),
        };
        let door = Arc::clone(self);
        // A caller that goes away must not leave a record that nobody applied.
        let journaled = tokio::spawn(async move { door.journal(state, &entry, sender, checked).await });
        journaled.await.map_err(|error| broken(&error))?
    }

    /// Checks that what is held of a run is no less than its sender knows to be durable.
    fn check_held(&self, entry: &Entry, origin: &Origin, acknowledged: u64) -> Result<(), Status> {
        entry.check_held(origin, acknowledged).map_err(|(kind, text)| {
            let agent = &origin.agent_id;
            if let Some(left_out) = self.said.again(&Subject::SentBack(agent.clone())) {
                tracing::warn!(agent, "{text}{left_out}");
            }
            kind.status(text)
        })
    }

    /// Room for a batch, when it is not the next one of its sender.
    fn early_room(
        &self,
        entry: &Entry,
        holder: &Holder,
        origin: &Origin,
        bytes: usize,
    ) -> Result<Option<Permit>, Status> {
        if entry.is_next(origin) {
            return Ok(None);
        }
        let early = &self.options.shares.early;
        let permit = early.try_take(holder, bytes.div_ceil(UNIT).min(early.most()));
        permit.map(Some).ok_or_else(|| Kind::Overloaded.status_after("more batches wait than may", DELAY))
    }

    /// Refuses while the journal is full: waiting at the journal itself would hold up the snapshot that lets it be trimmed.
    fn check_journal(&self, entry: &Entry) -> Result<(), Status> {
        if self.options.journal.stats().bytes < entry.journal_room(self.options.journal_room) {
            return Ok(());
        }
        Err(Kind::Overloaded.status_after("the journal is full: the store is behind", DELAY * 4))
    }

    /// Waits for room for what the batch becomes, then reads it: what is journaled can be stored.
    async fn check(
        &self,
        entry: &Entry,
        holder: &Holder,
        envelope: Envelope,
        request: Bytes,
    ) -> Result<Checked, Status> {
        self.check_journal(entry)?;
        let limits = &self.options.limits;
        let (bytes, rows) = envelope.packed.unwrap_or((0, envelope.rows));
        if bytes > limits.max_uncompressed_bytes {
            let error = CodecError::TooLarge { size: bytes, limit: limits.max_uncompressed_bytes };
            return Err(refuse(&error.into()));
        }
        // Most batches become less than this. Of the others more is known when they are decompressed.
        let guess = Cost::guess(bytes, rows).with_resource(rows, envelope.resource);
        let guess = Stages::becomes(guess.bytes, self.options.processor.stages().usual_room(rows));
        let mut wanted = guess.saturating_add(envelope.becomes());
        if envelope.packed.is_some() {
            wanted = wanted.min(self.options.processor.largest());
        }
        let mut reading = Reading {
            envelope,
            request,
            limits: limits.clone(),
            times: self.options.times,
            stages: self.options.processor.stages().clone(),
        };
        loop {
            let room = self.room(entry, holder, &reading.envelope.origin, wanted).await?;
            let read;
            (reading, read) = reading.run(room.bytes()).await?;
            match read? {
                Read::Batch(read) => {
                    // Not before: the next ones would take the room that this one may still ask for, and wait for it with that.
                    entry.has_room(&reading.envelope.origin);
                    return Ok(read.with(room));
                }
                // The room is given back first: who holds some while it waits for more may wait for one that does the same.
                Read::Becomes(bytes) => wanted = bytes.max(wanted + 1),
            }
        }
    }

    /// Waits in turn for room of so many bytes.
    async fn room(
        &self,
        entry: &Entry,
        holder: &Holder,
        origin: &Origin,
        bytes: usize,
    ) -> Result<Room, Status> {
        let processor = &self.options.processor;
        if bytes > processor.largest() {
            let limit = processor.largest();
            let text = format!(
                "the batch becomes {bytes} bytes in memory, at most {limit} are taken: send fewer rows or attributes"
            );
            return Err(Kind::TooLarge.status(text));
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        if tokio::time::timeout_at(deadline, entry.turn(origin)).await.is_err() {
            let (live, durable) = *entry.durable.borrow();
            // A run that was taken over from meanwhile is refused with that reason, below.
            if live == origin.epoch {
                return Err(too_early(origin, durable));
            }
        }
        let room = processor.reserve(holder, bytes);
        match tokio::time::timeout_at(deadline, room).await {
            Ok(Some(room)) => Ok(room),
            _ => Err(Kind::Overloaded.status_after("the store is slower than what comes in", DELAY)),
        }
    }

    async fn admit(&self, entry: &Entry, origin: &Origin, batch: &Batch) -> Result<Admitted, Status> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut durable = entry.durable.subscribe();
        loop {
            durable.mark_unchanged();
            let state = Arc::clone(&entry.state).lock_owned().await;
            let admission = match origin.epoch {
                0 if state.knows_key(&batch.idempotency_key, now()) => Admission::Duplicate,
                0 => Admission::Append,
                _ => state.admit(origin, &batch.digest),
            };
            let held = state.durable();
            match admission {
                Admission::Append => {
                    // It may have filled up while this one waited for its turn.
                    self.check_journal(entry)?;
                    return Ok(Admitted::Next(state));
                }
                Admission::Duplicate => {
                    return Ok(Admitted::Duplicate(if origin.epoch == 0 { 0 } else { state.durable() }));
                }
                Admission::Refused(kind, text) => return Err(kind.status(text)),
                Admission::Early => drop(state),
            }
            if origin.sequence > (held + 1).saturating_add(WINDOW) {
                return Err(too_early(origin, held));
            }
            if tokio::time::timeout_at(deadline, durable.changed()).await.is_err() {
                return Err(too_early(origin, held));
            }
        }
    }

    /// Journals a batch and hands it on. Whatever can fail comes before the append: what is journaled moves the state and becomes rows.
    async fn journal(
        &self,
        mut state: OwnedMutexGuard<Agent>,
        entry: &Entry,
        sender: String,
        checked: Checked,
    ) -> Result<Taken, Status> {
        let Checked { batch, columns, rows, by_source, received, room } = checked;
        let booking = state.booking(&batch, &by_source, received).map_err(|(kind, text)| match kind {
            Kind::Overloaded => kind.status_after(text, SENDERS_DELAY),
            _ => kind.status(text),
        })?;
        let mut about = about(&batch, 0);
        let origin = batch.origin.as_ref().map(|origin| (origin.epoch, origin.sequence)).unwrap_or_default();
        let bytes = packed(&batch).map_or(0, |packed| packed.data.len() as u64);
        let record = Box::new(BatchRecord {
            batch: Some(batch.clone()),
            received_unix_nano: received,
            sender,
            rows: by_source,
        });

        let record = Record::Batch(record).encode();
        let length = record.len() as u64;
        let index = self.append(record).await?;
        entry.journaled(length);
        about.journal_index = index;
        match columns {
            Some(columns) => self.options.processor.rows(index, columns, about, Some(room)),
            None => self.options.processor.nothing(index),
        }
        state.deliver(&batch, booking);
        entry.moved();
        if origin.0 != 0 {
            entry.durable.send_replace(origin);
        }
        drop(state);
        let counters = &self.options.counters;
        counters.batches.add(1);
        counters.rows.add(rows);
        counters.bytes.add(bytes);
        Ok(Taken { durable: origin.1, rows, duplicate: false })
    }

    async fn append(&self, record: Bytes) -> Result<u64, Status> {
        self.options.journal.append(record).await.map_err(|error| self.journal_failed(&error))
    }

    fn journal_failed(&self, error: &SpoolError) -> Status {
        match error {
            SpoolError::Full { .. } | SpoolError::Disk { .. } => {
                if let Some(left_out) = self.said.again(&Subject::Journal) {
                    tracing::error!("{error}{left_out}");
                }
                Kind::Overloaded.status_after("the journal takes nothing at the moment", DELAY * 4)
            }
            SpoolError::TooLarge { .. } => Kind::TooLarge.status(error.to_string()),
            _ => {
                if !self.options.fatal.is_cancelled() {
                    tracing::error!("{error}");
                }
                self.options.fatal.cancel();
                Kind::Unavailable.status("the journal is broken; the collector restarts")
            }
        }
    }
}

/// The number of a new lease.
fn draw() -> Result<u64, Status> {
    let drawn = getrandom::u64().map_err(|error| {
        tracing::error!("a lease could not be given: random numbers: {error}");
        Kind::Unavailable.status("the collector has no random numbers at the moment")
    });
    drawn.map(|number| number.max(1))
}

/// How many shipments an agent may have under way when so many agents send.
fn in_flight(agents: usize) -> u32 {
    (ALL_IN_FLIGHT / agents.max(1)).clamp(2, IN_FLIGHT) as u32
}

/// What came before a batch that is missing, and waited for it in vain. It says what is durable: the sender knows whether the missing
/// one is still to come.
fn too_early(origin: &Origin, durable: u64) -> Status {
    let missing = durable.saturating_add(1);
    let text = format!("batch {} came before batch {missing}, which is missing", origin.sequence);
    status::out_of_order(text, durable, Duration::from_millis(100))
}

enum Admitted {
    Next(OwnedMutexGuard<Agent>),
    Duplicate(u64),
}

/// Whose state a batch moves. A user and an agent of one name are two, and so are a client without numbers and an agent: no name holds
/// a `/`, so that of an agent is never one of the others.
fn sender(caller: &Caller, origin: &Origin) -> String {
    match &caller.who {
        _ if origin.epoch != 0 => origin.agent_id.clone(),
        Who::User(name) => format!("user/{name}"),
        _ => format!("client/{}", origin.agent_id),
    }
}

/// Whose room a batch takes. Where nobody is asked who they are it is the agent's that it says it is.
fn holder(caller: &Caller, origin: &Origin) -> Holder {
    match &caller.who {
        Who::Agent(id) => Holder::Agent(id.as_str().into()),
        Who::User(name) => Holder::User(name.as_str().into()),
        Who::Anyone => Holder::Agent(origin.agent_id.as_str().into()),
    }
}

/// A task that panicked tells its reason to the log, not to the caller.
pub(super) fn broken(error: &tokio::task::JoinError) -> Status {
    tracing::error!("a batch could not be taken: {error}");
    Kind::Internal.status("the collector failed at this request; its log says why")
}

/// The refusal of a message that is no batch, or of too large a one.
pub(super) fn refuse_envelope(error: &EnvelopeError) -> Status {
    let kind = match error {
        EnvelopeError::TooMany { .. } => Kind::TooLarge,
        _ => Kind::InvalidArgument,
    };
    kind.status(error.to_string())
}

/// What is true of all rows of a journaled batch.
pub fn about(batch: &Batch, journal_index: u64) -> About {
    let agent = batch.origin.as_ref().map(|origin| origin.agent_id.clone()).unwrap_or_default();
    let Resource { attributes, mut time_zone } = batch.resource.clone().unwrap_or_default();
    if time_zone.len() > MAX_TIME_ZONE {
        time_zone = String::new();
    }
    About { agent, resource: attributes.into_iter().collect(), time_zone, journal_index }
}
