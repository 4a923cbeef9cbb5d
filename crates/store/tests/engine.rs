//! SQL over memory and lake, as a collector runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use lapwing::columns::{Attributes, Bodies, Column, Columns, LogColumns, MetricColumns, Text};
use lapwing_store::{
    QueryLimits, Store, Tables, TablesOptions,
    ducklake::DuckLake,
    engine::{Answer, Local, QueryError},
    export,
    rows::{About, record_batch},
};
use serde_json::{Value, json};

const DAY: u64 = 86_400_000_000_000;

fn about(index: u64) -> About {
    let resource: Attributes = [("host.name", "web-1"), ("env", "prod")].into_iter().collect();
    About { agent: "agent-1".to_owned(), resource, time_zone: String::new(), journal_index: index }
}

fn lines(rows: u32, index: u64) -> Columns {
    let data: String = (0..rows).map(|row| format!("GET /a/{index}/{row} from a client\n")).collect();
    let attributes: Attributes =
        [("status", if index.is_multiple_of(2) { "200" } else { "a status that is longer than a view" })]
            .into_iter()
            .collect();
    Columns::Logs(LogColumns {
        time: Column::constant(rows as usize, 20_000 * DAY + index),
        observed_time: Column::constant(rows as usize, 20_000 * DAY + index),
        severity_number: Column::constant(rows as usize, 9),
        severity_text: Column::constant(rows as usize, Text::from("INFO")),
        source: Column::constant(rows as usize, Text::from("/var/log/nginx/access.log")),
        attributes: Column::constant(rows as usize, attributes),
        bodies: Bodies::Lines { rows, data: data.into() },
    })
}

async fn append(tables: &Tables, index: u64, columns: &Columns) {
    tables.append(index, Some(record_batch(columns, &about(index)).unwrap())).await;
}

/// Tables over a lake: two records in the lake, one in memory.
async fn half_flushed(folder: &std::path::Path) -> (Arc<Tables>, Local) {
    let lake: Arc<dyn Store> = Arc::new(DuckLake::open(folder).await.unwrap());
    let tables = Tables::open(Arc::clone(&lake), TablesOptions::default()).await.unwrap();
    append(&tables, 1, &lines(3, 1)).await;
    append(&tables, 2, &lines(3, 2)).await;
    tables.close();
    tables.run().await;
    let tables = Tables::open(lake, TablesOptions::default()).await.unwrap();
    append(&tables, 3, &lines(3, 3)).await;
    let engine = Local::new(Arc::clone(&tables), QueryLimits::default()).unwrap();
    (tables, engine)
}

fn values(answer: &Answer) -> Vec<Vec<Value>> {
    answer.batches.iter().flat_map(|batch| export::values(batch).unwrap()).collect()
}

async fn ask(engine: &Local, sql: &str) -> Vec<Vec<Value>> {
    match engine.sql(sql, None).await {
        Ok(answer) => values(&answer),
        Err(error) => panic!("{sql}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lake_and_memory_answer_as_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let (_tables, engine) = half_flushed(folder.path()).await;
    let cases = [
        ("SELECT count(*) FROM logs", json!([[9]])),
        ("SELECT count(DISTINCT seq) FROM logs", json!([[9]])),
        (
            "SELECT body, host, severity FROM logs ORDER BY time DESC, seq DESC LIMIT 1",
            json!([["GET /a/3/2 from a client", "web-1", 9]]),
        ),
        ("SELECT count(*) FROM logs WHERE body LIKE '%/a/1/%'", json!([[3]])),
        ("SELECT count(*) FROM logs WHERE body ILIKE '%GET /A/3/%'", json!([[3]])),
        ("SELECT count(*) FROM logs WHERE source = '/var/log/nginx/access.log'", json!([[9]])),
        ("SELECT count(*) FROM logs WHERE host = 'web-1' AND severity >= 9", json!([[9]])),
        ("SELECT count(*) FROM logs WHERE time > '2024-10-04T00:00:00.000000001Z'", json!([[6]])),
        ("SELECT count(*) FROM logs WHERE attributes['status'] = '200'", json!([[3]])),
        ("SELECT count(*) FROM logs WHERE attribute(attributes, 'status') = '200'", json!([[3]])),
        ("SELECT DISTINCT attributes['none'] FROM logs", json!([[null]])),
        ("SELECT DISTINCT resource['env'] FROM logs", json!([["prod"]])),
        (
            "SELECT attributes['status'] AS s, count(*) FROM logs GROUP BY s ORDER BY s",
            json!([["200", 3], ["a status that is longer than a view", 6]]),
        ),
        (
            "SELECT attributes['status'] FROM logs WHERE seq < 3 << 20 GROUP BY attributes['status'] ORDER BY 1 LIMIT 1",
            json!([["200"]]),
        ),
        ("SELECT attributes FROM logs WHERE seq = 2 << 20", json!([[{"status": "200"}]])),
        ("SELECT count(*) FROM metrics", json!([[0]])),
        ("SELECT count(*) FROM flows", json!([[0]])),
        ("SELECT max(time), min(seq) FROM logs", json!([["2024-10-04T00:00:00.000000003Z", 1 << 20]])),
        ("SELECT raw_body, observed_time IS NULL FROM logs LIMIT 1", json!([[null, false]])),
        ("WITH a AS (SELECT * FROM logs) SELECT count(*) FROM a JOIN logs b USING (seq)", json!([[9]])),
        ("VALUES (1)", json!([[1]])),
    ];
    for (sql, expected) in cases {
        assert_eq!(json!(ask(&engine, sql).await), expected, "{sql}");
    }
    for sql in ["SHOW TABLES", "DESCRIBE logs", "SHOW COLUMNS FROM logs", "EXPLAIN SELECT * FROM logs"] {
        assert!(!ask(&engine, sql).await.is_empty(), "{sql}");
    }
    let all = engine.sql("SELECT * FROM logs ORDER BY seq", None).await.unwrap();
    for batch in &all.batches {
        export::csv(batch, true).unwrap();
    }
    let (mut pieces, _) = export::ArrowPieces::begin(&all.schema).unwrap();
    for batch in &all.batches {
        pieces.batch(batch).unwrap();
    }
}

#[tokio::test]
async fn what_is_not_a_query_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_tables, engine) = half_flushed(folder.path()).await;
    for sql in [
        "DROP TABLE logs",
        "DELETE FROM logs",
        "UPDATE logs SET body = ''",
        "INSERT INTO logs SELECT * FROM logs",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/etc/passwd'",
        "COPY logs TO '/tmp/out.parquet'",
        "COPY (SELECT 1) TO '/tmp/out.parquet'",
        "SET datafusion.execution.batch_size = 1",
        "EXPLAIN ANALYZE INSERT INTO logs SELECT * FROM logs",
        "PREPARE p AS SELECT 1",
        "SELECT 1; SELECT 2",
    ] {
        let error = engine.sql(sql, None).await.expect_err(sql);
        assert!(matches!(error, QueryError::NotAQuery(_)), "{sql}: {error:?}");
    }
    for sql in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM '/tmp/a.parquet'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "",
        ";",
        "-- nothing",
        "SELEC 1",
        "SELECT",
        "SELECT bodi FROM logs",
        "SELECT * FROM log",
        "SELECT nofunction(1)",
        "SELECT CAST(body AS INT) FROM logs",
        "SELECT 1/0",
        "SELECT attribute(body, 'k') FROM logs",
        "SELECT attribute(attributes, body) FROM logs",
        "SELECT attribute(attributes, 1) FROM logs",
        "SELECT sum(attributes) FROM logs",
        "SELECT count(*) FROM logs WHERE time > 'yesterday'",
    ] {
        let error = engine.sql(sql, None).await.expect_err(sql);
        assert!(matches!(error, QueryError::Invalid(_)), "{sql}: {error:?}");
    }
    let error = engine.sql("SELECT * FROM logs WHERE time > 'yesterday'", None).await.unwrap_err();
    assert!(error.to_string().contains("yesterday"), "{error}");
    let deep = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    engine.sql(&deep, None).await.expect_err("deep");
    let wide = |operators| format!("SELECT {}1", "1+".repeat(operators));
    assert!(matches!(engine.sql(&wide(20_000), None).await, Err(QueryError::Invalid(_))));
    assert_eq!(ask(&engine, &wide(900)).await, [[json!(901)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_row_limit_cuts_an_answer_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (tables, _) = half_flushed(folder.path()).await;
    let limits = QueryLimits { max_rows: 4, ..QueryLimits::default() };
    let engine = Local::new(tables, limits).unwrap();
    let answer = engine.sql("SELECT * FROM logs", None).await.unwrap();
    assert_eq!((values(&answer).len(), answer.truncated), (4, true));
    let answer = engine.sql("SELECT * FROM logs", Some(2)).await.unwrap();
    assert_eq!((values(&answer).len(), answer.truncated), (2, true));
    let answer = engine.sql("SELECT * FROM logs LIMIT 4", None).await.unwrap();
    assert_eq!((values(&answer).len(), answer.truncated), (4, false));
    let large = "SELECT * FROM generate_series(1, 10000000) a ORDER BY 1 DESC";
    let answer = engine.sql(large, None).await.unwrap();
    assert_eq!((values(&answer).len(), answer.truncated), (4, true), "no more is sorted than is asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_is_there_once_while_flushes_run() {
    let folder = tempfile::tempdir().unwrap();
    let lake: Arc<dyn Store> = Arc::new(DuckLake::open(folder.path()).await.unwrap());
    let options = TablesOptions { flush_bytes: 20_000, ..TablesOptions::default() };
    let tables = Tables::open(lake, options).await.unwrap();
    let runner = tokio::spawn({
        let tables = Arc::clone(&tables);
        async move { tables.run().await }
    });
    let engine = Arc::new(Local::new(Arc::clone(&tables), QueryLimits::default()).unwrap());
    let reader = tokio::spawn({
        let (engine, tables) = (Arc::clone(&engine), Arc::clone(&tables));
        async move {
            let mut last = 0;
            while last < 60 * 50 {
                let row = ask(&engine, "SELECT count(*), count(DISTINCT seq), max(seq) FROM logs").await;
                let [count, distinct, _] = &row[0][..] else { panic!() };
                assert_eq!(count, distinct);
                let count = count.as_i64().unwrap();
                assert!(count >= last && count % 50 == 0, "{count} after {last}");
                last = count;
            }
            tables.stats().flushes
        }
    });
    for index in 1..=60 {
        append(&tables, index, &lines(50, index)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let flushes = tokio::time::timeout(Duration::from_secs(30), reader).await.unwrap().unwrap();
    assert!(flushes > 1, "the test saw {flushes} flushes");
    tables.close();
    runner.await.unwrap();
    assert_eq!(*tables.committed().borrow(), 60);
    assert_eq!(ask(&engine, "SELECT count(*) FROM logs").await, [[json!(3000)]]);
}

#[tokio::test]
async fn what_other_dialects_write_works_too() {
    let folder = tempfile::tempdir().unwrap();
    let (_tables, engine) = half_flushed(folder.path()).await;
    for (sql, expected) in [
        ("SELECT DISTINCT attributes.status FROM logs WHERE seq = 2 << 20", json!([["200"]])),
        ("SELECT count(*) FROM logs WHERE attributes.status = '200'", json!([[3]])),
        ("SELECT count(*) FROM logs l WHERE l.attributes.status = '200'", json!([[3]])),
        ("SELECT count(*) FROM logs WHERE attributes ->> 'status' = '200'", json!([[3]])),
        ("SELECT count(*) FROM logs WHERE attributes -> 'status' = '200'", json!([[3]])),
        ("SELECT count(*) FROM logs WHERE attributes ->> 'status' IN ('200') AND seq > 0", json!([[3]])),
        ("SELECT count(*) FROM logs WHERE attributes ->> 'status' LIKE '2%' OR seq < 0", json!([[3]])),
        ("SELECT count(*) FROM logs WHERE attributes ->> 'status' IS NOT NULL", json!([[9]])),
        ("SELECT count(*) FROM logs WHERE attributes ->> 'nothing' IS NULL", json!([[9]])),
        ("SELECT DISTINCT resource.env FROM logs", json!([["prod"]])),
        ("SELECT count(*) FROM logs WHERE severity = 'INFO'", json!([[9]])),
        ("SELECT count(*) FROM logs WHERE severity = 'error'", json!([[0]])),
        ("SELECT count(*) FROM logs WHERE severity <> 'ERROR'", json!([[9]])),
        ("SELECT count(*) FROM logs WHERE severity >= 'WARN'", json!([[0]])),
        ("SELECT count(*) FROM logs WHERE severity > 'DEBUG'", json!([[9]])),
        ("SELECT count(*) FROM logs WHERE severity < 'WARN' AND severity <= 'INFO'", json!([[9]])),
        ("SELECT count(*) FROM logs WHERE severity = '9'", json!([[9]])),
    ] {
        assert_eq!(json!(ask(&engine, sql).await), expected, "{sql}");
    }
}

#[tokio::test]
async fn an_error_says_how_to_write_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_tables, engine) = half_flushed(folder.path()).await;
    for (sql, expected) in [
        ("SELECT * FROM log", "table \"log\" not found; did you mean logs?"),
        ("SELECT * FROM Metric", "table \"metric\" not found; did you mean metrics?"),
        ("SELECT * FROM events", "table \"events\" not found; there are logs, metrics, flows, ledger"),
        ("SELECT bodi FROM logs", "column \"bodi\" not found; did you mean body?"),
        ("SELECT l.bodi FROM logs l", "column \"l.bodi\" not found; did you mean l.body?"),
        ("SELECT \"Body\" FROM logs", "column \"Body\" not found; did you mean body?"),
        (
            "SELECT message FROM logs",
            "column \"message\" not found; there are time, observed_time, host, source, severity, severity_text, body, \
             raw_body, attributes, resource, agent, seq",
        ),
        (
            "SELECT * FROM logs WHERE host = \"web-1\"",
            "column \"web-1\" not found; double quotes name a column, a text is written 'web-1'",
        ),
        ("SELECT nothing", "column \"nothing\" not found; a query without FROM has no columns"),
        ("SELECT lenght(body) FROM logs", "Invalid function 'lenght'. Did you mean 'length'?"),
    ] {
        let error = engine.sql(sql, None).await.expect_err(sql).to_string();
        assert_eq!(error, expected, "{sql}");
    }
    let error = engine.sql("SELECT * FROM logs WHERE severity IN ('ERROR')", None).await.unwrap_err();
    assert!(error.to_string().contains("severity is a number: 'TRACE'"), "{error}");
    let error = engine.sql("SELECT * FROM logs WHERE severity = 'LOUD'", None).await.unwrap_err();
    assert!(error.to_string().contains("severity_text = 'LOUD'"), "{error}");
}

#[tokio::test]
async fn metrics_come_back_from_the_lake() {
    let folder = tempfile::tempdir().unwrap();
    let lake: Arc<dyn Store> = Arc::new(DuckLake::open(folder.path()).await.unwrap());
    let tables = Tables::open(lake, TablesOptions::default()).await.unwrap();
    let histogram = lapwing::v1::Histogram {
        count: 3,
        sum: 1.5,
        explicit_bounds: vec![1.0, 2.0],
        bucket_counts: vec![1, 2, 0],
    };
    let columns = Columns::Metrics(MetricColumns {
        time: Column::Plain(vec![1, u64::MAX]),
        start_time: Column::constant(2, 0),
        name: Column::constant(2, Text::from("system.cpu.utilization")),
        unit: Column::constant(2, Text::from("1")),
        kind: Column::Plain(vec![1, 4]),
        attributes: Column::constant(2, Attributes::default()),
        value: Column::Plain(vec![0.5, 0.0]),
        histogram: Column::Plain(vec![None, Some(histogram)]),
    });
    append(&tables, 1, &columns).await;
    let engine = Local::new(Arc::clone(&tables), QueryLimits::default()).unwrap();
    let sql = "SELECT value, kind, start_time, histogram_count, histogram_bounds, histogram_counts, attributes, time FROM metrics ORDER BY time";
    let before = ask(&engine, sql).await;
    tables.close();
    tables.run().await;
    assert_eq!(ask(&engine, sql).await, before);
    assert_eq!(before[0][..4], [json!(0.5), json!("gauge"), Value::Null, Value::Null]);
    assert_eq!(before[1][4], json!([1.0, 2.0]));
}

#[tokio::test]
async fn a_lake_that_was_moved_is_read_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let open = async |folder: &std::path::Path| {
        let lake: Arc<dyn Store> = Arc::new(DuckLake::open(folder).await.unwrap());
        Tables::open(lake, TablesOptions::default()).await.unwrap()
    };
    let tables = open(&old).await;
    append(&tables, 1, &lines(10, 1)).await;
    tables.close();
    tables.run().await;
    drop(tables);
    std::fs::rename(&old, &new).unwrap();
    let engine = Local::new(open(&new).await, QueryLimits::default()).unwrap();
    assert_eq!(ask(&engine, "SELECT count(*) FROM logs").await, [[json!(10)]]);
}

/// Made by lapwing at commit e1006a4: three flushes, of the journal up to record 6, of a log line and a metric point each.
const OLD_LAKE: &str = "tests/fixtures/lake-v1";

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &name);
        } else {
            std::fs::copy(entry.path(), name).unwrap();
        }
    }
}

#[tokio::test]
async fn a_lake_of_the_first_version_is_opened_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    copy(OLD_LAKE.as_ref(), folder.path());
    let count = "SELECT count(*), count(DISTINCT body) FROM logs";
    for (index, before) in [(7, 3), (8, 13)] {
        let lake: Arc<dyn Store> = Arc::new(DuckLake::open(folder.path()).await.unwrap());
        let tables = Tables::open(lake, TablesOptions::default()).await.unwrap();
        assert_eq!(*tables.committed().borrow(), index - 1);
        let engine = Local::new(Arc::clone(&tables), QueryLimits::default()).unwrap();
        assert_eq!(ask(&engine, count).await, [[json!(before), json!(before)]]);
        assert_eq!(ask(&engine, "SELECT sum(value) FROM metrics").await, [[json!(6.0)]]);

        append(&tables, index, &lines(10, index)).await;
        tables.close();
        tables.run().await;
        assert_eq!(ask(&engine, count).await, [[json!(before + 10), json!(before + 10)]]);
    }
}
