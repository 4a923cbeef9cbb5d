//! What a collector's config file says, checked.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use lapwing::limits::Limits;
use lapwing_parse::{DayOrder, NoZone, Settings, Zone};
use lapwing_service::{
    config::{ConfigErrors, Reader, Section},
    modes,
    secret::Secret,
    token::{AUDIENCE, MAX_LIFE, Tokens},
};
use lapwing_store::{QueryLimits, TablesOptions};

use crate::budget::Budget;

const MIB: u64 = 1 << 20;
/// Seconds of a day.
const DAY: u64 = 86_400;
/// How far ahead a time may be when nothing is given: clocks differ by seconds, not by minutes.
const TIME_AHEAD: Duration = Duration::from_secs(600);
/// An agent that comes back later than this begins anew when nothing is given.
const FORGET_AFTER_DAYS: u64 = 30;

/// A collector, as configured.
#[derive(Debug, Clone)]
pub struct CollectorConfig {
    /// Where it listens; each address serves gRPC, gRPC-web and HTTP.
    pub listen: Listen,
    /// What it may keep in memory.
    pub budget: Budget,
    /// Where it keeps journal and lake.
    pub data_dir: PathBuf,
    /// Certificate, key and the authority of clients.
    pub tls: Option<TlsConfig>,
    /// Who is let in.
    pub auth: Auth,
    /// The list of those who are let in no more.
    pub revoked_file: Option<PathBuf>,
    /// Where rows are kept for good.
    pub backend: Backend,
    /// When rows leave memory.
    pub tables: TablesOptions,
    /// Most bytes of the journal.
    pub journal_max_bytes: u64,
    /// Threads that turn batches into rows.
    pub workers: usize,
    /// What is done to rows.
    pub processing: ProcessingConfig,
    /// Bounds on batches.
    pub limits: Limits,
    /// How far ahead of the collector's clock the time of a row may be.
    pub time_ahead: Duration,
    /// For how long a sender that is away is remembered.
    pub forget_after: Duration,
    /// Bounds on queries.
    pub queries: QueryLimits,
    /// What is accepted with a caution, to be told at start.
    pub warnings: Vec<String>,
}

/// `[processor]`, but for its threads.
#[derive(Debug, Clone)]
pub struct ProcessingConfig {
    /// Times, severities and fields are looked for in log lines.
    pub recognise: bool,
    /// How times are read that are written without a zone, and dates that may be read as two.
    pub settings: Settings,
    /// How far ahead of its reading the time of a line may be.
    pub time_ahead: Duration,
}

/// Addresses.
#[derive(Debug, Clone)]
pub struct Listen {
    /// With TLS where it is configured.
    pub main: Vec<SocketAddr>,
    /// Beside them; plain on a loopback address, and there open to whoever is on this machine.
    pub http: Option<SocketAddr>,
    /// Names by which the latter may be addressed, beside `localhost` and loopback addresses.
    pub http_hosts: Vec<String>,
}

/// `[tls]`
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// PEM file of the certificate.
    pub cert_file: PathBuf,
    /// PEM file of its key.
    pub key_file: PathBuf,
    /// PEM file of the authority that signs clients' certificates.
    pub client_ca_file: Option<PathBuf>,
}

/// `[auth]`
#[derive(Debug, Clone)]
pub enum Auth {
    /// By the certificate of the client.
    Mtls,
    /// By a bearer token.
    Token(Tokens),
    /// Not at all.
    None,
}

/// `[storage] backend`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The embedded lake.
    DuckLake,
    /// Lines on the standard output.
    Console,
}

/// A backend's word, and what it stands for when it is built.
const BACKENDS: [(&str, Option<Backend>); 5] = [
    ("ducklake", Some(Backend::DuckLake)),
    ("console", Some(Backend::Console)),
    ("clickhouse", None),
    ("postgres", None),
    ("s3", None),
];

impl CollectorConfig {
    /// Takes an opened file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(reader: Reader) -> Result<Self, ConfigErrors> {
        reader.read(Self::take)
    }

    fn take(root: &Section<'_>) -> Option<Self> {
        let mut warnings = Vec::new();
        let server = root.section("server");
        let listen = take_listen(&server);
        let data_dir = server.path("data_dir").unwrap_or_else(|| "/var/lib/lapwing/collector".into());
        let budget = take_budget(&server);
        server.finish();
        let tls = take_tls(&root.section("tls"), &mut warnings);
        let auth = root.section("auth");
        let revoked_file = auth.path("revoked_file");
        let auth = take_auth(&auth, &listen, tls.as_ref(), &mut warnings);
        let storage = take_storage(&root.section("storage"), budget);
        let processor = root.section("processor");
        let workers = processor.number("workers", 1, 256).unwrap_or(2) as usize;
        let limits = root.section("limits");
        let time_ahead = limits.seconds("time_ahead_secs", 0, 366 * DAY).unwrap_or(TIME_AHEAD);
        let processing = take_processing(&processor, time_ahead);
        processor.finish();
        let days = limits.number("forget_after_days", 30, 3650).unwrap_or(FORGET_AFTER_DAYS);
        let forget_after = Duration::from_secs(days * DAY);
        let (limits, queries) = take_limits(&limits, budget);
        let (backend, tables, journal_max_bytes) = storage?;
        Some(Self {
            listen,
            budget,
            data_dir,
            tls,
            auth: auth?,
            revoked_file,
            backend,
            tables,
            journal_max_bytes,
            workers,
            processing,
            limits,
            time_ahead,
            forget_after,
            queries,
            warnings,
        })
    }
}

fn take_processing(processor: &Section<'_>, time_ahead: Duration) -> ProcessingConfig {
    let orders = [("day-first", DayOrder::DayFirst), ("month-first", DayOrder::MonthFirst)];
    ProcessingConfig {
        recognise: processor.bool("recognise").unwrap_or(true),
        settings: Settings { zone: take_zone(processor), day_order: processor.one_of("date_order", &orders) },
        time_ahead,
    }
}

fn take_zone(processor: &Section<'_>) -> Zone {
    let Some(text) = processor.string("time_zone") else { return Zone::default() };
    text.parse().unwrap_or_else(|NoZone| {
        let expected = "expected a zone as TZ has it in POSIX, such as \"UTC0\" or \"CET-1CEST,M3.5.0,M10.5.0/3\" \
            (the last line of a file in /usr/share/zoneinfo)";
        processor.problem("time_zone", format!("{expected}, got {text:?}"));
        Zone::default()
    })
}

fn take_budget(server: &Section<'_>) -> Budget {
    let bytes = server.number("memory_bytes", Budget::LEAST as u64, 1 << 40);
    bytes.map_or_else(Budget::default, |bytes| Budget::new(usize::try_from(bytes).unwrap_or(usize::MAX)))
}

fn take_listen(server: &Section<'_>) -> Listen {
    let grpc = server.address("grpc_addr");
    let websocket = server.address("websocket_addr");
    let http = server.address("http_addr");
    let mut main: Vec<SocketAddr> = grpc.into_iter().chain(websocket).collect();
    if main.is_empty() {
        main.push(([127, 0, 0, 1], 7400).into());
    }
    let mut all: Vec<SocketAddr> = main.iter().copied().chain(http).filter(|a| a.port() != 0).collect();
    all.sort();
    if let Some(pair) = all.windows(2).find(|pair| pair[0] == pair[1]) {
        server.problem("grpc_addr", format!("{} is given twice; each address needs its own", pair[0]));
    }
    Listen { main, http, http_hosts: take_hosts(server) }
}

/// Names alone: a port in front of it may be another.
fn take_hosts(server: &Section<'_>) -> Vec<String> {
    let hosts = server.strings("http_hosts").unwrap_or_default();
    for host in &hosts {
        let plain = |char: char| char.is_ascii_alphanumeric() || "._-:[]".contains(char);
        if host.is_empty() || !host.chars().all(plain) {
            let text =
                format!("expected names such as \"lapwing.example.com\", without a port, got {host:?}");
            server.problem("http_hosts", text);
        }
    }
    hosts
}

fn take_tls(tls: &Section<'_>, warnings: &mut Vec<String>) -> Option<TlsConfig> {
    let (cert_file, key_file) = (tls.path("cert_file"), tls.path("key_file"));
    let client_ca_file = tls.path("client_ca_file");
    if tls.is_there() {
        for (key, there) in [("cert_file", cert_file.is_some()), ("key_file", key_file.is_some())] {
            if !there && !tls.has(key) {
                tls.problem(
                    key,
                    "is missing; expected the path of a PEM file (`lapwing certs create` makes them)",
                );
            }
        }
    }
    tls.finish();
    warnings.extend(key_file.as_deref().and_then(modes::readable_by_others));
    Some(TlsConfig { cert_file: cert_file?, key_file: key_file?, client_ca_file })
}

fn take_auth(
    auth: &Section<'_>,
    listen: &Listen,
    tls: Option<&TlsConfig>,
    warnings: &mut Vec<String>,
) -> Option<Auth> {
    let has_ca = tls.is_some_and(|tls| tls.client_ca_file.is_some());
    let missing = !auth.has("mode");
    let mode = auth.one_of("mode", &[("mtls", "mtls"), ("token", "token"), ("none", "none")]);
    let secret = auth.secret("token_secret");
    let audience = auth.string("token_audience").unwrap_or_else(|| AUDIENCE.to_owned());
    let usual = MAX_LIFE.as_secs() / 3600;
    let hours = auth.number("token_max_hours", 1, 24 * 366).unwrap_or(usual);
    auth.finish();
    let open = listen.main.iter().chain(&listen.http).find(|address| !address.ip().is_loopback());
    if mode == Some("token")
        && tls.is_none()
        && let Some(address) = open
    {
        warnings
            .push(format!("{address} has no TLS: tokens and telemetry can be read on the way; add [tls]"));
    }
    match mode {
        Some("mtls") if !has_ca => {
            auth.problem("mode", "mtls needs [tls] with cert_file, key_file and client_ca_file");
            None
        }
        Some("mtls") => Some(Auth::Mtls),
        Some("token") => {
            let tokens = take_tokens(auth, secret)?;
            let max_life = Duration::from_secs(hours * 3600);
            Some(Auth::Token(tokens.for_audience(audience).living_at_most(max_life)))
        }
        Some("none") => match open {
            Some(address) => {
                auth.problem(
                    "mode",
                    format!("none is for loopback addresses only, and {address} is open to others"),
                );
                None
            }
            None => Some(Auth::None),
        },
        _ if missing && has_ca => Some(Auth::Mtls),
        _ => {
            if missing {
                auth.problem("mode", "is missing; expected mtls (with [tls] client_ca_file), token (with token_secret) or none");
            }
            None
        }
    }
}

fn take_tokens(auth: &Section<'_>, secret: Option<Secret>) -> Option<Tokens> {
    let Some(secret) = secret else {
        if !auth.has("token_secret") {
            auth.problem(
                "token_secret",
                "is missing; expected a secret of at least 32 bytes, such as \"${JWT_SECRET}\"",
            );
        }
        return None;
    };
    Tokens::new(&secret).map_err(|error| auth.problem("token_secret", error)).ok()
}

fn take_storage(storage: &Section<'_>, budget: Budget) -> Option<(Backend, TablesOptions, u64)> {
    let backend = storage.one_of("backend", &BACKENDS);
    let missing = !storage.has("backend");
    let usual = TablesOptions::default();
    let bytes = |key: &str, usual: usize| {
        storage.number(key, MIB, 1 << 40).map_or(usual, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    };
    let flush_bytes = bytes("flush_bytes", budget.flush());
    let max_bytes = bytes("memory_bytes", budget.tables());
    if max_bytes < flush_bytes {
        storage.problem("memory_bytes", format!("must be at least flush_bytes, which is {flush_bytes}"));
    }
    let flush_age = storage.seconds("flush_interval_secs", 1, 3600).unwrap_or(usual.flush_age);
    let journal = storage.number("journal_max_bytes", 64 * MIB, 1 << 50).unwrap_or(8192 * MIB);
    storage.finish();
    if backend == Some(None) {
        let word = storage.string("backend").unwrap_or_default();
        storage.problem("backend", format!("{word} is not built yet; use ducklake or console"));
    }
    let backend = if missing { Backend::DuckLake } else { backend.flatten()? };
    Some((backend, TablesOptions { flush_bytes, flush_age, max_bytes }, journal))
}

fn take_limits(limits: &Section<'_>, budget: Budget) -> (Limits, QueryLimits) {
    let (batches, usual) = (Limits::default(), QueryLimits::default());
    // What was journaled under a higher limit is still read: this one is the door's alone.
    let most = batches.max_body_bytes;
    let max_body_bytes = limits.number("body_bytes", 1, most as u64).map_or(most, |bytes| bytes as usize);
    let batches = Limits { max_body_bytes, max_message_bytes: budget.message(), ..batches };
    let queries = QueryLimits {
        max_rows: limits.number("query_rows", 1, 10_000_000).map_or(usual.max_rows, |rows| rows as usize),
        max_time: limits.seconds("query_seconds", 1, 3600).unwrap_or(usual.max_time),
        max_memory: limits
            .number("query_memory_bytes", 16 * MIB, 1 << 40)
            .map_or(budget.queries(), |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        concurrency: limits.number("queries", 1, 1024).map_or(usual.concurrency, |queries| queries as usize),
    };
    limits.finish();
    (batches, queries)
}

/// How long requests under way may take when the collector is told to stop.
pub const GRACE: Duration = Duration::from_secs(5);
