//! Messages come in when there is room for them, and what is only announced takes none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{io::Write, net::TcpStream, time::Duration};

use anyhow::Result;
use lapwing::{
    batch,
    codec::Compressor,
    columns::{Columns, LogColumns, Text},
    v1::{
        Batch, Codec, IngestRequest, Origin, ResumeRequest, batch::Payload,
        ingest_service_client::IngestServiceClient,
    },
};
use lapwing_e2e::{Rig, RigOptions, client};
use lapwing_service::clock::now;
use tokio::task::JoinSet;

/// Sizes of messages that announce all room there is.
const ANNOUNCED: [u32; 4] = [4 << 20; 4];
const FILE: u32 = 7;
/// Lines of a message that is several times as large as a stream's window.
const LINES: u64 = 4_500;
/// The collector refuses what finds no room for this time.
const NO_ROOM: Duration = Duration::from_secs(15);

/// Begins a message of so many bytes.
fn begin(address: &str, length: u32) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let head = "POST /lapwing.v1.IngestService/Ingest HTTP/1.1\r\nhost: lapwing\r\n\
                content-type: application/grpc-web+proto\r\ntransfer-encoding: chunked\r\n\r\n5\r\n";
    let [a, b, c, d] = length.to_be_bytes();
    stream.write_all(&[head.as_bytes(), &[0, a, b, c, d], b"\r\n"].concat())?;
    Ok(stream)
}

/// Four messages announce all room and send a byte now and then: 36 bytes kept everybody out for as long as they liked.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_trickle_hold_up_nobody() -> Result<()> {
    let rig = Rig::new(&RigOptions::default())?;
    let mut slow = ANNOUNCED.iter().map(|length| begin(&rig.http, *length)).collect::<Result<Vec<_>>>()?;
    let trickling = tokio::spawn(async move {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            for stream in &mut slow {
                // It is let go in the end.
                let _ = stream.write_all(b"1\r\nx\r\n");
            }
        }
    });
    // Their beginnings have come.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let channel = client::connect(&rig)?;
    let mut sending = JoinSet::new();
    for n in 0..4 {
        let batch = client::packed(FILE, n * LINES..(n + 1) * LINES)?;
        let mut client = IngestServiceClient::new(channel.clone());
        sending.spawn(async move {
            let request =
                tokio_stream::once(IngestRequest { batch: Some(batch), ..IngestRequest::default() });
            client.ingest(request).await.map(|answer| answer.into_inner().accepted_rows)
        });
    }
    let all = async {
        while let Some(sent) = sending.join_next().await {
            assert_eq!(sent??, LINES);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(NO_ROOM, all).await??;
    assert!(!trickling.is_finished());
    trickling.abort();
    rig.wait_for_rows(4 * LINES)
}

const AGENT: &str = "agent-001";
const EPOCH: u64 = 7;

/// So many equal lines of an agent.
fn numbered(sequence: u64, line: &str, lines: u32) -> Result<Batch> {
    let text = format!("{line}\n").repeat(lines as usize);
    let logs = LogColumns::lines(Text::from("app.log"), now(), lines, text.into());
    let packed = batch::pack(&Columns::Logs(logs), &mut Compressor::new(Codec::Zstd, None))?;
    let origin = Origin { agent_id: AGENT.to_owned(), epoch: EPOCH, sequence, ..Origin::default() };
    let digest = batch::digest(&packed);
    Ok(Batch { origin: Some(origin), digest, payload: Some(Payload::Packed(packed)), ..Batch::default() })
}

/// Lines with many fields become more than is guessed of them, so the first batch asks for room again once it is read, for all that its
/// agent may have. Those behind it had taken the room that it gave back, and waited for it: all of them were refused after five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_becomes_more_than_was_guessed_does_not_wait_for_those_behind_it() -> Result<()> {
    let rig = Rig::new(&RigOptions::default())?;
    let client = IngestServiceClient::new(client::connect_as(&rig, &format!("agent-{AGENT}"))?);
    let request = ResumeRequest { agent_id: AGENT.to_owned(), epoch: EPOCH, ..ResumeRequest::default() };
    client.clone().resume(request).await?;

    let fields: Vec<String> = (0..100).map(|n| format!("\"k{n}\":{n}")).collect();
    let first = numbered(1, &format!("{{{}}}", fields.join(",")), 3_000)?;
    let mut batches = vec![first];
    for sequence in 2..=4 {
        batches.push(numbered(sequence, "nothing in it", 2_000)?);
    }
    let mut sending = JoinSet::new();
    for batch in batches {
        let mut client = client.clone();
        sending.spawn(async move {
            let request = IngestRequest { batch: Some(batch), ..IngestRequest::default() };
            client.ingest(tokio_stream::once(request)).await.map(|answer| answer.into_inner().accepted_rows)
        });
    }
    let mut accepted = 0;
    while let Some(sent) = sending.join_next().await {
        accepted += sent??;
    }
    assert_eq!(accepted, 3_000 + 3 * 2_000);
    Ok(())
}
