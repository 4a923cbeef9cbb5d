//! Batches that book what they like, or become far more than they weigh.

use anyhow::{Result, ensure};
use bytes::Bytes;
use lapwing::{
    batch,
    codec::Compressor,
    columns::{Attributes, Bodies, Column, Columns, LogColumns, Text},
    v1::{
        Batch, Codec, Histogram, LogRecord, MetricPoint, Origin, Packed, ResumeRequest, Rows, Signal,
        SourcePosition, batch::Payload, ingest_service_client::IngestServiceClient,
        source_position::Position,
    },
};
use tonic::Code;

use super::{Answers, Attack, send, sender};
use crate::hostile::field::{Client, Field, Who};

const EVIL: Who = Who::Agent("evil");

pub(super) const ALL: &[Attack] = &[
    Attack::new("counts", "an agent", "positions with counts near 2^64, five ways", counts).short(),
    Attack::new("empty-records", "an agent or user", "2,090,000 empty records in 4 MB", |field| {
        repeat(
            field,
            Who::User,
            &[rows(Rows { logs: vec![LogRecord::default(); 2_090_000], ..Rows::default() })],
        )
    }),
    Attack::new("empty-histograms", "an agent or user", "1,000,000 empty histograms in 4 MB", |field| {
        let point = MetricPoint { histogram: Some(Histogram::default()), ..MetricPoint::default() };
        repeat(field, Who::User, &[rows(Rows { metrics: vec![point; 1_000_000], ..Rows::default() })])
    }),
    Attack::new("empty-positions", "an agent", "2,090,000 empty positions in 4 MB", |field| {
        let positions = vec![SourcePosition::default(); 2_090_000];
        repeat(field, EVIL, &[Batch { positions, ..Batch::default() }])
    }),
    Attack::new(
        "run-lengths",
        "an agent or user",
        "run lengths: a million rows in 100 bytes, with 0, 8 and 128 attributes each",
        run_lengths,
    )
    .short(),
    Attack::new(
        "bombs",
        "an agent or user",
        "32 MB of zeros in each codec, and ten times as much as declared",
        bombs,
    ),
    Attack::new(
        "many-fields",
        "an agent or user",
        "lines of JSON with a hundred fields each, 1.2 million in a batch of some KB on the wire",
        many_fields,
    )
    .short(),
    Attack::new("mutated", "an agent or user", "batches with bytes changed by chance", mutated).short(),
];

fn rows(rows: Rows) -> Batch {
    Batch { payload: Some(Payload::Rows(rows)), ..Batch::default() }
}

fn repeat(field: &Field, who: Who, batches: &[Batch]) -> Result<String> {
    Ok(super::flood(field, who, 6, batches)?.shown())
}

fn counts(field: &Field) -> Result<String> {
    let last = u64::MAX;
    let position = |source: &str, change: fn(&mut SourcePosition)| {
        let mut position = SourcePosition {
            source: source.to_owned(),
            display_name: "x".to_owned(),
            position: Some(Position::SpoolIndex(1)),
            ..SourcePosition::default()
        };
        change(&mut position);
        position
    };
    let dropped = |position: &mut SourcePosition| {
        position.events_dropped = [("a".to_owned(), u64::MAX), ("b".to_owned(), u64::MAX)].into();
    };
    let ways = [
        vec![
            position("a", |p| p.events_truncated = u64::MAX),
            position("b", |p| p.events_truncated = u64::MAX),
        ],
        vec![position("a", |p| p.events_read = u64::MAX), position("b", |p| p.events_read = u64::MAX - 1)],
        vec![position("a", dropped), position("b", dropped)],
        vec![position("a", |p| p.events_read = 1), position("a", |p| p.events_read = 0)],
        vec![position("a", |p| p.position = Some(Position::SpoolIndex(u64::MAX)))],
    ];
    let mut client = sender(field, EVIL)?;
    let mut answers = Answers::default();
    let mut epoch = 0;
    while field.goes_on() {
        for positions in &ways {
            epoch += 1;
            let sequence = if epoch % 3 == 0 { last } else { 1 };
            let code = field.runtime.block_on(numbered(&mut client, epoch, sequence, positions.clone()));
            answers.add(code);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    ensure!(answers.all() >= 5, "too few batches were sent: {}", answers.shown());
    Ok(answers.shown())
}

/// Takes a lease and sends one batch that only moves positions.
async fn numbered(
    client: &mut IngestServiceClient<Client>,
    epoch: u64,
    sequence: u64,
    positions: Vec<SourcePosition>,
) -> Code {
    let request = ResumeRequest { agent_id: "evil".to_owned(), epoch, ..ResumeRequest::default() };
    if let Err(status) = client.resume(request).await {
        return status.code();
    }
    let origin = Origin { agent_id: "evil".to_owned(), epoch, sequence, ..Origin::default() };
    send(client, Batch { origin: Some(origin), positions, ..Batch::default() }).await
}

fn run_lengths(field: &Field) -> Result<String> {
    let attributes = |pairs: usize| (0..pairs).map(|n| (format!("key-{n}"), "v".to_owned())).collect();
    let batches = [(1 << 20, 0), (1 << 20, 8), (62_000, 128), (84_000, 128)]
        .map(|(rows, pairs)| packed_logs(rows, attributes(pairs)));
    repeat(field, Who::User, &batches.into_iter().collect::<Result<Vec<_>>>()?)
}

/// So many empty lines, all with the same attributes.
fn packed_logs(rows: usize, attributes: Attributes) -> Result<Batch> {
    let logs = LogColumns {
        time: Column::constant(rows, 1),
        observed_time: Column::constant(rows, 1),
        severity_number: Column::constant(rows, 0),
        severity_text: Column::constant(rows, Text::default()),
        source: Column::constant(rows, Text::from("evil")),
        attributes: Column::constant(rows, attributes),
        bodies: Bodies::Lines { rows: rows as u32, data: Bytes::from(vec![b'\n'; rows]) },
    };
    let packed = batch::pack(&Columns::Logs(logs), &mut Compressor::new(Codec::Zstd, None))?;
    Ok(Batch { payload: Some(Payload::Packed(packed)), ..Batch::default() })
}

fn many_fields(field: &Field) -> Result<String> {
    const LINES: u32 = 12_000;
    let batches = [":", " : "].map(|colon| {
        let fields: Vec<String> = (0..100).map(|n| format!("\"k{n}\"{colon}{n}")).collect();
        let text = format!("{{\"level\":\"info\",{}}}\n", fields.join(",")).repeat(LINES as usize);
        let logs = LogColumns::lines(Text::from("evil"), lapwing_service::clock::now(), LINES, text.into());
        let packed = batch::pack(&Columns::Logs(logs), &mut Compressor::new(Codec::Zstd, None))?;
        Ok(Batch { payload: Some(Payload::Packed(packed)), ..Batch::default() })
    });
    repeat(field, Who::User, &batches.into_iter().collect::<Result<Vec<_>>>()?)
}

fn bombs(field: &Field) -> Result<String> {
    let zeros = vec![0; 32 << 20];
    let bombs = [Codec::Zstd, Codec::Lz4, Codec::Snappy, Codec::Gzip].into_iter().flat_map(|codec| {
        let data = Compressor::new(codec, None).compress(&[&zeros]).ok();
        [32 << 20, 3 << 20].into_iter().filter_map(move |declared| {
            let data = data.clone().filter(|data| data.len() < 4_000_000)?;
            let packed = Packed {
                codec: codec.into(),
                signal: Signal::Logs.into(),
                rows: 1,
                uncompressed_size: declared,
                data,
            };
            Some(Batch { payload: Some(Payload::Packed(packed)), ..Batch::default() })
        })
    });
    repeat(field, Who::User, &bombs.collect::<Vec<_>>())
}

fn mutated(field: &Field) -> Result<String> {
    let good = packed_logs(500, [("k", "v")].into_iter().collect())?;
    let Some(Payload::Packed(packed)) = &good.payload else { anyhow::bail!("it is packed") };
    let mut random = crate::random::Random::new(7);
    let batches: Vec<Batch> = (0..200)
        .map(|_| {
            let mut packed = packed.clone();
            let mut data = packed.data.to_vec();
            for _ in 0..random.within(1..8) {
                let place = random.within(0..data.len() as u64) as usize;
                data[place] = random.within(0..256) as u8;
            }
            packed.data = data.into();
            Batch { payload: Some(Payload::Packed(packed)), ..Batch::default() }
        })
        .collect();
    repeat(field, Who::User, &batches)
}
