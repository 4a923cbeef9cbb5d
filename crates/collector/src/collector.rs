//! The collector's wiring, from the journal up.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use axum::Router;
use lapwing::{
    undecoded::service::ingest_service_server::IngestServiceServer,
    v1::{FILE_DESCRIPTOR_SET, query_service_server::QueryServiceServer},
};
use lapwing_delivery::replay_from;
use lapwing_service::{
    descriptors,
    local::{Hosts, closed_to_pages, guarded},
    modes,
    renewed::Renewed,
    revoked::Revoked,
    serve,
    tls::{self, ServerSide},
    watchdog::{Watchdog, ask, keep, once},
};
use lapwing_spool::{Log, Options, WhenFull};
use lapwing_store::{
    Asker, Newest, Store, Tables,
    console::Console,
    ducklake::DuckLake,
    process::{AskerOptions, Program},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_web::GrpcWebLayer;

use crate::{
    access::Access,
    agents::Agents,
    config::{Auth, Backend, CollectorConfig, GRACE},
    counters::Counters,
    gate::{self, Gate},
    health::Health,
    http,
    ingest::{Door, DoorOptions, IngestService, Intake},
    ledger::Books,
    left_out::LeftOut,
    local,
    processor::Processor,
    query::QueryService,
    recovery::{self, Aside, Recovery},
    share::Shares,
    trimming::Trimming,
};

/// How long a trim, or a look at the health, may take.
const TRIM: Duration = Duration::from_secs(60);
/// How long a flush that hangs may do so.
const FLUSH: Duration = Duration::from_secs(120);
/// How long no task of the runtime may get its turn.
const RUNTIME: Duration = Duration::from_secs(10);
/// How long the last flush may take: its rows are in the journal, too.
const LAST_FLUSH: Duration = Duration::from_secs(10);
/// Bytes of the journal that are left for leases and snapshots, or a half of a small journal.
const SNAPSHOTS: u64 = 128 << 20;
/// Largest segment of the journal; a small journal has smaller ones, since only whole segments can go.
const SEGMENT: u64 = 64 << 20;

/// Stands for the folder of a lake where there is none.
pub const NO_LAKE: &str = "-";

/// Runs a collector until `stop`.
///
/// # Errors
/// When something it needs can't be had, or the journal breaks.
pub async fn run(config: CollectorConfig, stop: CancellationToken) -> Result<()> {
    descriptors::raise_limit();
    let tls = server_tls(&config)?;
    // Taken first: an address that is in use is told before anything is replayed.
    let listeners = bind(&config, tls.as_ref()).await?;
    let revoked = revoked(&config)?;
    let counters = Arc::new(Counters::default());
    let fatal = CancellationToken::new();
    let watchdog = Watchdog::default();
    watchdog.start(std::future::pending()).context("start the watchdog")?;
    let journal = open_journal(&config)?;
    let _watched = watch(&watchdog, &journal);
    let store = open_store(&config).await?;
    let tables = Tables::open(store, config.tables.clone()).await?;
    let flushing = tokio::spawn({
        // A flush that ended in the middle can't be begun again: the next start brings its rows back from the journal.
        let (tables, part) = (Arc::clone(&tables), watchdog.vital_part("flush", FLUSH));
        async move {
            if let Err(fault) = once(&part, |_| async move { tables.run().await }).await {
                part.fail(&fault);
            }
        }
    });
    let next = *tables.committed().borrow() + 1;
    recovery::catch_up(&journal, next).await?;
    let agents = Arc::new(Agents::default());
    let first = replay_from(journal.stats().first, next);
    let left_out = LeftOut {
        journal: journal.clone(),
        agents: Arc::clone(&agents),
        journal_room: journal_room(config.journal_max_bytes),
    };
    let processor = Processor::start(
        config.workers,
        first,
        Arc::clone(&tables),
        left_out.clone(),
        Arc::clone(&counters),
    )?;
    let recovery = Recovery {
        journal: journal.clone(),
        agents: Arc::clone(&agents),
        processor: processor.clone(),
        aside: Aside::new(&config.data_dir, Arc::clone(&counters)),
        left_out,
        time_ahead: config.time_ahead,
    };
    recovery.replay(first, next).await?;
    let door = Arc::new(Door::new(DoorOptions {
        journal: journal.clone(),
        agents: Arc::clone(&agents),
        processor: processor.clone(),
        times: config.time_ahead,
        limits: config.limits.clone(),
        counters: Arc::clone(&counters),
        fatal: fatal.clone(),
        // The rest is for leases and snapshots: without a snapshot nothing could be trimmed.
        journal_room: journal_room(config.journal_max_bytes),
    }));
    let newest = Newest::new(Arc::clone(&tables), Some(Arc::new(Books(Arc::clone(&agents)))));
    let asker = Arc::new(start_asker(&config, newest)?);
    let access = Access::new(config.auth.clone(), revoked);
    let shares = Shares::new(config.budget);
    let gate = Gate::new(access.clone(), Arc::clone(&shares));
    let health = Health::new(
        journal.clone(),
        Arc::clone(&tables),
        tls,
        watchdog.clone(),
        processor.clone(),
        Arc::clone(&counters),
    );
    let api = http::Api {
        asker: Arc::clone(&asker),
        health: health.clone(),
        tables: Arc::clone(&tables),
        journal: journal.clone(),
        counters,
        access: access.clone(),
    };
    let ingest = IngestService::new(Arc::clone(&door), access.clone());
    let query = QueryService::new(asker, Arc::clone(&tables), access, stop.clone());
    let (reporter, health_service) = tonic_health::server::health_reporter();
    reporter.set_serving::<QueryServiceServer<QueryService>>().await;
    let mut kept = JoinSet::new();
    let never = CancellationToken::new();
    kept.spawn(keep(watchdog.part("health", TRIM), never.clone(), move |beat| {
        health.clone().report::<IngestServiceServer<IngestService>>(reporter.clone(), beat)
    }));
    let services = grpc(ingest, query, health_service, &shares, config.limits.max_message_bytes)?;
    let router = behind(gate, services, closed_to_pages(http::router(api)));
    let trimming = Trimming {
        journal,
        agents,
        processor,
        segment: segment_bytes(&config),
        max_bytes: config.journal_max_bytes,
        keep: config.forget_after,
    };
    let committed = tables.committed();
    kept.spawn(keep(watchdog.part("trim", TRIM), never, move |beat| {
        trimming.clone().run(committed.clone(), beat)
    }));
    tracing::info!("collector is ready");
    let ended = tokio::select! {
        ended = serve_until(listeners, router, &stop, &fatal) => ended,
        reason = watchdog.ends() => Err(anyhow!(reason)),
    };
    drop(kept);
    tables.close();
    if tokio::time::timeout(LAST_FLUSH, flushing).await.is_err() {
        tracing::warn!("the last flush takes too long; the next start brings its rows back from the journal");
    }
    ended
}

/// Watches the runtime and the journal's thread.
fn watch(watchdog: &Watchdog, journal: &Log) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let (runtime, looks) = (watchdog.vital_part("runtime", RUNTIME), watchdog.clone());
    tasks.spawn(async move { looks.watch_runtime(runtime).await });
    let log = journal.clone();
    tasks.spawn(ask(watchdog.vital_part("journal", TRIM), move || log.broken()));
    tasks
}

/// Certificate, key and authority, read again when they change.
fn server_tls(config: &CollectorConfig) -> Result<Option<Arc<Renewed<ServerSide>>>> {
    let Some(paths) = config.tls.clone() else { return Ok(None) };
    let require = matches!(config.auth, Auth::Mtls);
    let files = [&paths.cert_file, &paths.key_file].into_iter().chain(&paths.client_ca_file);
    let files = files.cloned().collect();
    let make =
        move || tls::server(&paths.cert_file, &paths.key_file, paths.client_ca_file.as_deref(), require);
    let renewed = Renewed::new("certificate, key and authority", files, make).context("[tls]")?;
    let renewed = Arc::new(renewed);
    renewed.watch();
    Ok(Some(renewed))
}

/// The list of those who are let in no more, read again when it changes.
fn revoked(config: &CollectorConfig) -> Result<Option<Arc<Renewed<Revoked>>>> {
    let Some(path) = config.revoked_file.clone() else { return Ok(None) };
    let list =
        Renewed::new("the list of what was taken back", vec![path.clone()], move || Revoked::open(&path));
    let list = list.map_err(|error| anyhow::anyhow!("[auth] revoked_file: {error}"))?;
    let list = Arc::new(list);
    list.watch();
    Ok(Some(list))
}

/// A listener, and what is served on it.
struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Renewed<ServerSide>>>,
    /// Whoever is on this machine may ask there.
    is_open: bool,
    /// A web page could, too: the names by which the door may be addressed.
    guard: Option<Hosts>,
}

async fn bind(config: &CollectorConfig, tls: Option<&Arc<Renewed<ServerSide>>>) -> Result<Vec<Listener>> {
    let main = config.listen.main.iter().map(|address| (*address, tls.cloned(), false));
    let plain_if_local =
        |address: &std::net::SocketAddr| tls.cloned().filter(|_| !address.ip().is_loopback());
    let http = config.listen.http.iter().map(|address| (*address, plain_if_local(address), true));
    let mut listeners = Vec::new();
    for (address, tls, is_open) in main.chain(http) {
        let socket = TcpListener::bind(address).await;
        let socket = socket
            .with_context(|| format!("[server] {address}: choose another address or stop what uses it"))?;
        let kind = if tls.is_some() { "with TLS" } else { "without TLS" };
        tracing::info!("listening on {} {kind}", socket.local_addr()?);

        // Where nobody has to show anything, a browser on this machine has all that it needs.
        let asks_nobody =
            (is_open && tls.is_none() && address.ip().is_loopback()) || matches!(config.auth, Auth::None);
        let guard = asks_nobody.then(|| Hosts::new(config.listen.http_hosts.clone(), "[server] http_hosts"));
        listeners.push(Listener { socket, tls, is_open, guard });
    }
    Ok(listeners)
}

fn open_journal(config: &CollectorConfig) -> Result<Log> {
    let path = config.data_dir.join("journal");
    let options = Options {
        segment_bytes: segment_bytes(config),
        max_bytes: config.journal_max_bytes,
        when_full: WhenFull::Block,
        memory_bytes: 0,
    };
    make_folder(&config.data_dir)?;
    let (journal, recovery) = Log::open(&path, options)?;
    let lost = recovery.damaged_records + recovery.missing_records;
    if lost > 0 || recovery.damaged_segments > 0 {
        tracing::error!("the journal has lost {lost} records: {recovery:?}");
    }
    if recovery.torn_bytes > 0 {
        tracing::warn!(
            "cut {} bytes of a write that a crash left half done; it was not acknowledged",
            recovery.torn_bytes
        );
    }
    Ok(journal)
}

/// Bytes of the journal that batches may fill.
fn journal_room(max_bytes: u64) -> u64 {
    max_bytes - (max_bytes / 4).max(SNAPSHOTS.min(max_bytes / 2))
}

fn segment_bytes(config: &CollectorConfig) -> u64 {
    SEGMENT.min(config.journal_max_bytes / 8)
}

fn make_folder(path: &Path) -> Result<()> {
    modes::own_directory(path).with_context(|| {
        format!("[server] data_dir {}: expected a directory of this user's own", path.display())
    })
}

async fn open_store(config: &CollectorConfig) -> Result<Arc<dyn Store>> {
    Ok(match config.backend {
        Backend::DuckLake => Arc::new(DuckLake::open(&config.data_dir.join("lake")).await?),
        Backend::Console => Arc::new(Console::open(&config.data_dir, Box::new(std::io::stdout()))?),
    })
}

/// Queries are answered by this same program, in a process of its own.
fn start_asker(config: &CollectorConfig, newest: Newest) -> Result<Asker> {
    let lake = match config.backend {
        Backend::DuckLake => config.data_dir.join("lake").canonicalize()?,
        Backend::Console => NO_LAKE.into(),
    };
    let memory = config.queries.max_memory.to_string();
    let program = Program {
        // Also when the file has been replaced by a newer one meanwhile: both ends must be the same program.
        path: "/proc/self/exe".into(),
        arguments: vec!["--query-process".into(), lake.into(), memory.into()],
        spill: config.data_dir.canonicalize()?.join("queries"),
    };
    let spill = program.spill.clone();
    let asker = Asker::start(newest, AskerOptions { limits: config.queries.clone(), program });
    asker.with_context(|| format!("{}: can't be made anew", spill.display()))
}

/// Services, health and reflection. Whatever they take is bounded by the intake before them.
fn grpc(
    ingest: IngestService,
    query: QueryService,
    health: HealthServer<impl tonic_health::pb::health_server::Health>,
    shares: &Arc<Shares>,
    largest_batch: usize,
) -> Result<Router> {
    let ingest = IngestServiceServer::new(ingest).max_decoding_message_size(largest_batch);
    let query = QueryServiceServer::new(query);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;

    let mut routes = Routes::builder();
    routes
        .add_service(Intake::new(ingest, Arc::clone(shares), largest_batch))
        .add_service(Intake::new(query, Arc::clone(shares), largest_batch))
        .add_service(Intake::new(health, Arc::clone(shares), largest_batch))
        .add_service(Intake::new(reflection, Arc::clone(shares), largest_batch));
    Ok(routes.routes().into_axum_router().reset_fallback())
}

/// Everything that is served, behind the gate; gRPC-web is undone before it.
fn behind(gate: Gate, grpc: Router, http: Router) -> Router {
    let check = || axum::middleware::from_fn_with_state(gate.clone(), gate::check);
    grpc.layer(check()).layer(GrpcWebLayer::new()).merge(http.layer(check()))
}

async fn serve_until(
    listeners: Vec<Listener>,
    router: Router,
    stop: &CancellationToken,
    fatal: &CancellationToken,
) -> Result<()> {
    let closing = CancellationToken::new();
    let mut servers = JoinSet::new();
    for Listener { socket, tls, is_open, guard } in listeners {
        let transport = serve::Transport { tls, open_to_local: is_open };
        let router = match guard {
            Some(hosts) => guarded(router.clone(), hosts, local::refused),
            None => router.clone(),
        };
        servers.spawn(serve::serve(socket, transport, router, closing.clone(), GRACE));
    }
    tokio::select! { () = stop.cancelled() => {}, () = fatal.cancelled() => {} }
    closing.cancel();
    servers.join_all().await;
    if fatal.is_cancelled() {
        bail!(
            "the journal is broken (see above); what was acknowledged is on the disk, a restart recovers it"
        );
    }
    Ok(())
}
