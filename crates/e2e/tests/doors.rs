//! The doors, tried with other people's tools: grpcurl, DuckDB, and HTTP by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use lapwing_e2e::{Rig, RigOptions, Writer, http, oracle, rig::PATIENCE, tools, wait};
use serde_json::Value;

fn grpcurl(rig: &Rig, before: &[&str], method: &[&str]) -> Result<String> {
    let program = tools::find("grpcurl").context("grpcurl is missing: run `make setup`")?;
    let mut command = Command::new(program);
    command.args([
        "-cacert",
        &rig.cert("ca.pem"),
        "-cert",
        &rig.cert("user-me.pem"),
        "-key",
        &rig.cert("user-me.key"),
    ]);
    let output = command.args(before).arg(&rig.grpc).args(method).output()?;
    ensure!(output.status.success(), "grpcurl {method:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn grpcurl_lists_describes_and_asks_for_health() -> Result<()> {
    let rig = Rig::new(&RigOptions::default())?;
    let services = grpcurl(&rig, &[], &["list"])?;
    for service in [
        "lapwing.v1.IngestService",
        "lapwing.v1.QueryService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(services.contains(service), "{service} is not in:\n{services}");
    }
    assert!(
        grpcurl(&rig, &[], &["describe", "lapwing.v1.Batch"])?
            .contains("repeated .lapwing.v1.SourcePosition positions")
    );
    for service in ["", "lapwing.v1.IngestService", "lapwing.v1.QueryService"] {
        let request = format!("{{\"service\":\"{service}\"}}");
        assert!(
            grpcurl(&rig, &["-d", &request], &["grpc.health.v1.Health/Check"])?.contains("SERVING"),
            "{service}"
        );
    }
    Ok(())
}

#[test]
fn a_row_typed_by_hand_shows_up_in_sql_once() -> Result<()> {
    let rig = Rig::new(&RigOptions::default())?;
    let request = r#"{"batch":{"idempotency_key":"k1","resource":{"attributes":{"host.name":"typed"}},
        "rows":{"logs":[{"body":"hello by hand","severity_number":9,"attributes":{"a":"b"}}],
                "metrics":[]}}}"#;
    for expected in ["\"acceptedRows\": \"1\"", "\"duplicateBatches\": 1"] {
        let answer = grpcurl(&rig, &["-d", request], &["lapwing.v1.IngestService/Ingest"])?;
        assert!(answer.contains(expected), "{answer}");
    }
    let query = "SELECT host, agent, severity, body, attributes['a'] AS a, time > now() - INTERVAL '1 hour' AS fresh FROM logs";
    let row = wait::until("the row is visible", PATIENCE, || {
        Ok(Some(rig.sql(query)?).filter(|rows| !rows.is_empty()))
    })?;
    let row: Value = serde_json::from_str(&row)?;
    let expected =
        r#"{"host":"typed","agent":"me","severity":9,"body":"hello by hand","a":"b","fresh":true}"#;
    assert_eq!(row, serde_json::from_str::<Value>(expected)?);
    let found =
        grpcurl(&rig, &["-d", r#"{"filter":{"text":"BY HAND"}}"#], &["lapwing.v1.QueryService/Search"])?;
    assert!(found.contains("hello by hand"), "{found}");
    Ok(())
}

#[test]
fn grpcurl_gets_rows_of_sql_and_a_wrong_statement_is_explained() -> Result<()> {
    let rig = Rig::new(&RigOptions::default())?;
    let rows =
        grpcurl(&rig, &["-d", r#"{"query":"SELECT 1 AS one, 'x' AS x"}"#], &["lapwing.v1.QueryService/Sql"])?;
    assert!(rows.contains("\"one\"") && rows.contains("\"x\""), "{rows}");
    let wrong =
        grpcurl(&rig, &["-d", r#"{"query":"SELEC 1"}"#], &["lapwing.v1.QueryService/Sql"]).unwrap_err();
    assert!(wrong.to_string().contains("InvalidArgument"), "{wrong}");
    let wrong = grpcurl(&rig, &["-d", r#"{"query":"DROP TABLE logs"}"#], &["lapwing.v1.QueryService/Sql"])
        .unwrap_err();
    assert!(wrong.to_string().contains("only queries are answered"), "{wrong}");
    Ok(())
}

#[test]
fn duckdb_counts_the_same_rows_in_the_lake_while_lapwing_runs() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { flush_interval_secs: 1, ..RigOptions::default() })?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    writer.write(30_000)?;
    rig.wait_for_rows(writer.written())?;
    let python = tools::duckdb_python().context("DuckDB is missing: run `make setup`")?;
    let lake = rig.root().join("collector/lake");
    let script = "tests/duckdb_count.py";
    // Rows are in memory first: DuckDB sees them when they are flushed.
    let counted = wait::until("DuckDB sees all rows", PATIENCE, || {
        let output = Command::new(&python).arg(script).arg(&lake).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let counted: Value = serde_json::from_slice(&output.stdout)?;
        Ok((counted["rows"] == 30_000).then_some(counted))
    })?;
    let ours = rig.sql(
        "SELECT count(*) AS rows, count(DISTINCT body) AS bodies, min(seq) AS first, max(seq) AS last, \
         sum(octet_length(body)) AS bytes FROM logs WHERE body LIKE 'lw %'",
    )?;
    assert_eq!(counted, serde_json::from_str::<Value>(&ours)?);
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    Ok(())
}

#[test]
fn the_command_line_queries_and_tails() -> Result<()> {
    let mut rig = Rig::new(&RigOptions::default())?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    writer.write(50)?;
    rig.start_agent()?;
    rig.wait_for_rows(50)?;
    let output = rig.lapwing(&["query", "SELECT count(*) AS n FROM logs"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let row: Value = serde_json::from_slice(&output.stdout)?;
    assert!(row["n"] == 50 || row["n"] == 50.0, "{row}");
    let table = rig.lapwing(&["query", "--format", "table", "SELECT 1 AS one, 'two' AS two"])?;
    assert!(String::from_utf8(table.stdout)?.contains("two"));
    let csv = rig.lapwing(&["query", "--format", "csv", "SELECT 1 AS one, 'a,b' AS two"])?;
    assert_eq!(String::from_utf8(csv.stdout)?.replace("\r\n", "\n"), "one,two\n1,\"a,b\"\n");
    let wrong = rig.lapwing(&["query", "SELECT nothing FROM logs"])?;
    assert_eq!(wrong.status.code(), Some(5), "{}", String::from_utf8_lossy(&wrong.stderr));

    let mut tail = rig.command(&["tail", "--backlog", "5", "--format", "ndjson"])?;
    tail.stdout(std::fs::File::create(rig.root().join("tail.out"))?);
    let mut tail = tail.spawn()?;
    let lines =
        || -> Result<usize> { Ok(std::fs::read_to_string(rig.root().join("tail.out"))?.lines().count()) };
    let backlog = wait::until("the backlog is there", PATIENCE, || Ok((lines()? == 5).then_some(())));
    writer.write(20)?;
    let live = wait::until("new lines are there", PATIENCE, || Ok((lines()? == 25).then_some(())));
    tail.kill()?;
    tail.wait()?;
    backlog?;
    live
}

#[test]
fn http_gives_each_format_and_a_clear_refusal() -> Result<()> {
    let rig = Rig::new(&RigOptions::default())?;
    let ask = |query: &str| http::request(&rig.http, &format!("/api/v1/sql?{query}"));
    let one = http::encode("SELECT 1 AS one, 'x' AS two");
    let (status, json) = ask(&format!("q={one}"))?;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&json)?["rows"], serde_json::json!([[1, "x"]]));
    assert_eq!(ask(&format!("q={one}&format=ndjson"))?.1, "{\"one\":1,\"two\":\"x\"}\n");
    assert_eq!(ask(&format!("q={one}&format=csv"))?.1, "one,two\n1,x\n");
    for (query, expected_status, expected) in [
        ("", 400, "expected /api/v1/sql?q=SELECT"),
        ("q=SELECT%201&format=xml", 400, "expected json, ndjson, csv or arrow"),
        ("q=SELECT%20nothing", 400, "nothing"),
        ("q=DELETE%20FROM%20logs", 400, "only queries are answered"),
    ] {
        let (status, body) = ask(query)?;
        assert_eq!(status, expected_status, "{query}: {body}");
        assert!(body.contains(expected), "{query}: {body}");
    }
    let (status, body) = http::request(&rig.http, "/nothing/here")?;
    assert_eq!(status, 404, "{body}");
    assert!(http::get(&rig.http, "/metrics")?.contains("lapwing_collector_rows_total"));
    Ok(())
}

#[test]
fn a_browser_asks_over_grpc_web() -> Result<()> {
    let rig = Rig::new(&RigOptions::default())?;
    let query = "SELECT 'northern lapwing' AS bird";
    // An SqlRequest (field 1, text) in a frame of gRPC: no compression, length.
    let message = [&[0x0a, query.len() as u8], query.as_bytes()].concat();
    let body = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let mut stream = TcpStream::connect(&rig.http)?;
    write!(
        stream,
        "POST /lapwing.v1.QueryService/Sql HTTP/1.1\r\nHost: {}\r\nContent-Type: application/grpc-web+proto\r\n\
         X-Grpc-Web: 1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        rig.http,
        body.len()
    )?;
    stream.write_all(&body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("application/grpc-web+proto"), "{text}");
    assert!(text.contains("northern lapwing") && text.contains("grpc-status:0"), "{text}");
    Ok(())
}

#[test]
fn a_web_page_gets_nothing_from_the_door_on_this_machine_and_runs_nothing() -> Result<()> {
    let rig = Rig::new(&RigOptions::default())?;
    let path = format!("/api/v1/sql?format=csv&q={}", http::encode("SELECT 'kiebitz' AS bird"));
    let ask = |headers: &str| {
        http::exchange(
            &rig.http,
            format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").as_bytes(),
        )
    };
    let host = format!("Host: {}\r\n", rig.http);
    let answer = ask(&host)?;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("kiebitz"), "{answer}");
    for header in [
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'; sandbox",
        "cache-control: no-store",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(answer.to_ascii_lowercase().contains(header), "{header}: {answer}");
    }
    for headers in [
        "Host: attacker.example\r\n".to_owned(),
        format!("{host}Host: attacker.example\r\n"),
        // An <img> or a fetch without CORS.
        format!("{host}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"),
        format!("{host}Sec-Fetch-Site: same-site\r\n"),
        format!("{host}Origin: https://attacker.example\r\n"),
        format!("{host}Origin: null\r\n"),
        format!("{host}Referer: https://attacker.example/\r\n"),
        format!("{host}User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"),
    ] {
        let answer = ask(&headers)?;
        assert!(answer.starts_with("HTTP/1.1 4") && !answer.contains("kiebitz"), "{headers}: {answer}");
    }

    // Neither does a name that leads here let a page write over gRPC-web, or a program over gRPC.
    let program = tools::find("grpcurl").context("grpcurl is missing: run `make setup`")?;
    let row = r#"{"batch":{"rows":{"logs":[{"body":"by a page"}]}}}"#;
    let send = |authority: &str| {
        let mut command = Command::new(&program);
        command.args(["-plaintext", "-authority", authority, "-d", row, &rig.http]);
        command.arg("lapwing.v1.IngestService/Ingest").output()
    };
    let refused = send("attacker.example")?;
    assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
    let page = "POST /lapwing.v1.IngestService/Ingest HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\
                Content-Type: application/grpc-web+proto\r\nContent-Length: 0\r\n\r\n";
    assert!(http::exchange(&rig.http, page.as_bytes())?.starts_with("HTTP/1.1 403"));
    let taken = send(&rig.http)?;
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    wait::until("the row of the program is there", PATIENCE, || {
        Ok(rig
            .sql("SELECT body FROM logs WHERE body = 'by a page'")
            .ok()
            .filter(|rows| rows.lines().count() == 1))
    })?;
    Ok(())
}
