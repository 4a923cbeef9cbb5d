//! More clients than usual: all of them at once, or more than there are descriptors for.

use std::{
    net::TcpStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lapwing::v1::{
    Batch, IngestRequest, LogRecord, Rows, batch::Payload, ingest_service_client::IngestServiceClient,
    log_record::Content,
};
use lapwing_service::{
    client::{Address, channel},
    tls,
};
use tokio::{runtime::Runtime, task::JoinSet};
use tonic::transport::Channel;

use super::{Scenario, needs};
use crate::{
    chaos::{Stage, stage::Program::Collector},
    line,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "thousand-clients",
        "1,000 TLS clients connect at once, and again after `kill -9` of the collector; its soft limit is 1,024 descriptors",
        reconnect,
    )
    .reorders()
    .where_possible(|| needs("prlimit")),
    Scenario::new("crowded-out", "hundreds of idle connections to a collector with 128 descriptors for 20 s", crowd)
        .where_possible(|| needs("prlimit")),
];

/// File id of the lines that the clients type.
const TYPED: u32 = 5_000;
/// Within this time nearly all clients must have got through.
const ALL_IN: Duration = Duration::from_secs(30);

fn reconnect(stage: &mut Stage) -> Result<()> {
    // As a service manager starts it, unless it is told otherwise.
    stage.stop(Collector)?;
    stage.rig.collector.start_by(&["prlimit", "--nofile=1024:20000"]);
    stage.start(Collector)?;
    stage.write(2, 20, Duration::from_millis(10))?;
    let clients = stage.form.pick(200, 1_000);
    let runtime = Runtime::new()?;
    let crowd = runtime.block_on(async { connect(stage, clients) })?;
    for round in 0..2 {
        if round > 0 {
            stage.kill(Collector)?;
            stage.start(Collector)?;
        }
        let started = Instant::now();
        let times = runtime.block_on(type_lines(&crowd, round * clients))?;
        let in_time = times.iter().filter(|time| **time <= ALL_IN).count() as u64;
        let last = times.iter().max().copied().unwrap_or_default();
        stage.note(format!("{} clients are through after {last:?}", times.len()));
        ensure!(
            in_time * 100 >= clients * 95,
            "only {in_time} of {clients} clients got through in {ALL_IN:?}"
        );
        ensure!(started.elapsed() < ALL_IN * 4, "the last client took {:?}", started.elapsed());
    }
    stage.written(TYPED, clients * 2);
    stage.prove("clients", clients, clients);
    Ok(())
}

/// A channel for each client; it connects when it is first used.
fn connect(stage: &Stage, clients: u64) -> Result<Vec<Channel>> {
    let (host, port) = stage.rig.grpc.rsplit_once(':').context("no port")?;
    let address = Address { host: host.to_owned(), port: port.parse()?, tls: true };
    let cert = |name: &str| stage.rig.root().join("certs").join(name);
    let config = tls::client(&cert("ca.pem"), Some((&cert("user-me.pem"), &cert("user-me.key"))))?;
    (0..clients).map(|_| Ok(channel(&address, Some(Arc::clone(&config)))?)).collect()
}

/// Each client types one line, at the same moment; gives how long each took.
async fn type_lines(crowd: &[Channel], first: u64) -> Result<Vec<Duration>> {
    let mut typing = JoinSet::new();
    for (channel, n) in crowd.iter().cloned().zip(first..) {
        typing.spawn(type_line(channel, n));
    }
    typing.join_all().await.into_iter().collect()
}

async fn type_line(channel: Channel, n: u64) -> Result<Duration> {
    let started = Instant::now();
    let record = LogRecord { content: Some(Content::Body(line::line(TYPED, n))), ..LogRecord::default() };
    let batch = Batch {
        // So that a try whose answer was lost is stored once.
        idempotency_key: format!("typed-{n}"),
        payload: Some(Payload::Rows(Rows { logs: vec![record], ..Rows::default() })),
        ..Batch::default()
    };
    let mut client = IngestServiceClient::new(channel);
    loop {
        let request = tokio_stream::once(IngestRequest { batch: Some(batch.clone()) });
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
