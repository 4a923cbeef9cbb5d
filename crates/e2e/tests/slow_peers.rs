//! Peers that connect and say nothing, begin and do not end, or do not read: each costs little, ends by itself, and holds up nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lapwing::v1::{TailRequest, query_service_client::QueryServiceClient};
use lapwing_e2e::{Rig, RigOptions, Writer, client, http, rig::PATIENCE, wait};
use lapwing_service::{descriptors, tls};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Longer than any clock of the collector on a peer that says nothing, and shorter than for ever.
const LONG: Duration = Duration::from_secs(40);
const MIB: u64 = 1 << 20;

fn by_token() -> Result<Rig> {
    Rig::new(&RigOptions { token_secret: Some(SECRET), ..RigOptions::default() })
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// A TLS connection without a certificate, after its handshake.
fn nobody(rig: &Rig) -> Result<Tls> {
    let config = tls::client(&rig.root().join("certs/ca.pem"), None)?.config;
    let stream = TcpStream::connect(&rig.grpc)?;
    stream.set_read_timeout(Some(LONG))?;
    let name = "localhost".try_into()?;
    let mut stream = rustls::StreamOwned::new(rustls::ClientConnection::new(config, name)?, stream);
    stream.flush()?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// A call that announces a message of so many bytes, and brings so many of them.
fn call(method: &str, announced: u32, brought: usize) -> Vec<u8> {
    let head = format!(
        "POST /{method} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc-web+proto\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    let message = [&[0][..], &announced.to_be_bytes(), &vec![b'x'; brought]].concat();
    [head.as_bytes(), format!("{:x}\r\n", message.len()).as_bytes(), &message, b"\r\n"].concat()
}

/// What comes until the other end closes, or has said that it refuses.
fn answer(mut stream: impl Read) -> Result<String> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                anyhow::bail!(
                    "neither an answer nor an end within {LONG:?}: {}",
                    String::from_utf8_lossy(&answer)
                )
            }
            // Closed without the farewell of TLS.
            Err(_) => break,
        }
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        if text.contains("grpc-status") && text.contains("\r\n\r\n") {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn who_connects_and_says_nothing_is_let_go() -> Result<()> {
    let rig = by_token()?;
    let mut plain = TcpStream::connect(&rig.http)?;
    plain.set_read_timeout(Some(LONG))?;
    let (mut silent, mut half) = (nobody(&rig)?, nobody(&rig)?);
    half.write_all(b"PRI * HTTP/2.0\r\n")?;
    assert_eq!(answer(&mut plain)?, "", "on http_addr");
    assert_eq!(answer(&mut silent)?, "", "after the handshake");
    assert_eq!(answer(&mut half)?, "", "in the middle of the preface");
    Ok(())
}

#[test]
fn nobody_is_refused_before_its_message_is_read() -> Result<()> {
    let rig = by_token()?;
    for method in ["IngestService/Resume", "IngestService/Ingest", "QueryService/Sql", "QueryService/Tail"] {
        let mut stream = nobody(&rig)?;
        stream.write_all(&call(&format!("lapwing.v1.{method}"), 4 << 20, 1))?;
        let told = answer(&mut stream)?;
        assert!(told.contains("grpc-status: 16") || told.contains("grpc-status:16"), "{method}: {told}");
    }
    Ok(())
}

#[test]
fn a_message_that_never_ends_is_neither_waited_for_nor_kept() -> Result<()> {
    let rig = by_token()?;
    let mut kept = Vec::new();
    let before = rig.collector.memory()?;
    // Whoever may ask is on this machine at `http_addr`.
    for (method, announced) in [
        ("grpc.health.v1.Health/Check", 4 << 20),
        ("grpc.health.v1.Health/Check", 2_000),
        ("lapwing.v1.QueryService/Sql", 4 << 20),
        ("lapwing.v1.QueryService/Sql", 200_000),
        ("lapwing.v1.QueryService/Search", 4_000_000),
    ] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(&rig.http)?;
            stream.set_read_timeout(Some(LONG))?;
            stream.set_write_timeout(Some(Duration::from_secs(1)))?;
            // It may be refused while it is written.
            let _ = stream.write_all(&call(method, announced, announced as usize / 2));
            kept.push((method, announced, stream));
        }
    }
    for (method, announced, stream) in &mut kept {
        answer(&mut *stream).with_context(|| format!("{method} with {announced} bytes"))?;
    }
    let after = rig.collector.memory()?;
    assert!(after < before + 32 * MIB, "{} MiB before, {} MiB after", before / MIB, after / MIB);
    Ok(())
}

#[test]
fn a_crowd_that_dawdles_does_not_hold_up_a_handshake() -> Result<()> {
    descriptors::raise_limit();
    let rig = by_token()?;
    let mut crowd = Vec::new();
    for n in 0..1_500 {
        let mut stream = TcpStream::connect(&rig.grpc)?;
        if n % 2 == 0 {
            stream.write_all(b"\x16")?;
        }
        crowd.push(stream);
    }
    let started = Instant::now();
    nobody(&rig)?;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(4), "a handshake took {took:?} behind a crowd");
    assert!(http::get(&rig.http, "/healthz").is_ok());

    wait::until("most of the crowd is let go before its time", PATIENCE, || {
        let open = crowd.iter_mut().map(is_open).filter(|open| *open).count();
        Ok((open <= 64).then_some(()))
    })?;
    let told = rig.collector.output().matches("TLS handshake failed").count();
    assert!((1..20).contains(&told), "{told} lines about 1,500 connections of one address");
    Ok(())
}

fn is_open(stream: &mut TcpStream) -> bool {
    let _ = stream.set_nonblocking(true);
    matches!(stream.read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Lines are stored while a tail is not read; what it costs is what its messages hold, not what came.
#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_is_not_read_costs_little() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { flush_interval_secs: 1, ..RigOptions::default() })?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    let mut client = QueryServiceClient::new(client::connect(&rig)?);
    writer.write(200_000)?;
    rig.wait_for_rows(writer.written())?;
    let before = settled(&rig)?;

    let _paused = client.tail(TailRequest::default()).await?;
    writer.write(300_000)?;
    rig.wait_for_rows(writer.written())?;
    let after = settled(&rig)?;
    assert!(after < before + 32 * MIB, "{} MiB before, {} MiB with a tail", before / MIB, after / MIB);
    Ok(())
}

/// Memory when all rows have left it.
fn settled(rig: &Rig) -> Result<u64> {
    wait::until("rows are flushed", PATIENCE, || {
        Ok((http::figure(&rig.http, "lapwing_collector_memory_bytes")? == 0).then_some(()))
    })?;
    rig.collector.memory()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_has_eight_tails() -> Result<()> {
    let rig = Rig::new(&RigOptions::default())?;
    let mut client = QueryServiceClient::new(client::connect(&rig)?);
    let mut tails = Vec::new();
    for _ in 0..8 {
        tails.push(client.tail(TailRequest::default()).await?);
    }
    let refused = client.tail(TailRequest::default()).await.unwrap_err();
    assert!(refused.message().contains("has 8 tails already"), "{refused}");
    tails.pop();
    let again = tokio::time::timeout(PATIENCE, async {
        while client.tail(TailRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    again.await.context("a tail that ended is not given back")
}
