//! The agent's wiring: what lives as long as the process, and one session after another.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use lapwing_service::{descriptors, modes};
use lapwing_spool::{Log, Options, WhenFull};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    collectors::metrics::{
        recorder::{self, Recording},
        system::SystemMetrics,
    },
    config::AgentConfig,
    counters::Counters,
    pipeline::End,
    session::{self, Shared},
    transport::Transport,
};

/// Metrics held in memory before they go to the disk.
const SPOOL_MEMORY: u64 = 1 << 20;
const SPOOL_SEGMENT: u64 = 4 << 20;
/// How long the last reading of metrics may take.
const RECORDER: Duration = Duration::from_secs(3);
/// Pause before a lease is taken again.
const RENEW: Duration = Duration::from_millis(500);

/// Runs an agent until `stop`.
///
/// # Errors
/// When something it needs can't be had: the port, the state directory, a certificate, the spool.
pub async fn run(config: AgentConfig, stop: CancellationToken) -> Result<()> {
    descriptors::raise_limit();
    let counters = Arc::new(Counters::default());
    let listener = admin::bind(config.admin_addr).await?;
    let transport = Transport::new(&config.collector, Arc::clone(&counters))?;
    make_state_dir(&config.state_dir)?;
    let spool = open_spool(&config)?;
    let recording = Arc::new(Recording::new(spool, &config.state_dir).await?);
    let shared = Shared { config, transport, recording, counters };
    let admin_stop = CancellationToken::new();
    let admin = tokio::spawn(admin::run(
        listener,
        Arc::clone(&shared.counters),
        shared.transport.credentials().clone(),
        admin_stop.clone(),
    ));
    let metrics = start_metrics(&shared)?;
    tracing::info!(
        "agent {} ships to {}:{}; figures at http://{}/metrics",
        shared.config.id,
        shared.config.collector.address.host,
        shared.config.collector.address.port,
        shared.config.admin_addr
    );
    let ended = run_sessions(&shared, &stop).await;
    if let Some((source, recorder)) = metrics {
        source.stop();
        // A reading that hangs, at a file system that is gone, must not keep the agent from stopping.
        if tokio::time::timeout(RECORDER, recorder).await.is_err() {
            tracing::warn!("reading metrics hangs; stopping without it");
            shared.recording.flush().await;
        }
    }
    admin_stop.cancel();
    let _ = admin.await;
    ended
}

async fn run_sessions(shared: &Shared, stop: &CancellationToken) -> Result<()> {
    let mut first_session = true;
    loop {
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
                tracing::warn!("taking a new lease: {reason}");
                tokio::select! { () = tokio::time::sleep(RENEW) => {}, () = stop.cancelled() => return Ok(()) }
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

fn start_metrics(shared: &Shared) -> Result<Option<(SystemMetrics, JoinHandle<()>)>> {
    let Some(config) = shared.config.system.clone() else { return Ok(None) };
    let (points, observed) = mpsc::channel(1);
    let source = SystemMetrics::start(config, points).context("start reading metrics")?;
    let recording = Arc::clone(&shared.recording);
    let recorder = tokio::spawn(recorder::record(observed, recording, Arc::clone(&shared.counters)));
    Ok(Some((source, recorder)))
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

fn make_state_dir(path: &Path) -> Result<()> {
    modes::own_directory(path).with_context(|| {
        format!("[agent] state_dir {}: expected a directory of this user's own", path.display())
    })
}
