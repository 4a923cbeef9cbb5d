//! One lease of the collector on this agent: from `Resume` until it ends.

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use lapwing::v1::{Resource, ResumeResponse};
use lapwing_delivery::{Held, Run};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    collectors::{
        logs::files::Tailer,
        metrics::recorder::{self, Recording},
    },
    config::AgentConfig,
    counters::Counters,
    dead_letters::DeadLetters,
    pipeline::{End, Options, Pipeline},
    transport::Transport,
};

/// Turns between the tailer and the pipeline.
const QUEUE: usize = 2;
/// How long what is read already may take to get into a shipment when the agent is told to stop: with a collector that is
/// away it never would.
const RUN_DRY: Duration = Duration::from_secs(2);
/// How long the last shipments may take when the agent is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// What sessions have in common.
#[derive(Debug)]
pub struct Shared {
    /// The agent's configuration.
    pub config: AgentConfig,
    /// The way to the collector.
    pub transport: Transport,
    /// What must be readable twice.
    pub recording: Arc<Recording>,
    /// The agent's counts.
    pub counters: Arc<Counters>,
}

/// Takes a lease, reads and ships until `stop` or until the lease ends. `None` when it was stopped before it had one.
///
/// # Errors
/// When files can't be followed at all, or the spool's disk refuses.
pub async fn run(shared: &Shared, first_session: bool, stop: &CancellationToken) -> io::Result<Option<End>> {
    let epoch = getrandom::u64()?.max(1);
    let lease = tokio::select! {
        lease = shared.transport.resume(&shared.config.id, epoch) => lease,
        () = stop.cancelled() => return Ok(None),
    };
    let lease = match lease {
        Ok(lease) => lease,
        Err(refusal) => return Ok(Some(End::Fenced(refusal.message))),
    };
    shared.counters.leases.add(1);
    shared.counters.set_shipping();
    tracing::info!("lease taken, {} sources are known to the collector", lease.positions.len());
    let held = Held::new(&lease.positions);
    let dead_letters = DeadLetters::new(&shared.config.state_dir, shared.config.buffer.max_dead_letter_bytes);
    let previous = Run { epoch: lease.previous_epoch, durable: lease.previous_durable_sequence };
    dead_letters.settle(&lease.positions, previous)?;
    // Lines do not wait for a spool that is broken.
    let carried = recorder::carry_over(&shared.recording, &held).await.map(|()| held);

    let (input, inputs) = mpsc::channel(QUEUE);
    let options = options(&shared.config, epoch, &lease);
    let (trim, trimmed) = watch::channel(0);
    let reading = stop.child_token();
    let _guard = reading.clone().drop_guard();
    let tailer = match &shared.config.files {
        Some(files) => {
            let (rows, counters) = (options.max_rows as u32, Arc::clone(&shared.counters));
            let first_start = first_session && !lease.known_agent;
            Some(Tailer::start(files.clone(), rows, lease.positions, first_start, counters, input.clone())?)
        }
        None => None,
    };
    let counters = Arc::clone(&shared.counters);
    let replay = recorder::replay(Arc::clone(&shared.recording), carried, input, counters, reading.clone());
    tokio::spawn(replay);
    tokio::spawn(recorder::trim(Arc::clone(&shared.recording), trimmed));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let shipper = (shared.transport.shipper(Arc::clone(&acknowledged)), acknowledged);
    let counters = Arc::clone(&shared.counters);
    let pipeline = Pipeline::new(options, inputs, shipper, trim, dead_letters, counters);
    let hurry = CancellationToken::new();
    let running = pipeline.run(hurry.clone());
    tokio::pin!(running);
    let end = tokio::select! {
        end = &mut running => end,
        () = stop.cancelled() => {
            // Close the tap; the pipeline ends when it has run dry.
            drop(tailer);
            match tokio::time::timeout(RUN_DRY, &mut running).await {
                Ok(end) => end,
                Err(_) => {
                    hurry.cancel();
                    running.await
                }
            }
        }
    };
    Ok(Some(end))
}

fn options(config: &AgentConfig, epoch: u64, lease: &ResumeResponse) -> Options {
    let buffer = &config.buffer;
    Options {
        agent: config.id.clone(),
        epoch,
        resource: resource(config),
        codec: buffer.codec,
        level: buffer.level,
        max_events: buffer.max_events,
        max_rows: (buffer.max_events / 4).clamp(1, 1 << 16),
        flush_interval: buffer.flush_interval,
        in_flight: lease.max_shipments_in_flight.clamp(1, 16) as usize,
        drain: DRAIN,
    }
}

/// OpenTelemetry resource attributes of this host.
fn resource(config: &AgentConfig) -> Resource {
    let own = [
        ("host.name".to_owned(), crate::config::host_name()),
        ("host.arch".to_owned(), std::env::consts::ARCH.to_owned()),
        ("os.type".to_owned(), std::env::consts::OS.to_owned()),
    ];
    Resource { attributes: own.into_iter().chain(config.tags.iter().cloned()).collect() }
}
