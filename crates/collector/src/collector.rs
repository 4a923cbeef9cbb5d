//! The collector's wiring, from the journal up: open, recover, serve, stop.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use axum::Router;
use lapwing::{
    undecoded::service::ingest_service_server::IngestServiceServer,
    v1::query_service_server::QueryServiceServer,
};
use lapwing_delivery::replay_from;
use lapwing_service::{
    descriptors,
    local::closed_to_pages,
    renewed::Renewed,
    revoked::Revoked,
    tls::ServerSide,
    watchdog::{Watchdog, keep, once},
};
use lapwing_spool::Log;
use lapwing_store::{Newest, Tables};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub use crate::opening::NO_LAKE;
use crate::{
    access::Access,
    agents::Agents,
    config::CollectorConfig,
    counters::Counters,
    gate::Gate,
    health::Health,
    heap, http,
    ingest::{Door, DoorOptions, IngestService},
    ledger::Books,
    left_out::LeftOut,
    opening,
    processor::{Processor, ProcessorOptions, stage::Stages},
    query::QueryService,
    recovery::{self, Aside, Recovery},
    serving::{self, Listener},
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
/// How long tasks in the background may take to go when they are told to.
const LEAVE: Duration = Duration::from_secs(5);

/// Runs a collector until `stop`.
///
/// # Errors
/// When something it needs can't be had, or the journal breaks.
pub async fn run(config: CollectorConfig, stop: CancellationToken) -> Result<()> {
    descriptors::raise_limit();
    let opened = Opened::open(&config).await?;
    let recovered = opened.recover(&config).await?;
    recovered.serve(&config, stop).await
}

/// What is open before anything is taken.
struct Opened {
    tls: Option<Arc<Renewed<ServerSide>>>,
    listeners: Vec<Listener>,
    revoked: Option<Arc<Renewed<Revoked>>>,
    journal: Log,
    tables: Arc<Tables>,
    watchdog: Watchdog,
    background: Background,
}

impl Opened {
    async fn open(config: &CollectorConfig) -> Result<Self> {
        let tls = opening::server_tls(config)?;
        // Taken first: an address that is in use is told before anything is replayed.
        let listeners = serving::bind(config, tls.as_ref()).await?;
        let revoked = opening::revoked(config)?;
        let watchdog = Watchdog::default();
        watchdog.start(std::future::pending()).context("start the watchdog")?;

        let journal = opening::open_journal(config)?;
        let store = opening::open_store(config).await?;
        let tables = Tables::open(store, config.tables.clone()).await?;
        let background = Background::start(&watchdog, &journal, &tables);
        Ok(Self { tls, listeners, revoked, journal, tables, watchdog, background })
    }

    /// Goes through the journal: what agents delivered, and rows that the store does not have.
    async fn recover(self, config: &CollectorConfig) -> Result<Recovered> {
        let Self { tls, listeners, revoked, journal, tables, watchdog, mut background } = self;
        let next = *tables.committed().borrow() + 1;
        recovery::catch_up(&journal, next).await?;
        let first = replay_from(journal.stats().first, next);
        let (shares, counters) = (Shares::new(config.budget), Arc::new(Counters::default()));
        let agents = Arc::new(Agents::default());
        let left_out = LeftOut {
            journal: journal.clone(),
            agents: Arc::clone(&agents),
            journal_room: opening::journal_room(config.journal_max_bytes),
        };
        let processor = Processor::start(ProcessorOptions {
            workers: config.workers,
            next: first,
            tables: Arc::clone(&tables),
            books: left_out.clone(),
            shares: Arc::clone(&shares),
            stages: Stages::new(&config.processing),
            counters: Arc::clone(&counters),
            watchdog: &watchdog,
            background: &mut background.tasks,
        })?;

        let recovery = Recovery {
            journal: journal.clone(),
            agents: Arc::clone(&agents),
            processor: processor.clone(),
            aside: Aside::new(&config.data_dir, Arc::clone(&counters)),
            left_out,
            time_ahead: config.time_ahead,
            replay_bytes: config.budget.intake(),
        };
        recovery.replay(first, next).await?;
        let health = Health {
            journal: journal.clone(),
            tables: Arc::clone(&tables),
            tls,
            watchdog: watchdog.clone(),
            processor: processor.clone(),
            counters: Arc::clone(&counters),
        };
        Ok(Recovered {
            listeners,
            access: Access::new(config.auth.clone(), revoked),
            journal,
            tables,
            agents,
            processor,
            shares,
            counters,
            health,
            watchdog,
            background,
        })
    }
}

/// A collector that holds what it held before.
struct Recovered {
    listeners: Vec<Listener>,
    access: Access,
    journal: Log,
    tables: Arc<Tables>,
    agents: Arc<Agents>,
    processor: Processor,
    shares: Arc<Shares>,
    counters: Arc<Counters>,
    health: Health,
    watchdog: Watchdog,
    background: Background,
}

impl Recovered {
    /// Serves until `stop`, until the journal breaks, or until something ends that can't be started again.
    async fn serve(mut self, config: &CollectorConfig, stop: CancellationToken) -> Result<()> {
        let fatal = CancellationToken::new();
        let router = self.router(config, &stop, &fatal).await?;
        self.trim(config);
        tracing::info!("collector is ready");

        let told = async {
            tokio::select! { () = stop.cancelled() => {}, () = fatal.cancelled() => {} }
        };
        let listeners = std::mem::take(&mut self.listeners);
        let ended = tokio::select! {
            () = serving::serve_until(listeners, router, config.budget, &self.watchdog, told) => broken(&fatal),
            reason = self.watchdog.ends() => Err(anyhow!(reason)),
        };
        self.background.stop(&self.tables).await;
        ended
    }

    /// Everything that is asked of a collector.
    async fn router(
        &mut self,
        config: &CollectorConfig,
        stop: &CancellationToken,
        fatal: &CancellationToken,
    ) -> Result<Router> {
        let door = Door::new(DoorOptions {
            journal: self.journal.clone(),
            agents: Arc::clone(&self.agents),
            processor: self.processor.clone(),
            shares: Arc::clone(&self.shares),
            times: config.time_ahead,
            limits: config.limits.clone(),
            counters: Arc::clone(&self.counters),
            fatal: fatal.clone(),
            // The rest is for leases and snapshots: without a snapshot nothing could be trimmed.
            journal_room: opening::journal_room(config.journal_max_bytes),
        });
        let newest = Newest::new(Arc::clone(&self.tables), Some(Arc::new(Books(Arc::clone(&self.agents)))));
        let asker = Arc::new(opening::start_asker(config, newest)?);
        let api = http::Api {
            asker: Arc::clone(&asker),
            health: self.health.clone(),
            tables: Arc::clone(&self.tables),
            journal: self.journal.clone(),
            counters: Arc::clone(&self.counters),
            access: self.access.clone(),
            said: Arc::default(),
        };

        let ingest = IngestService::new(Arc::new(door), self.access.clone());
        let query = QueryService::new(asker, Arc::clone(&self.tables), self.access.clone(), stop.clone());
        let (reporter, health_service) = tonic_health::server::health_reporter();
        reporter.set_serving::<QueryServiceServer<QueryService>>().await;
        let (health, part) = (self.health.clone(), self.watchdog.part("health", TRIM));
        self.background.tasks.spawn(keep(part, CancellationToken::new(), move |beat| {
            health.clone().report::<IngestServiceServer<IngestService>>(reporter.clone(), beat)
        }));
        let services =
            serving::grpc(ingest, query, health_service, &self.shares, config.limits.max_message_bytes)?;
        let gate = Gate::new(self.access.clone(), Arc::clone(&self.shares));
        Ok(serving::behind(gate, services, closed_to_pages(http::router(api))))
    }

    /// Trims the journal behind the store, in the background.
    fn trim(&mut self, config: &CollectorConfig) {
        let trimming = Trimming {
            journal: self.journal.clone(),
            agents: Arc::clone(&self.agents),
            processor: self.processor.clone(),
            segment: opening::segment_bytes(config),
            max_bytes: config.journal_max_bytes,
            keep: config.forget_after,
            said: Arc::default(),
        };
        let (committed, part) = (self.tables.committed(), self.watchdog.part("trim", TRIM));
        self.background.tasks.spawn(keep(part, CancellationToken::new(), move |beat| {
            trimming.clone().run(committed.clone(), beat)
        }));
    }
}

fn broken(fatal: &CancellationToken) -> Result<()> {
    if fatal.is_cancelled() {
        bail!(
            "the journal is broken (see above); what was acknowledged is on the disk, a restart recovers it"
        );
    }
    Ok(())
}

/// What runs beside the requests.
struct Background {
    tasks: JoinSet<()>,
    flushing: JoinHandle<()>,
    /// The watchdog asks it for as long as it is here.
    _journal: Arc<Log>,
}

impl Background {
    /// Flushes the tables, and watches the runtime and the journal's thread.
    fn start(watchdog: &Watchdog, journal: &Log, tables: &Arc<Tables>) -> Self {
        let mut tasks = JoinSet::new();
        let (runtime, looks) = (watchdog.vital_part("runtime", RUNTIME), watchdog.clone());
        tasks.spawn(async move { looks.watch_runtime(runtime).await });
        let journal = Arc::new(journal.clone());
        watchdog.ask(watchdog.vital_part("journal", TRIM), &journal, Log::broken);

        let part = watchdog.part("heap", TRIM);
        tasks.spawn(keep(part, CancellationToken::new(), heap::run));

        let (tables, part) = (Arc::clone(tables), watchdog.vital_part("flush", FLUSH));
        let flushing = tokio::spawn(async move {
            // A flush that ended in the middle can't be begun again: the next start brings its rows back from the journal.
            if let Err(fault) = once(&part, |_| async move { tables.run().await }).await {
                part.fail(&fault);
            }
        });
        Self { tasks, flushing, _journal: journal }
    }

    /// Ends it, and flushes what is there.
    async fn stop(mut self, tables: &Tables) {
        if timeout(LEAVE, self.tasks.shutdown()).await.is_err() {
            tracing::warn!("tasks in the background did not go within {LEAVE:?}");
        }
        tables.close();
        if timeout(LAST_FLUSH, self.flushing).await.is_err() {
            tracing::warn!(
                "the last flush takes too long; the next start brings its rows back from the journal"
            );
        }
    }
}
