//! What the collector and its query process say to each other, over the pipes of its standard input and output.
//!
//! A frame is a byte that says what it is, the length of its payload in four bytes (little endian), and the payload. Both ends
//! are the same program, so the format has no version.

use std::io::{self, Read, Write};

use arrow::{
    buffer::Buffer, datatypes::SchemaRef, error::ArrowError, ipc::reader::StreamDecoder,
    record_batch::RecordBatch,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{engine::QueryError, store::LakeAt};

/// To the process: a [`Question`].
pub(super) const ASK: u8 = 1;
/// To the process: a piece of the Arrow stream of the next need.
pub(super) const ROWS: u8 = 2;
/// To the process: the rows of a need are complete.
pub(super) const ROWS_END: u8 = 3;
/// From the process: it waits for a question.
pub(super) const READY: u8 = 16;
/// From the process: the needs of the query, in the order in which they are to be sent.
pub(super) const NEEDS: u8 = 17;
/// From the process: a piece of the answer's Arrow stream.
pub(super) const ANSWER: u8 = 18;
/// From the process: the answer is complete; an [`End`].
pub(super) const END: u8 = 19;
/// From the process: there is no answer; a [`QueryError`].
pub(super) const FAILED: u8 = 20;

/// Largest frame from the process: its answers come in smaller pieces.
pub(super) const MAX_FROM_CHILD: usize = 16 << 20;
/// Largest frame to the process: a batch of rows in memory.
pub(super) const MAX_TO_CHILD: usize = 1 << 30;

/// One query.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) query: String,
    pub(super) max_rows: usize,
    pub(super) lake: Option<LakeAt>,
    /// Bytes that the process may add to what it has.
    pub(super) memory: usize,
    /// A query that lacks memory is asked once more, with more of it, unless a part of its answer has left.
    pub(super) may_be_repeated: bool,
}

/// The end of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) truncated: bool,
}

/// A frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
}

fn head(kind: u8, payload: &[u8]) -> io::Result<[u8; 5]> {
    let length =
        u32::try_from(payload.len()).map_err(|_| io::Error::other("a frame is larger than 4 GiB"))?;
    let [a, b, c, d] = length.to_le_bytes();
    Ok([kind, a, b, c, d])
}

fn length(head: [u8; 5], limit: usize) -> io::Result<usize> {
    let [_, a, b, c, d] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > limit {
        return Err(io::Error::other(format!("a frame of {length} bytes; at most {limit} are accepted")));
    }
    Ok(length)
}

/// Writes a frame.
pub(super) fn write(to: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    to.write_all(&head(kind, payload)?)?;
    to.write_all(payload)?;
    to.flush()
}

/// Reads a frame; `None` at the end.
pub(super) fn read(from: &mut impl Read, limit: usize) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    match from.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut payload = vec![0; length(head, limit)?];
    from.read_exact(&mut payload)?;
    Ok(Some(Frame { kind: head[0], payload }))
}

/// Writes a frame.
pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), kind: u8, payload: &[u8]) -> io::Result<()> {
    to.write_all(&head(kind, payload)?).await?;
    to.write_all(payload).await
}

/// Reads a frame.
pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<Frame> {
    let mut head = [0; 5];
    from.read_exact(&mut head).await?;
    let mut payload = vec![0; length(head, limit)?];
    from.read_exact(&mut payload).await?;
    Ok(Frame { kind: head[0], payload })
}

/// Pieces of an Arrow stream as batches.
#[derive(Debug, Default)]
pub(super) struct Joined(StreamDecoder);

impl Joined {
    /// The columns, when the first piece was read.
    pub(super) fn schema(&self) -> Option<SchemaRef> {
        self.0.schema()
    }

    /// The batches of a piece.
    pub(super) fn read(&mut self, piece: Vec<u8>) -> Result<Vec<RecordBatch>, ArrowError> {
        let mut buffer = Buffer::from_vec(piece);
        let mut batches = Vec::new();
        while !buffer.is_empty() {
            batches.extend(self.0.decode(&mut buffer)?);
        }
        Ok(batches)
    }
}

/// JSON of a frame.
pub(super) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// What a frame's JSON says.
pub(super) fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, QueryError> {
    serde_json::from_slice(payload)
        .map_err(|error| QueryError::Failed(format!("a message between processes: {error}")))
}
