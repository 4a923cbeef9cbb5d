//! A well-behaved agent: numbered batches at a steady rate, each sent until it is acknowledged.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::Result;
use lapwing::{
    batch,
    codec::Compressor,
    columns::{Columns, LogColumns, Text},
    v1::{
        Batch, Codec, FilePosition, IngestRequest, Origin, ResumeRequest, SourcePosition, batch::Payload,
        ingest_service_client::IngestServiceClient, source_position::Position,
    },
};
use lapwing_service::clock::now;
use tonic::Code;

use super::{attacks::Answers, field::Client};
use crate::line;

/// File id of its lines.
pub(super) const FILE: u32 = 1;
/// Time between two batches.
const TICK: Duration = Duration::from_millis(20);
/// Lines of a batch: 10,000 a second.
const LINES: u64 = 200;
/// Most batches of a shipment.
const SHIPMENT: usize = 32;
/// How long it goes on for what is not acknowledged at the end.
const PATIENCE: Duration = Duration::from_secs(60);
const SOURCE: &str = "/var/log/good.log";

/// The agent.
#[derive(Debug)]
pub(super) struct GoodAgent {
    client: IngestServiceClient<Client>,
    epoch: u64,
    sequence: u64,
    lines: u64,
    bytes: u64,
    acknowledged: u64,
    compressor: Compressor,
}

/// How it went.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Lines acknowledged a second, of those that were due.
    pub rate: f64,
    /// From when a batch was due until it was acknowledged, in order of size.
    pub latencies: Vec<Duration>,
    /// What the collector answered.
    pub answers: Answers,
}

impl Pace {
    /// The time within which 99 of 100 batches were acknowledged.
    pub fn p99(&self) -> Duration {
        let place = self.latencies.len() * 99 / 100;
        self.latencies.get(place).or(self.latencies.last()).copied().unwrap_or(Duration::MAX)
    }
}

impl GoodAgent {
    /// Takes a lease.
    pub(super) async fn new(client: Client) -> Result<Self> {
        let mut client = IngestServiceClient::new(client);
        let epoch = 1 + u64::from(std::process::id());
        let request = ResumeRequest { agent_id: "good".to_owned(), epoch, ..ResumeRequest::default() };
        client.resume(request).await?;
        let compressor = Compressor::new(Codec::Zstd, None);
        Ok(Self { client, epoch, sequence: 0, lines: 0, bytes: 0, acknowledged: 0, compressor })
    }

    /// Lines that the collector has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Sends at its rate for so long, then what is left.
    pub(super) async fn send_for(&mut self, span: Duration) -> Pace {
        let started = Instant::now();
        let mut pace = Pace::default();
        let mut waiting: VecDeque<(Instant, Batch)> = VecDeque::new();
        let mut due = started;
        let mut in_time = 0;
        loop {
            while due <= Instant::now() && due < started + span {
                waiting.push_back((due, self.next_batch()));
                due += TICK;
            }
            if waiting.is_empty() {
                if due >= started + span {
                    break;
                }
                tokio::time::sleep_until(due.into()).await;
                continue;
            }
            if started.elapsed() > span + PATIENCE {
                break;
            }
            let shipment: Vec<_> =
                waiting.iter().take(SHIPMENT).map(|(_, batch)| batch.clone()).map(request).collect();
            let sent = shipment.len();
            match self.client.ingest(tokio_stream::iter(shipment)).await {
                Ok(_) => {
                    pace.answers.add(Code::Ok);
                    let done = waiting.drain(..sent);
                    pace.latencies.extend(done.map(|(due, _)| due.elapsed()));
                    self.acknowledged += sent as u64 * LINES;
                    in_time += if started.elapsed() <= span + TICK * 5 { sent as u64 * LINES } else { 0 };
                }
                Err(status) => {
                    pace.answers.add(status.code());
                    tokio::time::sleep(TICK).await;
                }
            }
        }
        // What was never acknowledged counts as late as it is.
        pace.latencies.extend(waiting.iter().map(|(due, _)| due.elapsed()));
        pace.latencies.sort_unstable();
        pace.rate = in_time as f64 / span.as_secs_f64();
        pace
    }

    fn next_batch(&mut self) -> Batch {
        let from = self.lines;
        self.lines += LINES;
        self.sequence += 1;
        let text: String = (from..self.lines).map(|n| line::line(FILE, n) + "\n").collect();
        self.bytes += text.len() as u64;
        let logs = LogColumns::lines(Text::from(SOURCE), now(), LINES as u32, text.into());
        // Compressing into memory has no error to report; a batch without a payload would show as lost lines.
        let packed = batch::pack(&Columns::Logs(logs), &mut self.compressor).ok();
        let digest = packed.as_ref().map(batch::digest).unwrap_or_default();
        let position = FilePosition { offset: self.bytes, inode: 1, ..FilePosition::default() };
        Batch {
            origin: Some(Origin {
                agent_id: "good".to_owned(),
                epoch: self.epoch,
                sequence: self.sequence,
                ..Origin::default()
            }),
            digest,
            positions: vec![SourcePosition {
                source: "file:1".to_owned(),
                display_name: SOURCE.to_owned(),
                position: Some(Position::File(position)),
                events_read: self.lines,
                ..SourcePosition::default()
            }],
            payload: packed.map(Payload::Packed),
            ..Batch::default()
        }
    }
}

fn request(batch: Batch) -> IngestRequest {
    IngestRequest { batch: Some(batch), ..IngestRequest::default() }
}
