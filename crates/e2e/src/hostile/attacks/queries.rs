//! Questions without a bound.

use std::{io::Write, net::TcpStream, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use lapwing::v1::{SqlRequest, query_service_client::QueryServiceClient};

use super::{Attack, send_lines};
use crate::{
    hostile::field::{Field, Who},
    http,
};

pub(super) const ALL: &[Attack] = &[
    Attack::new("cross-joins", "a user", "cross joins of millions of rows whose asker is gone", |field| {
        ask_and_leave(field, &[&cross_join(1_000_000), &cross_join(10_000_000)])
    })
    .short(),
    Attack::new("memory", "a user", "functions that make gigabytes", |field| ask_and_wait(field, &memory()))
        .short(),
    Attack::new("plans", "a user", "statements whose plan doubles with each word", |field| {
        ask_and_wait(field, &[doubled_tables(24), doubled_unions(50), literals(40_000)])
    }),
];

fn cross_join(rows: u64) -> String {
    format!(
        "SELECT count(*) FROM generate_series(1, {rows}) AS a(x) CROSS JOIN generate_series(1, {rows}) AS b(y) \
         WHERE a.x * b.y % 7 = 3"
    )
}

fn memory() -> Vec<String> {
    [
        "SELECT range(0, 1000000000)",
        "SELECT length(lpad('', 2000000000, 'a'))",
        "SELECT length(rpad(body, 1073741824, 'a')) FROM logs",
        "SELECT length(repeat('a', 2000000000))",
        "SELECT length(repeat(body, 5000000)) FROM logs",
        "SELECT array_length(array_repeat(1, 1000000000))",
        "SELECT array_length(generate_series(1, 3000000000))",
        "SELECT length(string_agg(repeat(body, 1000), ',')) FROM logs",
        "SELECT count(*) FROM logs a JOIN logs b ON levenshtein(repeat(a.body, 50), repeat(b.body, 50)) > 3",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn doubled_tables(levels: usize) -> String {
    let tables: Vec<String> = (1..=levels)
        .map(|n| format!("t{n} AS (SELECT a.x FROM t{0} a JOIN t{0} b ON a.x = b.x)", n - 1))
        .collect();
    format!("WITH t0 AS (SELECT 1 AS x), {} SELECT count(*) FROM t{levels}", tables.join(", "))
}

fn doubled_unions(times: usize) -> String {
    let tables: Vec<String> = (1..=times)
        .map(|n| format!("t{n} AS (SELECT * FROM t{0} UNION ALL SELECT * FROM t{0})", n - 1))
        .collect();
    format!("WITH t0 AS (SELECT 1 AS x), {} SELECT count(*) FROM t{times}", tables.join(", "))
}

fn literals(count: usize) -> String {
    let list: Vec<String> = (0..count).map(|n| format!("'{n}'")).collect();
    format!("SELECT count(*) FROM logs WHERE body IN ({})", list.join(","))
}

/// Asks and closes the connection half a second later.
fn ask_and_leave(field: &Field, queries: &[&str]) -> Result<String> {
    send_lines(field, 5)?;
    let mut asked = 0;
    while field.goes_on() {
        for query in queries {
            let mut stream = TcpStream::connect(&field.rig.http)?;
            let query = http::encode(query);
            write!(stream, "GET /api/v1/sql?q={query} HTTP/1.1\r\nHost: {}\r\n\r\n", field.rig.http)?;
            thread::sleep(Duration::from_millis(500));
            asked += 1;
        }
    }
    ensure!(asked >= 2, "only {asked} were asked");
    Ok(format!("{asked} asked"))
}

/// Whether a query has an answer, and its first words or the reason. What is too long for a URL goes over gRPC.
fn ask(field: &Field, query: &str) -> Result<(bool, String)> {
    if query.len() < 4_000 {
        let path = format!("/api/v1/sql?q={}", http::encode(query));
        let (status, body) = http::request(&field.rig.http, &path)?;
        return Ok((status == 200, body));
    }
    let mut client = QueryServiceClient::new(field.channel(Who::User)?);
    let request = SqlRequest { query: query.to_owned(), ..SqlRequest::default() };
    Ok(field.runtime.block_on(async {
        let answer = client.sql(request).await;
        let first = match answer {
            Ok(answer) => answer.into_inner().message().await,
            Err(status) => Err(status),
        };
        match first {
            Ok(message) => (true, format!("{message:?}")),
            Err(status) => (false, status.message().to_owned()),
        }
    }))
}

/// Asks one after another, and wants an answer or a reason each time.
fn ask_and_wait(field: &Field, queries: &[String]) -> Result<String> {
    send_lines(field, 5)?;
    let mut answered = 0;
    let mut refused = 0;
    for query in queries.iter().cycle() {
        if !field.goes_on() && answered + refused >= queries.len() {
            break;
        }
        let shown: String = query.chars().take(60).collect();
        let (ok, said) = ask(field, query).with_context(|| shown.clone())?;
        ensure!(!said.trim().is_empty(), "{shown}: neither an answer nor a reason");
        match ok {
            true => answered += 1,
            false => refused += 1,
        }
    }
    Ok(format!("{answered} answered, {refused} refused"))
}
