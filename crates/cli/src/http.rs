//! A GET over HTTP/1.1, enough to ask whether a program is well.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most of an answer that is looked at.
const MAX_BYTES: u64 = 16 << 10;

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its status code.
    pub(crate) status: u16,
    /// Its `Date`.
    pub(crate) date: Option<String>,
}

/// The head of the answer to `GET path` at `address`, such as `127.0.0.1:7401`.
pub(crate) async fn get(address: &str, path: &str) -> io::Result<Head> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_BYTES).read_to_end(&mut answer).await?;
        head(&String::from_utf8_lossy(&answer)).ok_or_else(|| io::Error::other("no HTTP answer"))
    };
    timeout(PATIENCE, asked).await?
}

/// Whether `/healthz` at `address` says that all is well.
pub(crate) async fn is_healthy(address: &str) -> bool {
    get(address, "/healthz").await.is_ok_and(|head| head.status == 200)
}

fn head(answer: &str) -> Option<Head> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    let (first, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let fields = fields.lines().filter_map(|line| line.split_once(':'));
    let date = fields.filter(|(name, _)| name.eq_ignore_ascii_case("date")).map(|(_, value)| value.trim());
    Some(Head { status, date: date.map(str::to_owned).next() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_date_are_read_and_other_protocols_are_not() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\nno";
        let date = Some("Thu, 01 Jan 2026 00:00:00 GMT".to_owned());
        assert_eq!(head(answer), Some(Head { status: 503, date }));
        assert_eq!(head("HTTP/1.1 200 OK\r\n\r\n"), Some(Head { status: 200, date: None }));
        for other in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert_eq!(head(other), None, "{other}");
        }
    }
}
