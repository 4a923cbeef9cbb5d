//! Callers who name themselves as they like, and pages that ask in somebody else's name.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::Attack;
use crate::hostile::field::{Field, Who};

pub(super) const ALL: &[Attack] = &[
    Attack::new("forged-logs", "nobody", "tokens whose text holds lines of a log", forged).short().by_token(),
    Attack::new(
        "web-pages",
        "any web page",
        "requests with a foreign host or origin to the door of this machine",
        pages,
    )
    .short(),
];

/// base64url of `{"alg":"none\n2026-11-28T00:00:00Z  INFO lease given agent=\"admin\""}`.
const HEAD: &str =
    "eyJhbGciOiJub25lXG4yMDI2LTExLTI4VDAwOjAwOjAwWiAgSU5GTyBsZWFzZSBnaXZlbiBhZ2VudD1cImFkbWluXCIifQ";

fn forged(field: &Field) -> Result<String> {
    let lines = || field.rig.collector.output().lines().count();
    let before = lines();
    let mut sent = 0u64;
    while field.goes_on() {
        let mut stream = field.raw(Who::Nobody, "http/1.1")?;
        for _ in 0..20 {
            let host = field.authority();
            let asked = write!(
                stream,
                "GET /api/v1/sql?q=SELECT+1 HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {HEAD}.e30.x\r\n\r\n"
            )
            .and_then(|()| stream.flush());
            // The answer is read, so that the next request finds the connection open.
            if asked.is_err() || stream.read(&mut [0; 4096]).map_or(true, |bytes| bytes == 0) {
                break;
            }
            sent += 1;
        }
    }
    let output = field.rig.collector.output();
    let forged = output.lines().filter(|line| line.starts_with("2026-11-28T00:00:00Z")).count();
    ensure!(forged == 0, "{forged} lines of the log are the attacker's");
    let logged = lines() - before;
    ensure!(sent >= 20, "only {sent} tokens were shown");
    ensure!(logged < 40, "{sent} bad tokens made {logged} lines");
    Ok(format!("{sent} tokens, {logged} lines logged"))
}

fn pages(field: &Field) -> Result<String> {
    let http = &field.rig.http;
    let own = format!("Host: {http}\r\n");
    let refused = [
        "Host: attacker.example\r\n".to_owned(),
        format!("Host: attacker.example:{}\r\n", http.rsplit(':').next().context("no port")?),
        format!("{own}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"),
        format!("{own}Origin: https://attacker.example\r\n"),
        format!("{own}Origin: null\r\n"),
    ];
    let mut rounds = 0;
    while field.goes_on() {
        for headers in &refused {
            let answer = ask(http, "GET /api/v1/sql?q=SELECT+4711*3+AS+n", headers, "")?;
            ensure!(!answer.contains("14133") && !answer.starts_with("HTTP/1.1 200"), "{headers}: {answer}");
            // A row by gRPC-web: an empty message, framed.
            let more = format!("{headers}content-type: application/grpc-web+proto\r\nContent-Length: 5\r\n");
            let answer = ask(http, "POST /lapwing.v1.IngestService/Ingest", &more, "\0\0\0\0\0")?;
            ensure!(
                !answer.starts_with("HTTP/1.1 200") || answer.contains("grpc-status: 7"),
                "{headers}: {answer}"
            );
        }
        let answer = ask(http, "GET /api/v1/sql?q=SELECT+4711*3+AS+n", &own, "")?;
        ensure!(answer.contains("14133"), "a request of this machine is refused: {answer}");
        rounds += 1;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(format!("{} requests refused", rounds * refused.len() * 2))
}

fn ask(address: &str, line: &str, headers: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n{body}")?;
    let mut answer = Vec::new();
    // A server that closes at once is right, too.
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
