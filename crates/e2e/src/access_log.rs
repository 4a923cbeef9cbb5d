//! Lines like those of a web server, for benchmarks: skewed like real traffic, each with bytes of its own.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

const METHODS: [&str; 8] = ["GET", "GET", "GET", "GET", "GET", "GET", "POST", "PUT"];
const STATUS: [u16; 12] = [200, 200, 200, 200, 200, 200, 200, 304, 301, 404, 404, 500];
const WORDS: [&str; 24] = [
    "cart", "user", "order", "item", "search", "login", "asset", "image", "review", "price", "stock", "geo",
    "feed", "invite", "team", "repo", "issue", "note", "chart", "panel", "alert", "event", "trace", "query",
];
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Safari/",
    "curl/8.",
    "Go-http-client/1.",
    "kube-probe/1.",
];

/// Makes lines.
#[derive(Debug)]
pub struct AccessLog {
    state: u64,
    addresses: Vec<String>,
    millis: u64,
}

impl Default for AccessLog {
    fn default() -> Self {
        let mut log = Self { state: 0x2545_f491_4f6c_dd1d, addresses: Vec::new(), millis: 1_760_000_000_000 };
        log.addresses = (0..5000)
            .map(|_| {
                let bytes = log.random().to_le_bytes();
                format!("{}.{}.{}.{}", bytes[0].max(1), bytes[1], bytes[2], bytes[3])
            })
            .collect();
        log
    }
}

impl AccessLog {
    /// Appends a line with its end.
    pub fn line(&mut self, out: &mut Vec<u8>) {
        self.millis += self.random() % 20;
        let address = self.skewed(self.addresses.len());
        let (method, status) = (self.pick(METHODS.len()), self.pick(STATUS.len()));
        let (first, second) = (self.skewed(WORDS.len()), self.skewed(WORDS.len()));
        let (id, size, token) = (self.random() % 1_000_000, self.random() % 60_000, self.random());
        let (agent, version) = (self.skewed(AGENTS.len()), self.skewed(120));
        let (seconds, millis) = (self.millis / 1000, self.millis % 1000);
        let _ = writeln!(
            out,
            "{} - - [{seconds}.{millis:03}] \"{} /{}/{}/{id}?s={token:016x} HTTP/1.1\" {} {size} \"-\" \"{}{version}.0\"",
            self.addresses[address],
            METHODS[method],
            WORDS[first],
            WORDS[second],
            STATUS[status],
            AGENTS[agent],
        );
    }

    /// Writes a file of about `bytes` bytes and gives its number of lines and bytes.
    pub fn write_file(&mut self, path: &Path, bytes: u64) -> io::Result<(u64, u64)> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let (mut line, mut lines, mut written) = (Vec::new(), 0, 0);
        while written < bytes {
            line.clear();
            self.line(&mut line);
            file.write_all(&line)?;
            lines += 1;
            written += line.len() as u64;
        }
        file.flush()?;
        Ok((lines, written))
    }

    /// xorshift64.
    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn pick(&mut self, n: usize) -> usize {
        (self.random() % n as u64) as usize
    }

    /// Below `n`, small numbers much likelier.
    fn skewed(&mut self, n: usize) -> usize {
        let unit = (self.random() >> 11) as f64 / (1u64 << 53) as f64;
        ((n as f64) * unit.powi(3)) as usize
    }
}
