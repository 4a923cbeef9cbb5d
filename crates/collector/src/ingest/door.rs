//! From a batch to a durable journal record. gRPC, HTTP and whatever comes later all enter here.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use lapwing::{
    batch::{self, BatchError},
    codec::Compressor,
    columns::{Attributes, Columns},
    limits::Limits,
    status::{self, Kind},
    v1::{Batch, Codec, Origin, ResumeRequest, ResumeResponse, batch::Payload},
};
use lapwing_delivery::{
    Admission, Agent, WINDOW,
    accounts::SourceRows,
    check_numbers,
    journal::{BatchRecord, LeaseRecord, Record},
};
use lapwing_service::clock::now;
use lapwing_spool::{Log, SpoolError};
use lapwing_store::{
    Table,
    rows::{self, About},
};
use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, RwLock, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    access::{Caller, Who},
    agents::{Agents, Entry},
    counters::Counters,
    processor::{Processor, Room},
};

/// How long an early batch waits for its predecessors, and any batch for room.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a caller is asked to stay away.
const DELAY: Duration = Duration::from_millis(500);
/// Most bytes of batches that came before their turn. What is left of the room for messages is for those that they wait for.
const EARLY: usize = 9 << 20;
/// Unit of it.
const UNIT: usize = 1 << 10;
/// Most shipments of one agent at a time ...
const IN_FLIGHT: usize = 4;
/// ... and of all agents together, but two for each, since one alone misses its turn between an answer and the next batch.
const ALL_IN_FLIGHT: usize = 32;

/// What a door needs.
#[derive(Debug)]
pub struct DoorOptions {
    /// The journal.
    pub journal: Log,
    /// What agents have delivered.
    pub agents: Arc<Agents>,
    /// Where journaled batches go.
    pub processor: Processor,
    /// Bounds on what is taken.
    pub limits: Limits,
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
    /// Held for reading while a record is appended and applied, for writing while a snapshot is taken.
    gate: Arc<RwLock<()>>,
    /// Room for batches that came before their turn.
    early: Semaphore,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Highest durable sequence of the epoch; 0 for batches without numbers.
    pub durable: u64,
    /// Rows that became durable.
    pub rows: u64,
    /// The batch was durable before.
    pub duplicate: bool,
}

/// A batch that was checked: what is journaled and what becomes rows.
struct Checked {
    batch: Batch,
    columns: Option<Columns>,
    rows: u64,
    room: Room,
}

impl Door {
    /// A door that is open.
    pub fn new(options: DoorOptions) -> Self {
        Self { options, gate: Arc::default(), early: Semaphore::new(EARLY / UNIT) }
    }

    /// Bounds on what is taken.
    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// The collector's counts.
    pub fn counters(&self) -> &Counters {
        &self.options.counters
    }

    /// Gives the lease for an epoch, durably.
    ///
    /// # Errors
    /// When the caller is not the agent, or the journal does not take the record.
    pub async fn resume(
        self: &Arc<Self>,
        caller: &Caller,
        request: ResumeRequest,
    ) -> Result<ResumeResponse, Status> {
        caller.may_lease()?;
        let agent_id = caller.agent_id(&request.agent_id)?;
        if request.epoch == 0 {
            return Err(Kind::InvalidArgument.status("epoch: expected a random number, got 0"));
        }
        let gate = Arc::clone(&self.gate).read_owned().await;
        let entry = self.options.agents.entry(&agent_id);
        let state = Arc::clone(&entry.state).lock_owned().await;
        let door = Arc::clone(self);
        // A caller that goes away must not leave a record that nobody applied.
        let leased =
            tokio::spawn(async move { door.lease(gate, state, &entry, agent_id, request.epoch).await });
        leased.await.map_err(|error| Kind::Internal.status(error.to_string()))?
    }

    async fn lease(
        &self,
        _gate: OwnedRwLockReadGuard<()>,
        mut state: OwnedMutexGuard<Agent>,
        entry: &Entry,
        agent_id: String,
        epoch: u64,
    ) -> Result<ResumeResponse, Status> {
        state.may_lease(epoch).map_err(|(kind, text)| kind.status(text))?;
        let record = Record::Lease(LeaseRecord { agent_id: agent_id.clone(), epoch });
        let index = self.append(record.encode()).await?;
        state.lease(epoch);
        entry.see();
        let previous = state.previous();
        entry.durable.send_replace((epoch, state.durable()));
        self.options.processor.nothing(index);
        self.options.counters.leases.add(1);
        tracing::info!(agent = agent_id, "lease given");
        Ok(ResumeResponse {
            agent_id,
            durable_sequence: state.durable(),
            positions: state.positions(),
            max_shipment_bytes: self.options.limits.max_message_bytes as u32,
            max_shipments_in_flight: in_flight(self.options.agents.active()),
            known_agent: state.has_delivered(),
            previous_epoch: previous.epoch,
            previous_durable_sequence: previous.durable,
        })
    }

    /// Up to which sequence batches of a run are durable, for a run that was acknowledged up to `acknowledged`.
    ///
    /// # Errors
    /// When the run has no lease, or less is held than was acknowledged.
    pub async fn holds(&self, caller: &Caller, acknowledged: Origin) -> Result<u64, Status> {
        caller.may_lease()?;
        let agent_id = caller.agent_id(&acknowledged.agent_id)?;
        let origin = Origin { agent_id, ..acknowledged };
        let entry = self.options.agents.entry(&origin.agent_id);
        entry.see();
        entry.check_held(&origin, origin.sequence).map_err(|(kind, text)| kind.status(text))?;
        let state = entry.state.lock().await;
        state.check_epoch(&origin).map_err(|(kind, text)| kind.status(text))?;
        Ok(state.durable())
    }

    /// Takes a batch until it is durable.
    ///
    /// # Errors
    /// The refusal, with its place in `lapwing::status`.
    pub async fn take(self: &Arc<Self>, caller: &Caller, batch: Batch) -> Result<Taken, Status> {
        let taken = self.try_take(caller, batch).await;
        match &taken {
            Ok(taken) if taken.duplicate => self.options.counters.duplicates.add(1),
            Ok(_) => {}
            Err(status) => self.options.counters.refused(Kind::of(status)),
        }
        taken
    }

    async fn try_take(self: &Arc<Self>, caller: &Caller, mut batch: Batch) -> Result<Taken, Status> {
        let origin = batch.origin.get_or_insert_default();
        origin.agent_id = caller.agent_id(&origin.agent_id)?;
        let origin = origin.clone();
        if origin.epoch != 0 {
            caller.may_lease()?;
        }
        check_numbers(&batch).map_err(|(kind, text)| kind.status(text))?;
        let sender = sender(caller, &origin);
        let entry = self.options.agents.entry(&sender);
        if origin.epoch != 0 {
            entry.see();
        }
        entry.check_held(&origin, batch.acknowledged_sequence).map_err(|(kind, text)| kind.status(text))?;

        // It is acknowledged whatever the limits are by now.
        if let Some(durable) = entry.known(&origin, &batch.digest).await {
            return Ok(Taken { durable, rows: 0, duplicate: true });
        }
        // Given back when the batch is durable, or refused.
        let _early = self.early_room(&entry, &origin, &batch)?;
        let checked = self.check(&entry, &origin, batch).await?;
        let (gate, state) = match self.admit(&entry, &origin, &checked.batch).await? {
            Admitted::Next(gate, state) => (gate, state),
            Admitted::Duplicate(durable) => return Ok(Taken { durable, rows: 0, duplicate: true }),
        };
        let door = Arc::clone(self);
        // A caller that goes away must not leave a record that nobody applied.
        let journaled = tokio::spawn(async move { door.journal(gate, state, &entry, sender, checked).await });
        journaled.await.map_err(|error| Kind::Internal.status(error.to_string()))?
    }

    /// Room for a batch, when it is not the next one of its sender.
    fn early_room(
        &self,
        entry: &Entry,
        origin: &Origin,
        batch: &Batch,
    ) -> Result<Option<SemaphorePermit<'_>>, Status> {
        if entry.is_next(origin) {
            return Ok(None);
        }
        let units = prost::Message::encoded_len(batch).min(EARLY).div_ceil(UNIT);
        let permit = self.early.try_acquire_many(units as u32);
        permit.map(Some).map_err(|_| Kind::Overloaded.status_after("more batches wait than may", DELAY))
    }

    /// Refuses while the journal is full: waiting at the journal itself would hold up the snapshot that lets it be trimmed.
    fn check_journal(&self) -> Result<(), Status> {
        if self.options.journal.stats().bytes < self.options.journal_room {
            return Ok(());
        }
        Err(Kind::Overloaded.status_after("the journal is full: the store is behind", DELAY * 4))
    }

    /// Waits for room, then reads the batch: what is journaled can be stored.
    async fn check(&self, entry: &Entry, origin: &Origin, mut batch: Batch) -> Result<Checked, Status> {
        let limits = &self.options.limits;
        self.check_journal()?;
        if batch.idempotency_key.len() > limits.max_key_bytes {
            let (actual, limit) = (batch.idempotency_key.len(), limits.max_key_bytes);
            let text = format!("idempotency_key: it has {actual} bytes, at most {limit} are taken");
            return Err(Kind::InvalidArgument.status(text));
        }
        let (size, rows) = match &batch.payload {
            Some(Payload::Packed(packed)) => (packed.uncompressed_size as usize, packed.rows as usize),
            Some(Payload::Rows(rows)) => {
                (prost::Message::encoded_len(&batch), rows.logs.len() + rows.metrics.len() + rows.flows.len())
            }
            None => (0, 0),
        };
        let too_large = || {
            BatchError::from(lapwing::codec::CodecError::TooLarge {
                size,
                limit: limits.max_uncompressed_bytes,
            })
        };
        if size > limits.max_uncompressed_bytes {
            return Err(refuse(&too_large()));
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        if tokio::time::timeout_at(deadline, entry.turn(origin)).await.is_err() {
            let (live, durable) = *entry.durable.borrow();
            // A run that was taken over from meanwhile is refused with that reason, below.
            if live == origin.epoch {
                return Err(too_early(origin, durable));
            }
        }
        let room = self.options.processor.reserve(size, rows);
        let Ok(Some(room)) = tokio::time::timeout_at(deadline, room).await else {
            return Err(Kind::Overloaded.status_after("the store is slower than what comes in", DELAY));
        };
        entry.has_room(origin);
        let columns = batch::columns_of(&batch, now(), limits).map_err(|error| refuse(&error))?;
        let rows = columns.as_ref().map_or(0, Columns::rows) as u64;
        if let Some(columns) = &columns {
            let resource = resource_of(&batch, limits)?;
            rows::check(columns, &resource).map_err(|error| Kind::TooLarge.status(error.to_string()))?;
        }
        if let (Some(Payload::Rows(_)), Some(columns)) = (&batch.payload, &columns) {
            // The journal has one form: a time that was left out is the same after a replay.
            let packed = batch::pack(columns, &mut Compressor::new(Codec::Zstd, None));
            let packed = packed.map_err(|error| Kind::Internal.status(error.to_string()))?;
            batch.payload = Some(Payload::Packed(packed));
        }
        Ok(Checked { batch, columns, rows, room })
    }

    async fn admit(&self, entry: &Entry, origin: &Origin, batch: &Batch) -> Result<Admitted, Status> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut durable = entry.durable.subscribe();
        loop {
            let gate = Arc::clone(&self.gate).read_owned().await;
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
                    self.check_journal()?;
                    return Ok(Admitted::Next(gate, state));
                }
                Admission::Duplicate => {
                    return Ok(Admitted::Duplicate(if origin.epoch == 0 { 0 } else { state.durable() }));
                }
                Admission::Refused(kind, text) => return Err(kind.status(text)),
                Admission::Early => drop((gate, state)),
            }
            if origin.sequence > (held + 1).saturating_add(WINDOW) {
                return Err(too_early(origin, held));
            }
            if tokio::time::timeout_at(deadline, durable.changed()).await.is_err() {
                return Err(too_early(origin, held));
            }
        }
    }

    async fn journal(
        &self,
        _gate: OwnedRwLockReadGuard<()>,
        mut state: OwnedMutexGuard<Agent>,
        entry: &Entry,
        sender: String,
        checked: Checked,
    ) -> Result<Taken, Status> {
        let Checked { batch, columns, rows, room } = checked;
        let received_unix_nano = now();
        let by_source = columns.as_ref().map(rows_by_source).unwrap_or_default();
        let record = Record::Batch(Box::new(BatchRecord {
            batch: Some(batch.clone()),
            received_unix_nano,
            sender,
            rows: by_source.clone(),
        }));
        let index = self.append(record.encode()).await?;
        state.apply(&batch, &by_source, received_unix_nano);
        let origin = batch.origin.as_ref().map(|origin| (origin.epoch, origin.sequence)).unwrap_or_default();
        if origin.0 != 0 {
            entry.durable.send_replace(origin);
        }
        drop(state);
        let counters = &self.options.counters;
        counters.batches.add(1);
        counters.rows.add(rows);
        if let Some(Payload::Packed(packed)) = &batch.payload {
            counters.bytes.add(packed.data.len() as u64);
        }
        match columns {
            Some(columns) => self.options.processor.rows(index, columns, about(&batch, index), Some(room)),
            None => self.options.processor.nothing(index),
        }
        Ok(Taken { durable: origin.1, rows, duplicate: false })
    }

    async fn append(&self, record: Bytes) -> Result<u64, Status> {
        self.options.journal.append(record).await.map_err(|error| self.journal_failed(&error))
    }

    fn journal_failed(&self, error: &SpoolError) -> Status {
        match error {
            SpoolError::Full { .. } | SpoolError::Disk { .. } => {
                tracing::error!("{error}");
                Kind::Overloaded.status_after("the journal takes nothing at the moment", DELAY * 4)
            }
            SpoolError::TooLarge { .. } => Kind::TooLarge.status(error.to_string()),
            _ => {
                tracing::error!("{error}");
                self.options.fatal.cancel();
                Kind::Unavailable.status("the journal is broken; the collector restarts")
            }
        }
    }

    /// Writes a snapshot of all agents into the journal and gives the index of its first record.
    ///
    /// # Errors
    /// As the journal's.
    pub async fn snapshot(&self) -> Result<Option<u64>, SpoolError> {
        let _gate = self.gate.write().await;
        let mut first = None;
        for snapshot in self.options.agents.snapshot().await {
            let index = self.options.journal.append(Record::Snapshot(snapshot).encode()).await?;
            self.options.processor.nothing(index);
            first.get_or_insert(index);
        }
        Ok(first)
    }
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
    Next(OwnedRwLockReadGuard<()>, OwnedMutexGuard<Agent>),
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

/// How many rows name each source; those of metrics and flows name none, and count under their table.
fn rows_by_source(columns: &Columns) -> Vec<SourceRows> {
    let table = match columns {
        Columns::Logs(logs) => {
            let mut counts: HashMap<&str, u64> = HashMap::new();
            logs.source
                .runs()
                .for_each(|(rows, source)| *counts.entry(source.as_str()).or_default() += rows as u64);
            let rows = |(source, rows): (&str, u64)| SourceRows { source: source.to_owned(), rows };
            return counts.into_iter().map(rows).collect();
        }
        Columns::Metrics(_) => Table::Metrics,
        Columns::Flows(_) => Table::Flows,
    };
    vec![SourceRows { source: table.name().to_owned(), rows: columns.rows() as u64 }]
}

fn refuse(error: &BatchError) -> Status {
    let kind = if error.is_too_large() { Kind::TooLarge } else { Kind::InvalidArgument };
    kind.status(error.to_string())
}

fn resource_of(batch: &Batch, limits: &Limits) -> Result<Attributes, Status> {
    let Some(resource) = &batch.resource else { return Ok(Attributes::default()) };
    Attributes::from_map(&resource.attributes, limits)
        .map_err(|error| Kind::InvalidArgument.status(format!("resource: {error}")))
}

/// What is true of all rows of a journaled batch.
pub fn about(batch: &Batch, journal_index: u64) -> About {
    let agent = batch.origin.as_ref().map(|origin| origin.agent_id.clone()).unwrap_or_default();
    let resource = batch.resource.clone().unwrap_or_default().attributes.into_iter().collect();
    About { agent, resource, journal_index }
}
