//! Messages come in when there is room for them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{io::Write, net::TcpStream, time::Duration};

use anyhow::Result;
use lapwing::v1::{IngestRequest, ingest_service_client::IngestServiceClient};
use lapwing_e2e::{Rig, RigOptions, client};
use tokio::task::JoinSet;

/// Sizes of messages that leave a sixteenth of all room.
const HELD: [u32; 4] = [4 << 20, 4 << 20, 4 << 20, 3 << 20];
const FILE: u32 = 7;
/// Lines of a message that has room in that sixteenth, and is several times as large as a stream's window.
const LINES: u64 = 4_500;

/// Begins a message of so many bytes.
fn begin(address: &str, length: u32) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let head = "POST /lapwing.v1.IngestService/Ingest HTTP/1.1\r\nhost: lapwing\r\n\
                content-type: application/grpc-web+proto\r\ntransfer-encoding: chunked\r\n\r\n5\r\n";
    let [a, b, c, d] = length.to_be_bytes();
    stream.write_all(&[head.as_bytes(), &[0, a, b, c, d], b"\r\n"].concat())?;
    Ok(stream)
}

/// Messages that trickle hold nearly all room; the rest comes free when four messages wait on one connection, and is enough for one of them.
/// What the other three have sent without room must not keep out that one.
#[tokio::test(flavor = "multi_thread")]
async fn messages_on_one_connection_come_in_one_after_another() -> Result<()> {
    let rig = Rig::new(&RigOptions::default())?;
    let mut slow = HELD.iter().map(|length| begin(&rig.http, *length)).collect::<Result<Vec<_>>>()?;
    let trickling = tokio::spawn(async move {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            slow.iter_mut().for_each(|stream| stream.write_all(b"1\r\nx\r\n").unwrap());
        }
    });
    let last = begin(&rig.http, 1 << 20)?;
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
    // Long enough to send what may be sent without room; it is less of a test when it is not.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(last);
    while let Some(sent) = sending.join_next().await {
        assert_eq!(sent??, LINES);
    }
    assert!(!trickling.is_finished(), "room was held all the time");
    trickling.abort();
    rig.wait_for_rows(4 * LINES)
}
