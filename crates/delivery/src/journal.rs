//! Records of the journal: batches, leases, snapshots of what agents delivered, who was forgotten, and what is not stored. docs/formats/journal.md draws them.

use bytes::{Bytes, BytesMut};
use lapwing::v1::{Batch, SourcePosition};
use prost::Message;
use thiserror::Error;

use crate::accounts::{AccountsRecord, SourceRows};

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A batch, as it is to be stored.
    Batch(Box<BatchRecord>),
    /// An agent's run took over.
    Lease(LeaseRecord),
    /// What some agents had delivered at this moment; it replaces what was known of them.
    Snapshot(SnapshotRecord),
    /// Senders that were away for so long that nothing of them is kept.
    Forget(ForgetRecord),
    /// The rows of a batch could not be made, and are not stored.
    LeftOut(LeftOutRecord),
}

/// What a record does to the state of one sender.
#[derive(Debug, Clone, Copy)]
pub enum Move<'a> {
    /// A batch was delivered.
    Batch(&'a BatchRecord),
    /// A run took over.
    Lease(&'a LeaseRecord),
    /// The state is this one, or this is a part of it.
    Whole(&'a AgentRecord),
    /// Nothing is known any more.
    Forget,
    /// Rows that were booked as journaled are dropped.
    LeftOut(&'a LeftOutRecord),
}

/// A batch and when it came.
#[derive(Clone, PartialEq, Message)]
pub struct BatchRecord {
    /// The batch; its origin names the agent, its payload is packed.
    #[prost(message, optional, tag = "1")]
    pub batch: Option<Batch>,
    /// When it came, nanoseconds since the Unix epoch.
    #[prost(fixed64, tag = "2")]
    pub received_unix_nano: u64,
    /// Whose state it moves.
    #[prost(string, tag = "3")]
    pub sender: String,
    /// Its rows by source.
    #[prost(message, repeated, tag = "4")]
    pub rows: Vec<SourceRows>,
}

/// A lease.
#[derive(Clone, PartialEq, Message)]
pub struct LeaseRecord {
    /// The agent.
    #[prost(string, tag = "1")]
    pub agent_id: String,
    /// The epoch that is live from now on.
    #[prost(fixed64, tag = "2")]
    pub epoch: u64,
    /// When it was given, nanoseconds since the Unix epoch.
    #[prost(fixed64, tag = "3")]
    pub received_unix_nano: u64,
    /// Its random number; 0 in records of before it had one.
    #[prost(fixed64, tag = "4")]
    pub number: u64,
}

/// Senders that are gone.
#[derive(Clone, PartialEq, Message)]
pub struct ForgetRecord {
    /// Who.
    #[prost(string, repeated, tag = "1")]
    pub senders: Vec<String>,
}

/// Rows of a batch that are not stored.
#[derive(Clone, PartialEq, Message)]
pub struct LeftOutRecord {
    /// Whose state it moves.
    #[prost(string, tag = "1")]
    pub sender: String,
    /// The agent that the batch names.
    #[prost(string, tag = "2")]
    pub agent_id: String,
    /// The journal record of the batch.
    #[prost(uint64, tag = "3")]
    pub index: u64,
    /// Its rows by source.
    #[prost(message, repeated, tag = "4")]
    pub rows: Vec<SourceRows>,
}

/// A part of a snapshot.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotRecord {
    /// Agents, each whole or a part of one that is large.
    #[prost(message, repeated, tag = "1")]
    pub agents: Vec<AgentRecord>,
}

/// What an agent delivered.
#[derive(Clone, PartialEq, Message)]
pub struct AgentRecord {
    /// The agent.
    #[prost(string, tag = "1")]
    pub agent_id: String,
    /// Its epochs, the live one last.
    #[prost(fixed64, repeated, tag = "2")]
    pub epochs: Vec<u64>,
    /// Highest durable sequence of the live epoch.
    #[prost(uint64, tag = "3")]
    pub durable: u64,
    /// Digests of the newest sequences, the newest last.
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub digests: Vec<Bytes>,
    /// Positions of its sources.
    #[prost(message, repeated, tag = "5")]
    pub positions: Vec<SourcePosition>,
    /// Idempotency keys.
    #[prost(message, repeated, tag = "6")]
    pub keys: Vec<KeyRecord>,
    /// Its books.
    #[prost(message, optional, tag = "7")]
    pub accounts: Option<AccountsRecord>,
    /// Whether a numbered batch of it was ever durable. Older snapshots do not say it.
    #[prost(bool, tag = "20")]
    pub has_delivered: bool,
    /// The epoch before the live one; 0 for none.
    #[prost(fixed64, tag = "21")]
    pub previous_epoch: u64,
    /// Highest durable sequence of that epoch.
    #[prost(uint64, tag = "22")]
    pub previous_durable: u64,
    /// Number of the live lease; 0 when it has none.
    #[prost(fixed64, tag = "23")]
    pub lease: u64,
    /// Journal records whose rows are booked as left out, the newest last.
    #[prost(uint64, repeated, tag = "24")]
    pub left_out: Vec<u64>,
    /// When it last delivered something or took a lease, nanoseconds since the Unix epoch.
    #[prost(fixed64, tag = "8")]
    pub last_seen_unix_nano: u64,
    /// Another record holds further positions, keys and accounts of this snapshot.
    #[prost(bool, tag = "9")]
    pub has_more: bool,
    /// This is what the record before it announced with `has_more`.
    #[prost(bool, tag = "10")]
    pub continues: bool,
}

/// An idempotency key.
#[derive(Clone, PartialEq, Message)]
pub struct KeyRecord {
    /// The key, as earlier versions wrote it.
    #[prost(string, tag = "1")]
    pub key: String,
    /// When it came, nanoseconds since the Unix epoch.
    #[prost(fixed64, tag = "2")]
    pub received_unix_nano: u64,
    /// XXH3-128 of the key, big endian.
    #[prost(bytes = "bytes", tag = "3")]
    pub hash: Bytes,
}

/// Why bytes are not a record.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Written by a newer program.
    #[error("journal records of kind {0} are not known to this program; use the newer one that wrote them")]
    Kind(u8),
    /// Not the message its kind stands for.
    #[error("journal record: {0}")]
    Message(#[from] prost::DecodeError),
}

const BATCH: u8 = 1;
const LEASE: u8 = 2;
const SNAPSHOT: u8 = 3;
const FORGET: u8 = 4;
const LEFT_OUT: u8 = 5;

impl Record {
    /// A byte for the kind, then the message.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Batch(message) => encode(BATCH, message.as_ref()),
            Self::Lease(message) => encode(LEASE, message),
            Self::Snapshot(message) => encode(SNAPSHOT, message),
            Self::Forget(message) => encode(FORGET, message),
            Self::LeftOut(message) => encode(LEFT_OUT, message),
        }
    }

    /// Whose states it moves, and how.
    pub fn moves(&self) -> Vec<(&str, Move<'_>)> {
        match self {
            Self::Batch(record) => vec![(&record.sender, Move::Batch(record))],
            Self::Lease(lease) => vec![(&lease.agent_id, Move::Lease(lease))],
            Self::Snapshot(snapshot) => {
                snapshot.agents.iter().map(|agent| (agent.agent_id.as_str(), Move::Whole(agent))).collect()
            }
            Self::LeftOut(record) => vec![(&record.sender, Move::LeftOut(record))],
            Self::Forget(gone) => gone.senders.iter().map(|id| (id.as_str(), Move::Forget)).collect(),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When it is none: the journal was written by a newer program.
    pub fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        let kind = bytes.first().copied().unwrap_or_default();
        let message = bytes.slice(bytes.len().min(1)..);
        match kind {
            BATCH => Ok(Self::Batch(Box::new(BatchRecord::decode(message)?))),
            LEASE => Ok(Self::Lease(LeaseRecord::decode(message)?)),
            SNAPSHOT => Ok(Self::Snapshot(SnapshotRecord::decode(message)?)),
            FORGET => Ok(Self::Forget(ForgetRecord::decode(message)?)),
            LEFT_OUT => Ok(Self::LeftOut(LeftOutRecord::decode(message)?)),
            other => Err(RecordError::Kind(other)),
        }
    }
}

fn encode(kind: u8, message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(message.encoded_len() + 1);
    bytes.extend_from_slice(&[kind]);
    // A BytesMut grows as it must: there is no way for this to fail.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}
