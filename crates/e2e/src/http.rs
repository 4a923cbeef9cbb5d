//! A GET over HTTP/1.1, enough to ask the collector.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Body of `GET path` at `address`; an error when the status is not 200.
pub fn get(address: &str, path: &str) -> Result<String> {
    let (status, body) = request(address, path)?;
    if status != 200 {
        bail!("GET {path} at {address}: status {status}: {body}");
    }
    Ok(body)
}

/// Answer of one SQL query as NDJSON.
pub fn sql(address: &str, query: &str) -> Result<String> {
    get(address, &format!("/api/v1/sql?format=ndjson&q={}", encode(query)))
}

/// The rows of one SQL query.
pub fn rows(address: &str, query: &str) -> Result<Vec<Value>> {
    sql(address, query)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// A figure of `/metrics`: all lines that begin with `name` together.
pub fn figure(address: &str, name: &str) -> Result<u64> {
    let page = get(address, "/metrics")?;
    let values =
        page.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    let values = values.map(|value| Ok(value.parse::<f64>()?)).collect::<Result<Vec<_>>>()?;
    if values.is_empty() {
        bail!("no {name} in the figures of {address}");
    }
    Ok(values.iter().sum::<f64>() as u64)
}

/// What `address` answers to bytes of HTTP that ask it to close the connection.
pub fn exchange(address: &str, request: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Status and body of `GET path` at `address`.
pub fn request(address: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let split = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .with_context(|| format!("no HTTP answer from {address}"))?;
    let head = String::from_utf8_lossy(&answer[..split]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status line")?;
    let body = &answer[split + 4..];
    let body = if head.contains("transfer-encoding: chunked") { unchunk(body)? } else { body.to_vec() };
    Ok((status, String::from_utf8(body)?))
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n").context("cut chunk header")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line])?.trim(), 16)?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(..size).context("cut chunk")?);
        rest = rest.get(size + 2..).context("cut chunk end")?;
    }
}

/// `text` percent-encoded for a query string.
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
