//! What a line of each style costs.
//!
//! usage: speed
//!
//! Prints nanoseconds per line, the best of some rounds, for lines like those of each style. Build it with
//! `--release`.
#![allow(clippy::print_stdout, reason = "a program that prints its findings")]

use std::{hint::black_box, time::Instant};

use lapwing_parse::{Settings, recognise};

/// How often each line is read in a round, and how many rounds there are: short ones, so that the best is one
/// without interruption.
const TIMES: u32 = 500;
const ROUNDS: usize = 2000;

const LINES: [(&str, &str); 22] = [
    ("RFC 3339", "2026-03-04T05:06:07.123456Z  INFO app::server: request finished in 12 ms status=200"),
    ("Log4j", "2026-03-04 05:06:07,123 - WARN  [worker-7:Pool@231] - no connection for 30 s, waiting"),
    ("Spark", "26/03/04 05:06:07 INFO storage.BlockManager: Found block rdd_2_1 locally"),
    ("HDFS", "260304 050607 148 INFO dfs.DataNode: PacketResponder 1 for block blk_38 terminating"),
    ("OpenStack", "api.log.1.2026-03-04_13:53:08 2026-03-04 05:06:07.123 25746 INFO nova.wsgi [req-1] GET"),
    ("logcat", "03-04 05:06:07.123  1702  2395 D WindowManager: app transition is ready"),
    ("BGL", "- 1772600767 2026.03.04 R02-M1 2026-03-04-05.06.07.363779 R02-M1 RAS KERNEL INFO cache parity"),
    ("HPC", "134681 node-246 unix.hw state_change.unavailable 1772600767 1 Component State Change"),
    (
        "syslog 3164",
        "Mar  4 05:06:07 host sshd[24200]: Failed password for root from 10.0.0.1 port 38926 ssh2",
    ),
    ("syslog 5424", "<165>1 2026-03-04T05:06:07.003Z host app 1234 ID47 - the request was slow"),
    ("Apache error", "[Wed Mar 04 05:06:07 2026] [error] mod_jk child workerEnv in error state 6"),
    ("common log", "10.0.0.1 - - [04/Mar/2026:05:06:07 +0100] \"GET /index.html HTTP/1.1\" 200 5120"),
    ("nginx error", "2026/03/04 05:06:07 [error] 1234#1234: *1 open() \"/x\" failed"),
    ("klog", "I0304 05:06:07.123456       1 controller.go:231] synced in 12ms"),
    ("Windows CBS", "2026-03-04 05:06:07, Info                  CBS    Loaded Servicing Stack v6.1"),
    ("HealthApp", "20260304-5:6:7:606|Step_LSC|30002312|onStandStepChanged 3579"),
    ("Proxifier", "[03.04 05:06:07] chrome.exe - proxy.example.com:5070 close, 0 bytes sent"),
    ("epoch", "1772600767.123 45 10.0.0.1 TCP_MISS/200 5120 GET http://example.com/"),
    ("no time", "    at com.example.server.Handler.handle(Handler.java:231)"),
    ("no level", "2026-03-04T05:06:07Z the quick brown fox jumps over the lazy dog and runs away again"),
    (
        "JSON",
        r#"{"ts":"2026-03-04T05:06:07.123Z","level":"warn","msg":"slow","path":"/a","ms":120,"user":{"id":7}}"#,
    ),
    ("logfmt", r#"time=2026-03-04T05:06:07Z level=info msg="request done" path=/a status=200 ms=12"#),
];

fn main() {
    for (style, line) in LINES {
        let best = (0..ROUNDS).map(|_| round(line.as_bytes())).fold(f64::INFINITY, f64::min);
        println!("{style:<14} {best:>7.0} ns");
    }
}

fn round(line: &[u8]) -> f64 {
    let settings = Settings::default();
    let started = Instant::now();
    for _ in 0..TIMES {
        black_box(recognise(black_box(line), 1_772_700_000_000_000_000, &settings));
    }
    started.elapsed().as_nanos() as f64 / f64::from(TIMES)
}
