//! One lease of the collector on this agent: from `Resume` until it ends.

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use lapwing::v1::{Resource, ResumeResponse, SourcePosition};
use lapwing_delivery::{Held, Run};
use lapwing_service::watchdog::{Fault, Part, keep, once};
use lapwing_spool::SpoolError;
use tokio::{
    sync::{
        mpsc::{self, Sender},
        watch,
    },
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    collectors::{
        logs::files::Tailer,
        metrics::recorder::{self, Recording},
    },
    config::AgentConfig,
    counters::Counters,
    dead_letters::DeadLetters,
    input::Input,
    parts::Parts,
    pipeline::{End, Options, Pipeline},
    time_zone,
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
    /// The threads and tasks, for their watchdog.
    pub parts: Parts,
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

    if shared.parts.tail.is_used_up() {
        // The process is told to end.
        return Ok(None);
    }

    let (input, inputs) = mpsc::channel(QUEUE);
    let options = options(&shared.config, epoch, &lease);
    let reading = stop.child_token();
    let _guard = reading.clone().drop_guard();
    let first_start = first_session && !lease.known_agent;
    let mut tailer = start_tailer(shared, options.max_rows, lease.positions, first_start, input.clone())?;
    let mut replaying = start_replay(shared, carried, input, &reading);
    let (durable, trimmed) = watch::channel(0);
    let _trimming = start_trim(shared, trimmed, &reading);

    let acknowledged = Arc::new(AtomicU64::new(0));
    let shipper = (shared.transport.shipper(Arc::clone(&acknowledged)), acknowledged);
    let counters = Arc::clone(&shared.counters);
    let pipeline = Pipeline::new(options, inputs, shipper, durable, dead_letters, counters);
    let hurry = CancellationToken::new();
    let running = once(&shared.parts.pipeline, |_| pipeline.run(hurry.clone()));
    tokio::pin!(running);
    let end = tokio::select! {
        end = &mut running => renewed_after(&shared.parts.pipeline, end),
        fault = fault_of(&mut tailer) => renewed_after(&shared.parts.tail, Err(fault)),
        fault = fault_of_task(&mut replaying) => renewed_after(&shared.parts.replay, Err(fault)),
        () = stop.cancelled() => {
            // Close the tap; the pipeline ends when it has run dry.
            drop(tailer);
            let end = match tokio::time::timeout(RUN_DRY, &mut running).await {
                Ok(end) => end,
                Err(_) => {
                    hurry.cancel();
                    running.await
                }
            };
            renewed_after(&shared.parts.pipeline, end)
        }
    };
    Ok(Some(end))
}

/// Starts reading files from the positions that the collector holds, when the configuration names any.
fn start_tailer(
    shared: &Shared,
    max_rows: usize,
    held: Vec<SourcePosition>,
    first_start: bool,
    out: Sender<Vec<Input>>,
) -> io::Result<Option<Tailer>> {
    let Some(files) = shared.config.files.clone() else { return Ok(None) };
    let (counters, parts) = (Arc::clone(&shared.counters), (&shared.parts.tail, &shared.parts.discover));
    Tailer::start(files, max_rows as u32, held, first_start, counters, out, parts).map(Some)
}

/// Starts to hand on what the spool holds, in line with what the collector does.
fn start_replay(
    shared: &Shared,
    carried: Result<Held, SpoolError>,
    out: Sender<Vec<Input>>,
    reading: &CancellationToken,
) -> JoinSet<Result<(), Fault>> {
    let (recording, counters) = (Arc::clone(&shared.recording), Arc::clone(&shared.counters));
    let (part, stop) = (shared.parts.replay.clone(), reading.clone());
    let replay = |beat| recorder::replay(recording, carried, out, counters, stop, beat);
    let mut task = JoinSet::new();
    task.spawn(async move { once(&part, replay).await });
    task
}

/// Starts to give up what is acknowledged of the spool.
fn start_trim(shared: &Shared, durable: watch::Receiver<u64>, reading: &CancellationToken) -> JoinSet<()> {
    let (recording, ends) = (Arc::clone(&shared.recording), reading.clone());
    let trim = move |beat| {
        let trim = recorder::trim(Arc::clone(&recording), durable.clone(), beat);
        let ends = ends.clone();
        // It ends with the pipeline, a moment before the session does.
        async move {
            tokio::join!(trim, ends.cancelled_owned());
        }
    };
    let mut task = JoinSet::new();
    task.spawn(keep(shared.parts.trim.clone(), reading.clone(), trim));
    task
}

/// How a session ends by a fault of one of its parts: what was under way is read again with a new lease.
fn renewed_after(part: &Part, ended: Result<End, Fault>) -> End {
    ended.unwrap_or_else(|fault| {
        part.fail(&fault);
        End::Renew(format!("{}: {fault}", part.name()))
    })
}

/// Waits until the thread that reads files ends, or hangs; for ever when there is none.
async fn fault_of(tailer: &mut Option<Tailer>) -> Fault {
    match tailer {
        Some(tailer) => tailer.fault().await,
        None => std::future::pending().await,
    }
}

/// Waits for a fault of a task; for ever when it ends as it should.
async fn fault_of_task(task: &mut JoinSet<Result<(), Fault>>) -> Fault {
    match task.join_next().await {
        Some(Ok(Err(fault))) => fault,
        _ => std::future::pending().await,
    }
}

fn options(config: &AgentConfig, epoch: u64, lease: &ResumeResponse) -> Options {
    let buffer = &config.buffer;
    let resource = resource(config);
    Options {
        agent: config.id.clone(),
        epoch,
        lease: lease.lease,
        codec: buffer.codec,
        level: buffer.level,
        max_events: buffer.max_events,
        max_rows: (buffer.max_events / 4).clamp(1, most_rows(resource.attributes.len())),
        resource,
        flush_interval: buffer.flush_interval,
        in_flight: lease.max_shipments_in_flight.clamp(1, 16) as usize,
        drain: DRAIN,
    }
}

/// Rows of a run, and at which a batch is full: so it has twice as many at most. A collector counts the resource's attributes for each row, and
/// takes 65,536 rows with seven attributes.
fn most_rows(attributes: usize) -> usize {
    (200_000 / (attributes + 1)).min(1 << 15)
}

/// OpenTelemetry resource attributes of this host, and its zone.
fn resource(config: &AgentConfig) -> Resource {
    let own = [
        ("host.name".to_owned(), crate::config::host_name()),
        ("host.arch".to_owned(), std::env::consts::ARCH.to_owned()),
        ("os.type".to_owned(), std::env::consts::OS.to_owned()),
    ];
    Resource {
        attributes: own.into_iter().chain(config.tags.iter().cloned()).collect(),
        time_zone: time_zone::of_host(),
    }
}
