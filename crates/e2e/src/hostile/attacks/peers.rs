//! Peers that come in crowds, say nothing, or never end what they say.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lapwing::v1::{ResumeRequest, ingest_service_client::IngestServiceClient};

use super::Attack;
use crate::hostile::field::{Field, Raw, Who, is_closed};

pub(super) const ALL: &[Attack] = &[
    Attack::new("trickle", "an agent", "four messages of 4 MiB announced, a byte a second each", trickle)
        .short(),
    Attack::new("endless-nobody", "nobody", "messages of Resume and Sql that never end", |field| {
        endless(field, Who::Nobody)
    })
    .short()
    .by_token(),
    Attack::new("endless-agent", "an agent", "messages of Resume and Sql that never end", |field| {
        endless(field, Who::Agent("evil"))
    }),
    Attack::new("hellos", "nobody", "250 connections a second that send one byte of a ClientHello", hellos)
        .short(),
    Attack::new(
        "silent",
        "nobody",
        "connections that say nothing after the handshake, or half a preface",
        silent,
    )
    .by_token(),
    Attack::new("windows", "a user", "HTTP/2 frames that move a window, as fast as they go", windows),
];

/// Begins a gRPC-web call over HTTP/1.1 whose message has `length` bytes.
fn begin(stream: &mut Raw, field: &Field, method: &str, length: u32) -> std::io::Result<()> {
    let host = field.authority();
    let head = format!(
        "POST /lapwing.v1.{method} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/grpc-web+proto\r\n\
         transfer-encoding: chunked\r\n\r\n5\r\n"
    );
    let [a, b, c, d] = length.to_be_bytes();
    stream.write_all(&[head.as_bytes(), &[0, a, b, c, d], b"\r\n"].concat())?;
    stream.flush()
}

fn trickle(field: &Field) -> Result<String> {
    let mut streams = Vec::new();
    let mut opened = 0;
    let mut closed = 0;
    while field.goes_on() {
        while streams.len() < 4 {
            let Ok(mut stream) = field.raw(Who::Agent("evil"), "http/1.1") else { break };
            if begin(&mut stream, field, "IngestService/Ingest", 4 << 20).is_ok() {
                streams.push(stream);
                opened += 1;
            }
        }
        streams.retain_mut(|stream| {
            let goes_on = stream.write_all(b"1\r\nx\r\n").and_then(|()| stream.flush()).is_ok();
            closed += u64::from(!goes_on);
            goes_on
        });
        thread::sleep(Duration::from_secs(1));
    }
    ensure!(opened >= 4, "only {opened} connections came up");
    Ok(format!("{opened} opened, {closed} closed by the collector"))
}

/// 16 connections that send a large message in pieces, as long as they may.
fn endless(field: &Field, who: Who) -> Result<String> {
    let sent = thread::scope(|scope| {
        let sending: Vec<_> = (0..16)
            .map(|n| {
                let method = ["IngestService/Resume", "QueryService/Sql"][n % 2];
                scope.spawn(move || send_endlessly(field, who, method))
            })
            .collect();
        sending.into_iter().map(|sending| sending.join().unwrap_or(0)).sum::<u64>()
    });
    ensure!(sent > 0, "nothing was sent");
    Ok(format!("{} kB got out", sent / 1_000))
}

fn send_endlessly(field: &Field, who: Who, method: &str) -> u64 {
    let chunk = [format!("{:x}\r\n", 16 << 10).as_bytes(), &vec![b'x'; 16 << 10], b"\r\n"].concat();
    let mut sent = 0;
    while field.goes_on() {
        let Ok(mut stream) = field.raw(who, "http/1.1") else {
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if begin(&mut stream, field, method, 4_000_000).is_err() {
            continue;
        }
        let mut left = 4_000_000 / (16 << 10) - 1;
        while field.goes_on() {
            // The last piece never comes.
            let piece = if left > 0 { &chunk[..] } else { b"1\r\nx\r\n" };
            if stream.write_all(piece).and_then(|()| stream.flush()).is_err() {
                break;
            }
            sent += piece.len() as u64;
            if left == 0 {
                thread::sleep(Duration::from_millis(500));
            }
            left = i32::max(left - 1, 0);
        }
    }
    sent
}

/// While they come a new handshake of somebody with a certificate is timed.
fn hellos(field: &Field) -> Result<String> {
    let mut kept: Vec<TcpStream> = Vec::new();
    let mut opened = 0;
    let mut slowest = Duration::ZERO;
    let crowd = field.form.pick(500, 3_000);
    let mut knock = |kept: &mut Vec<TcpStream>| {
        if let Ok(mut stream) = TcpStream::connect(field.authority()) {
            let _ = stream.write_all(b"\x16");
            kept.push(stream);
            opened += 1;
        }
    };
    (0..crowd).for_each(|_| knock(&mut kept));
    let mut asked = Instant::now();
    while field.goes_on() {
        (0..25).for_each(|_| knock(&mut kept));
        kept.retain_mut(|stream| stream.set_nonblocking(true).is_ok() && !is_over(stream));
        if asked.elapsed() > Duration::from_millis(500) {
            asked = Instant::now();
            let mut client = IngestServiceClient::new(field.channel(Who::Agent("evil"))?);
            let request = ResumeRequest { epoch: 1, ..ResumeRequest::default() };
            let answer = field.runtime.block_on(client.resume(request));
            ensure!(answer.is_ok(), "a new agent does not get in: {answer:?}");
            slowest = slowest.max(asked.elapsed());
        }
        thread::sleep(Duration::from_millis(100));
    }
    ensure!(opened > crowd, "only {opened} connections came up");
    ensure!(slowest < Duration::from_secs(5), "a new agent needed {slowest:?} to get in");
    Ok(format!("{opened} came, a new agent got in within {} ms", slowest.as_millis()))
}

fn is_over(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => is_closed(&error),
    }
}

fn silent(field: &Field) -> Result<String> {
    let mut kept = Vec::new();
    let mut opened = 0;
    while field.goes_on() {
        for n in 0..10 {
            let Ok(mut stream) = field.raw(Who::Nobody, "h2") else { continue };
            if n % 2 == 0 {
                let _ = stream.write_all(b"PRI * HTTP/2.0\r\n").and_then(|()| stream.flush());
            }
            kept.push(stream);
            opened += 1;
        }
        thread::sleep(Duration::from_millis(200));
    }
    ensure!(opened >= 10, "only {opened} connections came up");
    let open = kept
        .iter_mut()
        .filter_map(|stream| {
            stream.sock.set_nonblocking(true).ok()?;
            (!ended(stream)).then_some(())
        })
        .count();
    Ok(format!("{opened} came, {open} were open at the end"))
}

/// Reads what the server says of its own accord, its settings, until it ends or there is no more.
fn ended(stream: &mut Raw) -> bool {
    loop {
        match stream.read(&mut [0; 1024]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return is_closed(&error),
        }
    }
}

fn windows(field: &Field) -> Result<String> {
    let mut frames = 0u64;
    let mut closed = 0u64;
    // Window updates by one byte, on the connection.
    let update = [&[0, 0, 4, 8, 0, 0, 0, 0, 0][..], &[0, 0, 0, 1]].concat().repeat(1_000);
    while field.goes_on() {
        let mut stream = field.raw(Who::User, "h2")?;
        let hello = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        stream.write_all(&hello)?;
        while field.goes_on() {
            if stream.write_all(&update).is_err() {
                closed += 1;
                break;
            }
            frames += 1_000;
        }
    }
    ensure!(frames >= 1_000, "no frames got out");
    Ok(format!("{frames} frames, closed {closed} times"))
}
