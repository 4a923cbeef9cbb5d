//! Messages come in when there is room for them, and what is only announced takes none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{io::Write, net::TcpStream, time::Duration};

use anyhow::Result;
use lapwing::v1::{IngestRequest, ingest_service_client::IngestServiceClient};
use lapwing_e2e::{Rig, RigOptions, client};
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
