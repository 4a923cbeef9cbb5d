//! More clients than usual: all of them at once, or more than there are descriptors for.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lapwing::v1::{IngestRequest, ingest_service_client::IngestServiceClient};
use lapwing_service::client::Link;
use tokio::{runtime::Runtime, task::JoinSet};

use super::{Scenario, needs};
use crate::{
    chaos::{Stage, stage::Program::Collector},
    client,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "thousand-clients",
        "1,000 TLS clients connect at once, and again after `kill -9` of the collector; its soft limit is 1,024 descriptors",
        reconnect,
    )
    .reorders()
    .where_possible(|| needs("prlimit")),
    Scenario::new("thousand-batches", "1,000 TLS clients send a batch of 200 KB each at the same moment, twice", batches)
        .short()
        .reorders(),
    Scenario::new("crowded-out", "hundreds of idle connections to a collector with 128 descriptors for 20 s", crowd)
        .where_possible(|| needs("prlimit")),
];

/// File id of the lines that the clients type.
const TYPED: u32 = 5_000;
/// Lines of a full batch.
const BATCH: u64 = 1_000;
/// Within this time nearly all clients must have got through.
const ALL_IN: Duration = Duration::from_secs(30);

fn reconnect(stage: &mut Stage) -> Result<()> {
    // As a service manager starts it, unless it is told otherwise.
    stage.stop(Collector)?;
    stage.rig.collector.start_by(&["prlimit", "--nofile=1024:20000"]);
    stage.start(Collector)?;
    twice(stage, 1, |stage| {
        stage.kill(Collector)?;
        stage.start(Collector)
    })
}

fn batches(stage: &mut Stage) -> Result<()> {
    twice(stage, BATCH, |_| Ok(()))
}

/// All clients send so many lines at once, two times, with something between.
fn twice(stage: &mut Stage, lines: u64, between: fn(&mut Stage) -> Result<()>) -> Result<()> {
    stage.write(2, 20, Duration::from_millis(10))?;
    let clients = stage.form.pick(200, 1_000);
    let runtime = Runtime::new()?;
    let crowd = runtime
        .block_on(async { (0..clients).map(|_| client::connect(&stage.rig)).collect::<Result<Vec<_>>>() })?;
    all_at_once(stage, &runtime, &crowd, 0, lines)?;
    between(stage)?;
    all_at_once(stage, &runtime, &crowd, 1, lines)?;
    stage.written(TYPED, clients * 2 * lines);
    stage.prove("clients", clients, clients);
    Ok(())
}

/// Each client sends a batch of so many lines, at the same moment.
fn all_at_once(stage: &mut Stage, runtime: &Runtime, crowd: &[Link], round: u64, lines: u64) -> Result<()> {
    let clients = crowd.len() as u64;
    let started = Instant::now();
    let times = runtime.block_on(async {
        let mut typing = JoinSet::new();
        for (channel, n) in crowd.iter().cloned().zip(round * clients..) {
            typing.spawn(type_lines(channel, n, lines));
        }
        typing.join_all().await.into_iter().collect::<Result<Vec<_>>>()
    })?;
    let in_time = times.iter().filter(|time| **time <= ALL_IN).count() as u64;
    let last = times.iter().max().copied().unwrap_or_default();
    stage.note(format!("{clients} clients are through after {last:?}"));
    ensure!(in_time * 100 >= clients * 95, "only {in_time} of {clients} clients got through in {ALL_IN:?}");
    ensure!(started.elapsed() < ALL_IN * 4, "the last client took {:?}", started.elapsed());
    Ok(())
}

/// Sends batch `n`, of so many lines, until it is taken; gives how long that took.
async fn type_lines(channel: Link, n: u64, lines: u64) -> Result<Duration> {
    let started = Instant::now();
    let lines = n * lines..(n + 1) * lines;
    let batch = if lines.end - lines.start == 1 {
        client::typed(TYPED, lines)
    } else {
        client::packed(TYPED, lines)?
    };
    let mut client = IngestServiceClient::new(channel);
    loop {
        let request =
            tokio_stream::once(IngestRequest { batch: Some(batch.clone()), ..IngestRequest::default() });
        match client.ingest(request).await {
            Ok(_) => return Ok(started.elapsed()),
            Err(status) if started.elapsed() > ALL_IN * 4 => return Err(status.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100 + n % 400)).await,
        }
    }
}

fn crowd(stage: &mut Stage) -> Result<()> {
    stage.stop(Collector)?;
    stage.rig.collector.start_by(&["prlimit", "--nofile=128:128"]);
    stage.start(Collector)?;
    stage.write_as_usual()?;
    stage.pause(500, 1500);
    let cpu = stage.rig.collector.cpu()?;
    let (started, limit) = (Instant::now(), Duration::from_secs(stage.form.pick(6, 20)));
    let (mut idle, mut opened) = (Vec::new(), 0u64);
    // The agent's own connection goes, too: it has to get through the crowd.
    stage.proxy()?.cut();
    stage.note("the crowd comes");
    while started.elapsed() < limit {
        // The collector ends a handshake that does not come within 5 s: another takes its place.
        for _ in 0..20 {
            if let Ok(stream) = TcpStream::connect(&stage.rig.grpc) {
                idle.push(stream);
                opened += 1;
            }
        }
        if idle.len() > 400 {
            idle.drain(..20);
        }
        thread::sleep(Duration::from_millis(100));
    }
    let share = (stage.rig.collector.cpu()? - cpu).as_secs_f64() / started.elapsed().as_secs_f64();
    drop(idle);
    stage.note(format!("the crowd is gone; the collector used {:.0} % of a core", share * 100.0));
    ensure!(share < 0.5, "the collector used {:.0} % of a core on idle connections", share * 100.0);
    ensure!(stage.rig.collector.ended()?.is_none(), "the collector ended for want of descriptors");
    let told = stage.rig.collector.output().matches("accept:").count() as u64;
    stage.prove("connections refused for want of descriptors", told, 1);
    stage.prove("idle connections", opened, 300);
    Ok(())
}
