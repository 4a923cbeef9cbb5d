//! Queries in processes of their own: the real program, asked whatever comes to mind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use lapwing::columns::{Attributes, Bodies, Column, Columns, LogColumns, Text};
use lapwing_store::{
    Asker, Newest, QueryLimits, Store, Tables, TablesOptions,
    ducklake::DuckLake,
    engine::QueryError,
    export,
    process::{AskerOptions, Program, Rows},
    rows::{About, record_batch},
};
use serde_json::{Value, json};

/// Longer than a query may take, and shorter than one that nobody ends.
const PATIENCE: Duration = Duration::from_secs(60);

fn lines(rows: u32, index: u64) -> Columns {
    let data: String = (0..rows).map(|row| format!("GET /a/{index}/{row} from a client\n")).collect();
    let attributes: Attributes = [("status", "a status that is longer than a view")].into_iter().collect();
    let count = rows as usize;
    Columns::Logs(LogColumns {
        time: Column::constant(count, 1_728_000_000_000_000_000 + index),
        observed_time: Column::constant(count, 1_728_000_000_000_000_000 + index),
        severity_number: Column::constant(count, 9),
        severity_text: Column::constant(count, Text::from("INFO")),
        source: Column::constant(count, Text::from("/var/log/nginx/access.log")),
        attributes: Column::constant(count, attributes),
        bodies: Bodies::Lines { rows, data: data.into() },
    })
}

async fn append(tables: &Tables, index: u64, rows: u32) {
    let resource: Attributes = [("host.name", "web-1")].into_iter().collect();
    let about =
        About { agent: "agent-1".to_owned(), resource, time_zone: String::new(), journal_index: index };
    tables.append(index, Some(record_batch(&lines(rows, index), &about).unwrap())).await;
}

struct Bench {
    folder: tempfile::TempDir,
    asker: Arc<Asker>,
}

/// An asker over a lake with one record of `rows` rows, and another in memory.
async fn bench(rows: u32, limits: QueryLimits) -> Bench {
    bench_of_files(1, rows, limits).await
}

/// An asker over a lake with a record of `rows` rows in each of `files` files, and another in memory.
async fn bench_of_files(files: u64, rows: u32, limits: QueryLimits) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let lake: Arc<dyn Store> = Arc::new(DuckLake::open(&path.join("lake")).await.unwrap());
    for file in 1..=files {
        let tables = Tables::open(Arc::clone(&lake), TablesOptions::default()).await.unwrap();
        append(&tables, file, rows).await;
        tables.close();
        tables.run().await;
    }
    let tables = Tables::open(lake, TablesOptions::default()).await.unwrap();
    append(&tables, files + 1, rows).await;

    let program = Program {
        path: env!("CARGO_BIN_EXE_lapwing-collector").into(),
        arguments: vec![
            "--query-process".into(),
            path.join("lake").into(),
            limits.max_memory.to_string().into(),
        ],
        spill: path.join("queries"),
    };
    let asker = Asker::start(Newest::new(tables, None), AskerOptions { limits, program }).unwrap();
    Bench { folder, asker: Arc::new(asker) }
}

fn short(seconds: u64, concurrency: usize) -> QueryLimits {
    QueryLimits {
        max_rows: 100_000,
        max_time: Duration::from_secs(seconds),
        max_memory: 64 << 20,
        concurrency,
    }
}

async fn read(mut rows: Rows) -> Result<(Vec<Vec<Value>>, bool), QueryError> {
    let mut values = Vec::new();
    while let Some(batch) = rows.next().await? {
        values.extend(export::values(&batch).unwrap());
    }
    Ok((values, rows.truncated().unwrap()))
}

async fn ask(asker: &Asker, query: &str) -> Result<Vec<Vec<Value>>, QueryError> {
    Ok(read(asker.ask(query, None).await?).await?.0)
}

/// A figure of `/proc/ID/status`.
fn status(id: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

/// The query processes that work below `folder`.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().unwrap().display().to_string();
    let ids = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let ids = ids.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()));
    ids.filter(|id| {
        fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|words| words.contains(&folder))
    })
    .filter(|id| {
        fs::read_to_string(format!("/proc/{id}/status")).is_ok_and(|text| !text.contains("Z (zombie)"))
    })
    .collect()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_answers_over_lake_and_memory_as_one_table() {
    let bench = bench(3, short(60, 2)).await;
    for (query, expected) in [
        ("SELECT count(*) FROM logs", json!([[6]])),
        ("SELECT count(DISTINCT seq), min(host) FROM logs", json!([[6, "web-1"]])),
        ("SELECT body FROM logs ORDER BY seq DESC LIMIT 1", json!([["GET /a/2/2 from a client"]])),
        (
            "SELECT attributes, time FROM logs WHERE seq = 2 << 20",
            json!([[{"status": "a status that is longer than a view"}, "2024-10-04T00:00:00.000000002Z"]]),
        ),
        ("WITH a AS (SELECT * FROM logs) SELECT count(*) FROM a JOIN logs b USING (seq)", json!([[6]])),
        ("SELECT count(*) FROM logs WHERE seq IN (SELECT max(seq) FROM logs)", json!([[1]])),
        ("SELECT count(*) FROM metrics", json!([[0]])),
        ("SELECT count(*) FROM ledger", json!([[0]])),
        ("SELECT 1 WHERE false", json!([])),
        ("SELECT NULL", json!([[null]])),
    ] {
        assert_eq!(json!(ask(&bench.asker, query).await.unwrap()), expected, "{query}");
    }
    let answer = bench.asker.ask("SELECT * FROM logs", Some(4)).await.unwrap();
    assert_eq!(answer.truncated(), Some(true), "known before the first row is read");
    assert_eq!(read(answer).await.unwrap().0.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_query_does_it_ends_in_time_and_the_collector_keeps_its_memory() {
    let limits = short(2, 2);
    let bench = bench(1_000, limits.clone()).await;
    ask(&bench.asker, "SELECT count(*) FROM logs").await.unwrap();
    let before = status("self", "VmRSS") << 10;

    for query in hostile() {
        let begun = Instant::now();
        let answer = ask(&bench.asker, &query).await;
        let short = &query[..query.len().min(100)];
        // The promise is a second; a machine that is busy with other tests gets some more.
        assert!(begun.elapsed() < limits.max_time + Duration::from_secs(5), "{short}: {:?}", begun.elapsed());
        if let Err(error) = &answer {
            assert!(!matches!(error, QueryError::Failed(_)), "{short}: {error}");
        }
        let now = status("self", "VmRSS") << 10;
        assert!(now < before + (32 << 20), "{short}: {before} bytes before, {now} after");
        assert_eq!(ask(&bench.asker, "SELECT 1").await.unwrap(), [[json!(1)]], "after {short}");
    }
}

/// Queries that took the collector's memory or its time while it ran them itself.
fn hostile() -> Vec<String> {
    let doubled = |levels: usize| {
        let parts: Vec<String> = (1..levels)
            .map(|n| format!("c{n} AS (SELECT * FROM c{0} UNION ALL SELECT * FROM c{0})", n - 1))
            .collect();
        format!("WITH c0 AS (SELECT 1 AS x), {} SELECT count(*) FROM c{}", parts.join(", "), levels - 1)
    };
    let nested = (0..50).fold("SELECT 1 AS x".to_owned(), |query, n| {
        format!("SELECT * FROM ({query}) a{n} UNION ALL SELECT * FROM (SELECT 1 AS x) b{n}")
    });
    let numbers: Vec<String> = (0..40_000).map(|n| n.to_string()).collect();
    let texts: Vec<String> = (0..20_000).map(|n| format!("'t{n}'")).collect();
    let mut queries: Vec<String> = [
        "SELECT count(*) FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b WHERE a.value * b.value = -1",
        "SELECT range(0, 1000000000)",
        "SELECT generate_series(1, 3000000000)",
        "SELECT count(*) FROM generate_series(1, 100000000000) a",
        "SELECT length(lpad('a', 2000000000, 'b'))",
        "SELECT length(rpad(body, 1073741824, 'a')) FROM logs",
        "SELECT length(repeat('a', 2000000000))",
        "SELECT length(repeat(body, 5000000)) FROM logs",
        "SELECT array_length(array_repeat(1, 1000000000))",
        "SELECT length(string_agg(repeat(body, 100000), ',')) FROM logs",
        "SELECT array_length(array_agg(repeat(body, 100000))) FROM logs",
        "SELECT replace(repeat('a', 1000000), 'a', repeat('b', 100000))",
        "SELECT levenshtein(repeat('a', 300000), repeat('b', 300000))",
        "SELECT a.body FROM logs a, logs b, logs c, logs d ORDER BY a.body || b.body || c.body || d.body",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
        "SELECT repeat('x', 4000000) FROM generate_series(1, 400)",
    ]
    .map(str::to_owned)
    .into();
    queries.push(doubled(24));
    queries.push(nested);
    queries.push(format!("SELECT count(*) FROM logs WHERE seq IN ({})", numbers.join(",")));
    queries.push(format!("SELECT count(*) FROM logs WHERE body IN ({})", texts.join(",")));
    queries.push(format!("SELECT {}", numbers.join(",")));
    queries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_name_the_limit_and_what_to_do() {
    let bench = bench(10, short(1, 2)).await;
    for (query, expected) in [
        ("SELECT length(repeat('a', 2000000000))", "the query needed more memory than 64 MiB"),
        ("SELECT count(*) FROM generate_series(1, 100000000000) a", "the query took longer than 1 s"),
        ("SELECT nothing FROM logs", "column \"nothing\" not found"),
        ("DELETE FROM logs", "only queries are answered"),
    ] {
        let error = ask(&bench.asker, query).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{query}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_needs_more_than_its_share_gets_all_of_the_memory_alone() {
    let bench = bench(10, QueryLimits { max_memory: 128 << 20, ..short(60, 8) }).await;
    // 16 MiB are its share.
    let answer = ask(&bench.asker, "SELECT length(repeat('a', 12000000))").await.unwrap();
    assert_eq!(answer, [[json!(12_000_000)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_gathers_rows_never_breaks_off_where_all_of_the_memory_would_do() {
    // Shares of 32 MiB and of 16 MiB. Each failed in the middle of its answer, some with all of the memory, too.
    let wide = "SELECT seq, body, repeat(body, 3) AS wide FROM logs ORDER BY wide LIMIT 30000";
    let wider = "SELECT seq, repeat(body, 6) AS wide FROM logs ORDER BY wide";
    let numbered = "SELECT seq, body, row_number() OVER (ORDER BY body) FROM logs";
    let joined = "SELECT a.seq, a.body, b.body FROM logs a JOIN logs b USING (seq) ORDER BY a.seq";
    let sorted = "SELECT seq, body FROM logs ORDER BY body DESC";
    for (megabytes, queries) in [
        (256, [(sorted, 90_000), (wide, 30_000), (numbered, 90_000)]),
        (128, [(wider, 90_000), (joined, 90_000), (numbered, 90_000)]),
    ] {
        let limits = QueryLimits { max_memory: megabytes << 20, ..short(60, 8) };
        let bench = bench_of_files(8, 10_000, limits).await;
        for (query, rows) in queries {
            match ask(&bench.asker, query).await {
                Ok(answer) => assert_eq!(answer.len(), rows, "{query}"),
                Err(error) => panic!("{query}: {error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_reads_waits_in_the_process_and_holds_its_share_until_it_is_dropped() {
    let bench = bench(100, short(2, 1)).await;
    ask(&bench.asker, "SELECT 1").await.unwrap();
    let before = status("self", "VmRSS") << 10;
    let many = "SELECT repeat('x', 1000) FROM generate_series(1, 90000)";
    let mut unread = bench.asker.ask(many, None).await.unwrap();
    assert_eq!(unread.truncated(), None);
    unread.next().await.unwrap().unwrap();
    let error = ask(&bench.asker, "SELECT 1").await.unwrap_err();
    assert!(matches!(error, QueryError::Timeout(_)), "{error}");
    let now = status("self", "VmRSS") << 10;
    assert!(now < before + (32 << 20), "{before} bytes before, {now} now");
    drop(unread);
    assert_eq!(ask(&bench.asker, "SELECT 1").await.unwrap(), [[json!(1)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_the_whole_answer_after_the_deadline() {
    let bench = bench(100, short(2, 1)).await;
    let query = "SELECT repeat('x', 1000) FROM generate_series(1, 5000)";
    let mut rows = bench.asker.ask(query, None).await.unwrap();
    let mut count = rows.next().await.unwrap().unwrap().num_rows();
    tokio::time::sleep(Duration::from_secs(3)).await;
    while let Some(batch) = rows.next().await.unwrap() {
        count += batch.num_rows();
    }
    assert_eq!(count, 5_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_costs_one_query() {
    let bench = bench(10, short(60, 1)).await;
    ask(&bench.asker, "SELECT 1").await.unwrap();
    let slow = tokio::spawn({
        let asker = Arc::clone(&bench.asker);
        async move { ask(&asker, "SELECT count(*) FROM generate_series(1, 100000000000) a").await }
    });
    let kill = |id: &String| {
        let pid = rustix::process::Pid::from_raw(id.parse().unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    };
    let busy = |id: &String| {
        let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        text.split_whitespace().nth(13).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0) > 50
    };
    until("a process works", || processes(bench.folder.path()).iter().any(busy)).await;
    processes(bench.folder.path()).iter().for_each(kill);
    let error = slow.await.unwrap().unwrap_err();
    assert!(matches!(error, QueryError::Failed(_)), "{error}");
    assert!(error.to_string().contains("the collector goes on"), "{error}");
    assert_eq!(ask(&bench.asker, "SELECT 1").await.unwrap(), [[json!(1)]]);
    // One that died while it waited costs none.
    processes(bench.folder.path()).iter().for_each(kill);
    assert_eq!(ask(&bench.asker, "SELECT 1").await.unwrap(), [[json!(1)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_is_given_up_ends_its_process_and_leaves_nothing() {
    let bench = bench(10, short(60, 1)).await;
    for _ in 0..3 {
        let query = "SELECT count(*) FROM generate_series(1, 100000000000) a";
        let given_up = tokio::time::timeout(Duration::from_millis(300), ask(&bench.asker, query)).await;
        assert!(given_up.is_err());
    }
    assert_eq!(ask(&bench.asker, "SELECT 1").await.unwrap(), [[json!(1)]]);
    until("one process is left", || processes(bench.folder.path()).len() == 1).await;
    let folder = bench.folder.path().to_owned();
    let spilled = || fs::read_dir(folder.join("queries")).unwrap().count();
    until("one folder is left", || spilled() == 1).await;
    drop(bench.asker);
    until("none is left", || processes(&folder).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_process_is_behind_all_others_and_has_no_rights() {
    let bench = bench(10, short(60, 1)).await;
    ask(&bench.asker, "SELECT 1").await.unwrap();
    let ids = processes(bench.folder.path());
    let [id] = &ids[..] else { panic!("{ids:?}") };
    assert_eq!((status(id, "NoNewPrivs"), status(id, "Seccomp")), (1, 2));
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let nice = stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap();
    assert_eq!(nice, "10", "{stat}");
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert!(!data.split_whitespace().nth(3).unwrap().contains("unlimited"), "{data}");
    let environment = fs::read_to_string(format!("/proc/{id}/environ")).unwrap();
    assert!(!environment.contains("HOME="), "{environment}");
}
