//! Answers that are asked for and not read.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use lapwing::v1::{TailRequest, query_service_client::QueryServiceClient};

use super::{Attack, send_lines};
use crate::{
    hostile::field::{Field, Who},
    http,
};

pub(super) const ALL: &[Attack] = &[
    Attack::new("unread-answers", "a user", "eight answers of up to 100,000 rows that nobody reads", unread)
        .short(),
    Attack::new("paused-tails", "a user", "eight tails that stop reading while a backlog comes in", tails)
        .short(),
];

fn unread(field: &Field) -> Result<String> {
    send_lines(field, field.form.pick(20, 200))?;
    let ask = |format: &str| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(&field.rig.http)?;
        let query = http::encode("SELECT * FROM logs");
        write!(
            stream,
            "GET /api/v1/sql?format={format}&q={query} HTTP/1.1\r\nHost: {}\r\n\r\n",
            field.rig.http
        )?;
        Ok(stream)
    };
    let mut kept = Vec::new();
    let mut asked = 0;
    while field.goes_on() {
        while kept.len() < 8 {
            kept.push(ask(["json", "ndjson", "csv", "arrow"][kept.len() % 4])?);
            asked += 1;
        }
        thread::sleep(Duration::from_millis(500));
        kept.retain_mut(|stream| stream.peek(&mut [0; 1]).is_ok_and(|bytes| bytes > 0));
    }
    ensure!(asked >= 8, "only {asked} were asked for");
    // One that is read to its end at last is whole, or was ended.
    let _ = kept.pop().map(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.read(&mut [0; 64 << 10])
    });
    Ok(format!("{asked} answers"))
}

fn tails(field: &Field) -> Result<String> {
    let channels = (0..8).map(|_| field.channel(Who::User)).collect::<Result<Vec<_>>>()?;
    let tails = field.runtime.block_on(async {
        let mut tails = Vec::new();
        for channel in channels {
            let mut client = QueryServiceClient::new(channel);
            // Held, and not asked for a row.
            if let Ok(answer) = client.tail(TailRequest::default()).await {
                tails.push(answer.into_inner());
            }
        }
        tails
    });
    ensure!(!tails.is_empty(), "no tail was let in");
    let mut sent = 0;
    while field.goes_on() {
        sent += send_lines(field, 1)?;
    }
    Ok(format!("{} tails, {sent} lines", tails.len()))
}
