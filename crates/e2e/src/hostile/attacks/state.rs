//! Things that the collector is made to remember.

use std::time::Duration;

use anyhow::{Result, ensure};
use lapwing::{
    undecoded::Undecoded,
    v1::{
        Batch, FilePosition, LogRecord, Origin, ResumeRequest, Rows, SourcePosition, batch::Payload,
        ingest_service_client::IngestServiceClient, log_record::Content, source_position::Position,
    },
};
use tonic::{Code, Status, Streaming, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;

use super::{Answers, Attack, send, sender};
use crate::hostile::field::{Client, Field, Who};

pub(super) const ALL: &[Attack] = &[
    Attack::new(
        "long-sources",
        "an agent or user",
        "2,000 source names of 16 kB in a batch, again and again",
        |field| by_user(field, |round| logs((0..200).map(|n| format!("{:x>16000}", round * 200 + n)))),
    ),
    Attack::new("many-sources", "an agent or user", "25,000 new sources a batch, again and again", |field| {
        by_user(field, |round| logs((0..25_000).map(|n| format!("s{}", round * 25_000 + n))))
    })
    .short(),
    Attack::new(
        "keys",
        "an agent or user",
        "a new idempotency key of 256 bytes with each small batch",
        |field| {
            by_user(field, |round| {
                let key = format!("{round:k>256}");
                Batch { idempotency_key: key, ..logs(["keyed".to_owned()].into_iter()) }
            })
        },
    ),
    Attack {
        // A journal that is soon full unless it is trimmed.
        collector: "journal_max_bytes = 67108864",
        ..Attack::new(
            "positions",
            "an agent",
            "4,000 positions a batch, again and again: new names of 200 bytes, and known ones that move",
            positions,
        )
    },
    Attack::new("too-many-positions", "an agent", "10,000 new positions a batch, again and again", |field| {
        by_agent(field, |round| (round * 10_000..(round + 1) * 10_000).map(position).collect())
    }),
    Attack::new(
        "resumes",
        "an agent",
        "40,000 positions, and lease after lease whose answer, with all of them, is not read",
        resumes,
    )
    .short(),
    Attack::new("causes", "an agent", "1,000 new causes of drops a batch, again and again", causes),
];

fn logs(sources: impl Iterator<Item = String>) -> Batch {
    let record =
        |source| LogRecord { source, content: Some(Content::Body("x".to_owned())), ..LogRecord::default() };
    let rows = Rows { logs: sources.map(record).collect(), ..Rows::default() };
    Batch { payload: Some(Payload::Rows(rows)), ..Batch::default() }
}

fn by_user(field: &Field, batch: fn(usize) -> Batch) -> Result<String> {
    let mut client = sender(field, Who::User)?;
    let mut answers = Answers::default();
    let mut round = 0;
    while field.goes_on() {
        answers.add(field.runtime.block_on(send(&mut client, batch(round))));
        round += 1;
    }
    ensure!(answers.all() >= 3, "too few batches were sent: {}", answers.shown());
    Ok(answers.shown())
}

fn position(n: u64) -> SourcePosition {
    SourcePosition {
        source: format!("file:{n:x}"),
        display_name: format!("/var/log/{n}.log"),
        position: Some(Position::File(FilePosition { offset: n, ..FilePosition::default() })),
        ..SourcePosition::default()
    }
}

fn positions(field: &Field) -> Result<String> {
    by_agent(field, |round| {
        // New ones are refused when no more are remembered; those that are remembered go on.
        let first = if round % 2 == 0 { round / 2 } else { round / 2 % 4 } * 4_000;
        let moved = |n| SourcePosition {
            display_name: format!("/var/log/{n:0>190}"),
            position: Some(Position::File(FilePosition { offset: round, ..FilePosition::default() })),
            ..position(n)
        };
        (first..first + 4_000).map(moved).collect()
    })
}

/// Answers that may lie unread, on so many connections.
const UNREAD: usize = 200;

fn resumes(field: &Field) -> Result<String> {
    let mut client = sender(field, Who::Agent("evil"))?;
    let channels = (0..4).map(|_| Ok(Grpc::new(field.channel(Who::Agent("evil"))?)));
    let mut channels = channels.collect::<Result<Vec<_>>>()?;
    field.runtime.block_on(async {
        let request = ResumeRequest { agent_id: "evil".to_owned(), epoch: 5, ..ResumeRequest::default() };
        client.resume(request.clone()).await?;
        let named = |n| SourcePosition { display_name: format!("/var/log/{n:0>190}"), ..position(n) };
        for sequence in 1..=10 {
            let positions = ((sequence - 1) * 4_000..sequence * 4_000).map(named).collect();
            ensure!(step(&mut client, sequence, positions).await == Code::Ok, "the positions are not taken");
        }

        let mut answers = Answers::default();
        let mut unread = Vec::new();
        for turn in 0.. {
            if !field.goes_on() {
                break;
            }
            let channel = turn % channels.len();
            match answer_to(&mut channels[channel], &request).await {
                Ok(answer) if unread.len() < UNREAD => unread.push(answer),
                Ok(_) => {}
                Err(status) => answers.add(status.code()),
            }
            // As many as there may be at once, and then a few more.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(!unread.is_empty(), "no answer came");
        Ok(format!("{} unread, {}", unread.len(), answers.shown()))
    })
}

/// An answer to `Resume` of which nothing is read yet.
async fn answer_to(
    channel: &mut Grpc<Client>,
    request: &ResumeRequest,
) -> Result<Streaming<Undecoded>, Status> {
    channel.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/lapwing.v1.IngestService/Resume");
    let codec = ProstCodec::<ResumeRequest, Undecoded>::default();
    let request = tonic::Request::new(request.clone());
    channel.server_streaming(request, path, codec).await.map(tonic::Response::into_inner)
}

fn causes(field: &Field) -> Result<String> {
    by_agent(field, |round| {
        let causes = (0..1_000).map(|n| (format!("cause-{round}-{n}"), 1)).collect();
        let read = (round + 1) * 1_000;
        vec![SourcePosition { events_dropped: causes, events_read: read, ..position(1) }]
    })
}

/// Sends numbered batches that move the positions of a round, until it is over.
fn by_agent(field: &Field, moved: fn(u64) -> Vec<SourcePosition>) -> Result<String> {
    let mut client = sender(field, Who::Agent("evil"))?;
    field.runtime.block_on(async {
        let request = ResumeRequest { agent_id: "evil".to_owned(), epoch: 5, ..ResumeRequest::default() };
        client.resume(request).await?;
        let mut answers = Answers::default();
        let mut durable = 0;
        while field.goes_on() {
            let code = step(&mut client, durable + 1, moved(answers.all())).await;
            durable += u64::from(code == tonic::Code::Ok);
            answers.add(code);
        }
        ensure!(answers.all() >= 3, "too few batches were sent: {}", answers.shown());
        Ok(answers.shown())
    })
}

async fn step(
    client: &mut IngestServiceClient<Client>,
    sequence: u64,
    positions: Vec<SourcePosition>,
) -> tonic::Code {
    let origin = Origin { agent_id: "evil".to_owned(), epoch: 5, sequence, ..Origin::default() };
    let batch = Batch { origin: Some(origin), positions, ..Batch::default() };
    send(client, batch).await
}
