//! What records hold: the journal's kinds, and the agent's metrics.

use bytes::Bytes;
use lapwing::{
    batch, codec,
    columns::Columns,
    v1::{Batch, Codec, Signal, batch::Payload},
};
use lapwing_delivery::journal::{BatchRecord, Record};

use crate::{rows, time};

/// Bytes before the columns of a record of the agent's spool: number of rows, number of the first one.
const POINTS_HEADER: usize = 12;

/// What a record holds.
#[derive(Debug)]
pub(super) enum Contents {
    /// The journal's.
    Journal(Record),
    /// Metric points, and the number of the first one.
    Points(u64, Box<Columns>),
    /// Nothing that this program knows.
    Unknown,
}

impl Contents {
    /// Reads a payload. A record of the agent's begins with its number of rows in four bytes, the journal's with its kind in one:
    /// what is read as the one in full is not the other.
    pub(super) fn of(payload: &Bytes) -> Self {
        if let Some((first, columns)) = points(payload) {
            return Self::Points(first, Box::new(columns));
        }
        Record::decode(payload).map_or(Self::Unknown, Self::Journal)
    }

    /// In a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Journal(Record::Batch(_)) => "batch",
            Self::Journal(Record::Lease(_)) => "lease",
            Self::Journal(Record::Snapshot(_)) => "snapshot",
            Self::Journal(Record::Forget(_)) => "forget",
            Self::Journal(Record::LeftOut(_)) => "left-out",
            Self::Points(..) => "metrics",
            Self::Unknown => "unknown",
        }
    }

    /// In more words.
    pub(super) fn about(&self) -> String {
        match self {
            Self::Journal(Record::Batch(record)) => about_batch(record),
            Self::Journal(Record::Lease(lease)) => {
                format!("agent {}, epoch {:016x}", lease.agent_id, lease.epoch)
            }
            Self::Journal(Record::Snapshot(snapshot)) => {
                let agents: Vec<&str> = snapshot.agents.iter().map(|agent| &*agent.agent_id).collect();
                format!("agents {}", agents.join(", "))
            }
            Self::Journal(Record::Forget(gone)) => format!("agents {}", gone.senders.join(", ")),
            Self::Journal(Record::LeftOut(record)) => {
                format!("agent {}, the rows of record {}", record.agent_id, record.index)
            }
            Self::Points(first, _) => format!("points from number {first} on"),
            Self::Unknown => String::new(),
        }
    }

    /// How many rows.
    pub(super) fn rows(&self) -> u64 {
        match self {
            Self::Journal(Record::Batch(record)) => match payload(record) {
                Some(Payload::Packed(packed)) => u64::from(packed.rows),
                Some(Payload::Rows(rows)) => (rows.logs.len() + rows.metrics.len() + rows.flows.len()) as u64,
                None => 0,
            },
            Self::Points(_, columns) => columns.rows() as u64,
            _ => 0,
        }
    }

    /// The rows as lines of JSON; none where a record has no rows.
    pub(super) fn json(&self) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Journal(Record::Batch(record)) => {
                let batch = record.batch.clone().unwrap_or_default();
                match batch::columns_of(&batch, record.received_unix_nano, &rows::limits())? {
                    Some(columns) => Ok(rows::json(&columns, host(&batch))?),
                    None => Ok(Vec::new()),
                }
            }
            Self::Points(_, columns) => Ok(rows::json(columns, "")?),
            Self::Journal(_) => Ok(Vec::new()),
            Self::Unknown => anyhow::bail!("what it holds is not known to this program"),
        }
    }
}

fn points(payload: &Bytes) -> Option<(u64, Columns)> {
    let rows = u32::from_le_bytes(payload.get(..4)?.try_into().ok()?);
    let first = u64::from_le_bytes(payload.get(4..POINTS_HEADER)?.try_into().ok()?);
    let columns = Columns::decode(payload.slice(POINTS_HEADER..), Signal::Metrics, rows, &rows::limits());
    Some((first, columns.ok()?))
}

fn payload(record: &BatchRecord) -> Option<&Payload> {
    record.batch.as_ref()?.payload.as_ref()
}

fn host(batch: &Batch) -> &str {
    let attributes = batch.resource.as_ref().map(|resource| &resource.attributes);
    attributes.and_then(|attributes| attributes.get("host.name")).map_or("", |host| host)
}

/// `agent web-1, epoch 9f4c…, sequence 12, logs, zstd, received 2026-…`
fn about_batch(record: &BatchRecord) -> String {
    let batch = record.batch.as_ref();
    let origin = batch.and_then(|batch| batch.origin.clone()).unwrap_or_default();
    let mut parts = vec![format!("agent {}", origin.agent_id)];
    if origin.epoch == 0 {
        parts.push(format!("without number, of {}", record.sender));
    } else {
        parts.push(format!("epoch {:016x}, sequence {}", origin.epoch, origin.sequence));
    }
    match payload(record) {
        Some(Payload::Packed(packed)) => {
            let signal = match packed.signal() {
                Signal::Logs => "logs",
                Signal::Metrics => "metrics",
                Signal::Flows => "flows",
                Signal::Unspecified => "no signal",
            };
            let codec = Codec::try_from(packed.codec).map_or("unknown codec", codec::name);
            parts.push(format!("{signal}, {codec}"));
        }
        Some(Payload::Rows(_)) => parts.push("plain rows".to_owned()),
        None => {
            let cause = batch.map_or("", |batch| &batch.dropped_cause);
            parts.push(if cause.is_empty() {
                "positions only".to_owned()
            } else {
                format!("dropped: {cause}")
            });
        }
    }
    parts.push(format!("received {}", time::rfc3339_millis(record.received_unix_nano)));
    parts.join(", ")
}

#[cfg(test)]
pub(super) mod tests {
    use lapwing::{
        codec::Compressor,
        limits::Limits,
        v1::{LogRecord, MetricPoint, Origin, Rows, log_record::Content},
    };
    use lapwing_delivery::journal::LeaseRecord;

    use super::*;

    /// A journal's record with one log line.
    pub(crate) fn batch(body: &str) -> Bytes {
        let content = Some(Content::Body(body.to_owned()));
        let rows = Rows { logs: vec![LogRecord { content, ..LogRecord::default() }], ..Rows::default() };
        let columns = Columns::from_rows(&rows, 5, &Limits::default()).unwrap();
        let packed = batch::pack(&columns, &mut Compressor::new(Codec::Lz4, None)).unwrap();
        let origin = Origin { agent_id: "web-1".to_owned(), epoch: 0xab, sequence: 3, ..Origin::default() };
        let batch =
            Batch { origin: Some(origin), payload: Some(Payload::Packed(packed)), ..Batch::default() };
        let record = BatchRecord { batch: Some(batch), sender: "web-1".to_owned(), ..BatchRecord::default() };
        Record::Batch(Box::new(record)).encode()
    }

    #[test]
    fn a_batch_tells_its_number_and_its_rows() {
        let contents = Contents::of(&batch("hello"));
        assert_eq!((contents.kind(), contents.rows()), ("batch", 1));
        let about = contents.about();
        assert!(
            about.starts_with("agent web-1, epoch 00000000000000ab, sequence 3, logs, lz4, received "),
            "{about}"
        );
        let lines = contents.json().unwrap();
        assert!(lines.len() == 1 && lines[0].contains(r#""body":"hello""#), "{lines:?}");
    }

    #[test]
    fn the_agents_points_are_told_from_the_journals_records() {
        let point = MetricPoint { name: "cpu".to_owned(), kind: 1, value: 2.0, ..MetricPoint::default() };
        // As many rows as a batch's kind is: the first byte alone does not tell.
        let rows = Rows { metrics: vec![point], ..Rows::default() };
        let columns = Columns::from_rows(&rows, 5, &Limits::default()).unwrap();
        let mut record = [&1_u32.to_le_bytes()[..], &7_u64.to_le_bytes()].concat();
        columns.encode_head(0, &mut record);
        let contents = Contents::of(&record.into());
        assert_eq!((contents.kind(), contents.rows()), ("metrics", 1));
        assert_eq!(contents.about(), "points from number 7 on");
        assert!(contents.json().unwrap()[0].contains(r#""name":"cpu""#));
    }

    #[test]
    fn a_lease_has_no_rows_and_what_is_not_known_is_told() {
        let lease =
            Record::Lease(LeaseRecord { agent_id: "a".to_owned(), epoch: 1, ..LeaseRecord::default() })
                .encode();
        let contents = Contents::of(&lease);
        assert_eq!((contents.kind(), contents.rows()), ("lease", 0));
        assert!(contents.json().unwrap().is_empty());
        let unknown = Contents::of(&Bytes::from_static(b"\xffwhatever"));
        assert_eq!(unknown.kind(), "unknown");
        assert!(unknown.json().is_err());
    }
}
