//! Reading a batch that has room: decoding, decompressing and checking it, away from the threads that answer when it is large.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use lapwing::{
    batch::{self, BatchError},
    codec::Compressor,
    columns::{Attributes, Columns},
    limits::Limits,
    status::Kind,
    undecoded::Envelope,
    v1::{Batch, Codec, IngestRequest, batch::Payload},
};
use lapwing_delivery::{MAX_NAME_BYTES, accounts::SourceRows, check_bounds, check_numbers};
use lapwing_service::clock::now;
use lapwing_store::{Table, rows};
use prost::Message;
use tonic::Status;

use super::door::Checked;
use crate::processor::{Room, stage::Stages};

/// Batches of more bytes than this are read on a thread of their own: those that answer must not wait for a decompressor.
const LARGE: usize = 128 << 10;

/// What a batch is read by.
pub(super) struct Reading {
    pub(super) envelope: Envelope,
    pub(super) request: Bytes,
    pub(super) limits: Limits,
    /// How far ahead a time may be.
    pub(super) times: Duration,
    /// What happens to rows on the way to the tables.
    pub(super) stages: Stages,
}

/// What came of it.
pub(super) enum Read {
    /// The batch.
    Batch(Box<ReadBatch>),
    /// It becomes so many bytes in memory, more than there is room for.
    Becomes(usize),
}

/// A batch that was read.
pub(super) struct ReadBatch {
    batch: Batch,
    columns: Option<Columns>,
    by_source: Vec<SourceRows>,
    received: u64,
    /// What it becomes, and how much of it stages may add.
    becomes: usize,
    for_stages: usize,
}

impl ReadBatch {
    /// The batch with the room that it takes.
    pub(super) fn with(self, room: Room) -> Checked {
        let Self { batch, columns, by_source, received, becomes, for_stages } = self;
        let room = room.fitted(becomes, for_stages);
        let rows = columns.as_ref().map_or(0, Columns::rows) as u64;
        Checked { batch, columns, rows, by_source, received, room }
    }
}

impl Reading {
    /// Reads the batch, when it becomes no more than `room` bytes.
    pub(super) async fn run(self, room: usize) -> Result<(Self, Result<Read, Status>), Status> {
        let size = self.envelope.packed.map_or(0, |(bytes, _)| bytes).max(self.request.len());
        if size <= LARGE {
            let read = self.read(room);
            return Ok((self, read));
        }
        let reading = tokio::task::spawn_blocking(move || {
            let read = self.read(room);
            (self, read)
        });
        reading.await.map_err(|error| super::door::broken(&error))
    }

    fn read(&self, room: usize) -> Result<Read, Status> {
        let mut batch = self.decode()?;
        let received = now();
        let mut becomes = self.envelope.becomes();
        let mut for_stages = 0;
        let mut columns = match batch.payload.take() {
            None => None,
            Some(Payload::Packed(packed)) => {
                let encoded = batch::open(&packed, &self.limits).map_err(|error| refuse(&error))?;
                let rows = packed.rows as usize;
                let cost = encoded.cost().with_resource(rows, self.envelope.resource);
                check_pairs(cost.pairs, &self.limits)?;
                for_stages = self.stages.room(&encoded, batch.resource.as_ref());
                becomes = Stages::becomes(cost.bytes.saturating_add(becomes), for_stages);
                if becomes > room {
                    return Ok(Read::Becomes(becomes));
                }
                let columns = encoded.decode(&self.limits).map_err(|error| refuse(&error.into()))?;
                batch.payload = Some(Payload::Packed(packed));
                Some(columns)
            }
            Some(Payload::Rows(rows)) => {
                check_pairs(self.envelope.pairs + self.envelope.rows * self.envelope.resource, &self.limits)?;
                let columns = Columns::from_rows(&rows, received, &self.limits);
                let columns = columns.map_err(|error| refuse(&error.into()))?;
                // The journal has one form: a time that was left out is the same after a replay.
                let packed = batch::pack(&columns, &mut Compressor::new(Codec::Zstd, None));
                let packed = packed.map_err(|error| Kind::Internal.status(error.to_string()))?;
                let encoded = batch::open(&packed, &self.limits).map_err(|error| refuse(&error))?;
                for_stages = self.stages.room(&encoded, batch.resource.as_ref());
                becomes = Stages::becomes(becomes, for_stages);
                if becomes > room {
                    return Ok(Read::Becomes(becomes));
                }
                batch.payload = Some(Payload::Packed(packed));
                Some(columns)
            }
        };
        if let Some(columns) = &mut columns {
            check_rows(&batch, columns, &self.limits)?;
            columns.bound_times(received, received.saturating_add(nanos(self.times)));
        }
        let by_source = columns.as_ref().map(rows_by_source).unwrap_or_default();
        Ok(Read::Batch(Box::new(ReadBatch { batch, columns, by_source, received, becomes, for_stages })))
    }

    fn decode(&self) -> Result<Batch, Status> {
        let invalid = |text: String| Kind::InvalidArgument.status(text);
        let request = IngestRequest::decode(self.request.clone())
            .map_err(|error| invalid(format!("the message is not an IngestRequest: {error}")))?;
        let mut batch = request.batch.ok_or_else(|| invalid("batch: it is not set".to_owned()))?;
        // As the caller is known, whatever it claims.
        batch.origin = Some(self.envelope.origin.clone());
        check_numbers(&batch).map_err(|(kind, text)| kind.status(text))?;
        check_bounds(&batch).map_err(|(kind, text)| kind.status(text))?;
        let (actual, limit) = (batch.idempotency_key.len(), self.limits.max_key_bytes);
        if actual > limit {
            return Err(invalid(format!(
                "idempotency_key: it has {actual} bytes, at most {limit} are taken"
            )));
        }
        Ok(batch)
    }
}

/// As nanoseconds; more than there are in 64 bits are as many as there are.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn check_pairs(pairs: usize, limits: &Limits) -> Result<(), Status> {
    let limit = limits.max_pairs;
    if pairs <= limit {
        return Ok(());
    }
    let text = format!(
        "attributes of all rows, with those of the resource, are {pairs}, at most {limit} go into a batch"
    );
    Err(Kind::TooLarge.status(text))
}

fn check_rows(batch: &Batch, columns: &Columns, limits: &Limits) -> Result<(), Status> {
    if let Columns::Logs(logs) = columns
        && let Some((_, source)) =
            logs.source.runs().find(|(_, source)| source.bytes().len() > MAX_NAME_BYTES)
    {
        let text = format!("a source has {} bytes, at most {MAX_NAME_BYTES} are taken", source.bytes().len());
        return Err(Kind::InvalidArgument.status(text));
    }
    let resource = resource_of(batch, limits)?;
    rows::check(columns, &resource).map_err(|error| Kind::TooLarge.status(error.to_string()))
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

pub(super) fn refuse(error: &BatchError) -> Status {
    let kind = if error.is_too_large() { Kind::TooLarge } else { Kind::InvalidArgument };
    kind.status(error.to_string())
}

fn resource_of(batch: &Batch, limits: &Limits) -> Result<Attributes, Status> {
    let Some(resource) = &batch.resource else { return Ok(Attributes::default()) };
    Attributes::from_map(&resource.attributes, limits)
        .map_err(|error| Kind::InvalidArgument.status(format!("resource: {error}")))
}
