//! The agent's wiring: what lives as long as the process, and one session after another.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use lapwing_service::{
    descriptors, modes,
    said::Said,
    watchdog::{Pauses, Watchdog, keep, keep_thread},
};
use lapwing_spool::{Log, Options, WhenFull};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    collectors::metrics::{
        recorder::{self, Recording},
        system::SystemMetrics,
    },
    config::AgentConfig,
    counters::Counters,
    health::Health,
    parts::Parts,
    pipeline::End,
    session::{self, Shared},
    transport::Transport,
};

/// Metrics held in memory before they go to the disk.
const SPOOL_MEMORY: u64 = 1 << 20;
const SPOOL_SEGMENT: u64 = 4 << 20;
/// How long the last reading of metrics may take.
const RECORDER: Duration = Duration::from_secs(3);

/// Runs an agent until `stop`.
///
/// # Errors
/// When something it needs can't be had: the port, the state directory, a certificate, the spool.
pub async fn run(config: AgentConfig, stop: CancellationToken) -> Result<()> {
    descriptors::raise_limit();
    let counters = Arc::new(Counters::default());
    let watchdog = Watchdog::default();
    let parts = Parts::new(&watchdog);
    let listener = admin::bind(config.admin_addr)?;
    let transport = Transport::new(&config.collector, Arc::clone(&counters))?;
    make_directories(&config.state_dir)?;
    let spool = open_spool(&config)?;
    let recording = Arc::new(Recording::new(spool, &config.state_dir).await?);

    // Beside the watchdog, so that health can be asked for when the runtime of all the rest hangs.
    let credentials = transport.credentials().clone();
    let health = Health::new(watchdog.clone(), Arc::clone(&counters), credentials);
    watchdog.start(admin::run(listener, health, parts.admin.clone())).context("start the watchdog")?;
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let (watchdog, part) = (watchdog.clone(), parts.runtime.clone());
        async move { watchdog.watch_runtime(part).await }
    });
    watchdog.ask(parts.spool.clone(), &recording, |recording| recording.broken());

    let shared = Shared { config, transport, recording, counters, parts };
    let metrics_stop = CancellationToken::new();
    let metrics = start_metrics(&shared, &metrics_stop);
    tracing::info!(
        "agent {} ships to {}:{}; figures at http://{}/metrics",
        shared.config.id,
        shared.config.collector.address.host,
        shared.config.collector.address.port,
        shared.config.admin_addr
    );
    let ended = tokio::select! {
        ended = run_sessions(&shared, &stop) => ended,
        reason = watchdog.ends() => Err(anyhow!(reason)),
    };

    metrics_stop.cancel();
    // A reading that hangs, at a file system that is gone, must not keep the agent from stopping.
    if tokio::time::timeout(RECORDER, metrics.join_all()).await.is_err() {
        tracing::warn!("reading metrics hangs; stopping without it");
        shared.recording.flush().await;
    }
    ended
}

async fn run_sessions(shared: &Shared, stop: &CancellationToken) -> Result<()> {
    let mut first_session = true;
    let mut pauses = Pauses::default();
    let said = Said::default();
    loop {
        pauses.started();
        let end = session::run(shared, first_session, stop).await?;
        first_session = false;
        match end {
            None => return Ok(()),
            Some(End::Drained { left: 0 }) => return Ok(()),
            Some(End::Drained { left }) => {
                tracing::warn!(
                    "stopped with {left} events not acknowledged: they are read again at the next start"
                );
                return Ok(());
            }
            Some(End::Renew(reason)) => {
                if let Some(left_out) = said.again(&reason) {
                    tracing::warn!("taking a new lease: {reason}{left_out}");
                }
                let pause = tokio::time::sleep(pauses.after_fault());
                tokio::select! { () = pause => {}, () = stop.cancelled() => return Ok(()) }
            }
            Some(End::Fenced(reason)) => {
                let reason = format!(
                    "{reason}; stop one of the two, give it another [agent] id, and restart this one"
                );
                tracing::error!("{reason}");
                shared.counters.set_trouble(reason);
                // Going on, or restarting at once, would take the lease from the other in turn.
                stop.cancelled().await;
                return Ok(());
            }
            Some(End::Broken(reason)) => bail!(reason),
        }
    }
}

/// Reads and records metrics until `stop`, when the configuration asks for it.
fn start_metrics(shared: &Shared, stop: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let Some(config) = shared.config.system.clone() else { return tasks };
    let (points, observed) = mpsc::channel(1);
    let part = shared.parts.metrics.clone();
    let start = move || SystemMetrics::start(config.clone(), points.clone(), &part);
    tasks.spawn(keep_thread(shared.parts.metrics.clone(), stop.clone(), start));

    let (recording, counters) = (Arc::clone(&shared.recording), Arc::clone(&shared.counters));
    // Outlives the task, so that the thread need not be started again with it.
    let observed = Arc::new(Mutex::new(observed));
    let record = move |beat| {
        recorder::record(Arc::clone(&observed), Arc::clone(&recording), Arc::clone(&counters), beat)
    };
    tasks.spawn(keep(shared.parts.recorder.clone(), stop.clone(), record));
    tasks
}

fn open_spool(config: &AgentConfig) -> Result<Log> {
    let options = Options {
        segment_bytes: SPOOL_SEGMENT,
        max_bytes: config.buffer.max_disk_bytes,
        when_full: WhenFull::DropOldest,
        memory_bytes: SPOOL_MEMORY,
    };
    let (spool, recovery) = Log::open(&config.state_dir.join("spool"), options)?;
    let lost = recovery.damaged_records + recovery.missing_records;
    if lost > 0 {
        tracing::warn!("the spool has lost {lost} records of metrics: {recovery:?}");
    }
    Ok(spool)
}

/// Makes the state directory and the spool's; that of dead letters is made with the first one.
fn make_directories(state_dir: &Path) -> Result<()> {
    let letters = Some(state_dir.join("dead-letters")).filter(|path| path.symlink_metadata().is_ok());
    for path in [state_dir.to_owned(), state_dir.join("spool")].into_iter().chain(letters) {
        modes::own_directory(&path).with_context(|| {
            format!("[agent] state_dir: {}: expected a directory of this user's own", path.display())
        })?;
    }
    Ok(())
}
