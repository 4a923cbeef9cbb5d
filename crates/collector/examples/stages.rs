//! What the stages cost a line, beside making rows of it.
//!
//! usage: stages [LOG ...]
//!
//! Prints nanoseconds per line, the best of some rounds, for lines of its own or those of files. Build it with `--release`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints its findings")]

use std::{
    fs,
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use lapwing::{
    columns::{Attributes, Columns, Encoded, LogColumns},
    limits::Limits,
    v1::Signal,
};
use lapwing_collector::{config::ProcessingConfig, processor::stage::Stages};
use lapwing_parse::Settings;
use lapwing_store::rows::{About, record_batch};

/// Lines of a batch, and how often it is processed.
const LINES: usize = 5000;
const ROUNDS: usize = 200;
/// 2026-03-04, when the lines were read.
const READ: u64 = 1_772_700_000_000_000_000;

const KINDS: [(&str, &str); 5] = [
    (
        "access log",
        "10.0.0.1 - - [04/Mar/2026:05:06:07 +0100] \"GET /a/b.html?c=d&e=f HTTP/1.1\" 200 5120 \"-\" \"Mozilla/5.0 (X11; Linux)\"",
    ),
    ("Log4j", "2026-03-04 05:06:07,123 - WARN  [worker-7:Pool@231] - no connection for 30 s, waiting"),
    ("syslog", "Mar  4 05:06:07 host sshd[24200]: Failed password for root from 10.0.0.1 port 38926 ssh2"),
    (
        "JSON",
        r#"{"ts":"2026-03-04T05:06:07.123Z","level":"warn","msg":"slow","path":"/a","ms":120,"user":{"id":7}}"#,
    ),
    ("no time", "    at com.example.server.Handler.handle(Handler.java:231)"),
];

fn main() -> ExitCode {
    println!("{:<40} {:>10} {:>10}", "ns per line", "stages", "rows");
    for (name, line) in KINDS {
        measure(name, format!("{line}\n").repeat(LINES).as_bytes());
    }
    for path in std::env::args().skip(1) {
        match fs::read(&path) {
            Ok(lines) => measure(&path, &lines),
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn measure(name: &str, lines: &[u8]) {
    let count = lines.iter().filter(|byte| **byte == b'\n').count();
    let columns =
        Columns::Logs(LogColumns::lines("/var/log/a".into(), READ, count as u32, lines.to_vec().into()));
    let config = ProcessingConfig {
        recognise: true,
        settings: Settings::default(),
        time_ahead: Duration::from_secs(600),
    };
    let (stages, about) = (Stages::new(&config), about());
    let encoded = Encoded::read(columns.encode().into(), Signal::Logs, count as u32, &Limits::journaled());
    let Ok(encoded) = encoded else { return eprintln!("{name}: too much for one batch") };

    let (mut in_stages, mut in_rows) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let mut columns = columns.clone();
        let started = Instant::now();
        let room = stages.room(&encoded, None);
        for stage in stages.iter() {
            if let Err(error) = stage.run(&mut columns, &about, room) {
                eprintln!("{name}: {error}");
            }
        }
        in_stages = in_stages.min(started.elapsed());

        let started = Instant::now();
        let _ = black_box(record_batch(&columns, &about));
        in_rows = in_rows.min(started.elapsed());
    }
    let per_line = |time: Duration| time.as_nanos() as f64 / count as f64;
    println!("{name:<40} {:>10.0} {:>10.0}", per_line(in_stages), per_line(in_rows));
}

fn about() -> About {
    let resource = [("host.name", "a")].into_iter().collect::<Attributes>();
    About {
        agent: "a".to_owned(),
        resource,
        time_zone: "CET-1CEST,M3.5.0,M10.5.0/3".to_owned(),
        journal_index: 1,
    }
}
