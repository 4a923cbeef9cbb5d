//! The pipeline and the transport's stack against a collector far away.

use std::{
    sync::{Mutex, atomic::AtomicBool},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use lapwing::v1::SourcePosition;
use lapwing_delivery::{Admission, Agent, check_held};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tonic::Status;
use tower::Service;

use super::*;
use crate::{
    input::{LinePart, LineRun},
    transport::shipper_to,
};

/// There, and back.
const ONE_WAY: Duration = Duration::from_millis(150);
/// The pace at which lines come: several batches board a call before the answer to the first can be there.
const PACE: Duration = Duration::from_millis(75);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
const EPOCH: u64 = 7;
const POISON: &str = "poison";

/// A collector by the real rules, behind a link of a third of a second there and back.
#[derive(Clone, Default)]
struct FarCollector {
    agent: Arc<Mutex<Agent>>,
    /// The number of the newest durable batch.
    durable: Arc<watch::Sender<u64>>,
    takes_poison: Arc<AtomicBool>,
}

impl FarCollector {
    fn new() -> Self {
        let collector = Self::default();
        collector.agent.lock().unwrap().lease(EPOCH, 0);
        collector
    }

    /// Goes back to an older copy.
    fn restore(&self, copy: Agent) {
        self.durable.send_replace(copy.durable());
        *self.agent.lock().unwrap() = copy;
    }

    fn holds(&self, acknowledged: u64) -> Result<u64, Status> {
        let durable = self.agent.lock().unwrap().durable();
        check_held(acknowledged, durable).map_err(|(kind, text)| kind.status(text))?;
        Ok(durable)
    }

    /// Refuses poison, waits for what is missing before a batch, and takes it.
    async fn take(&self, batch: &Batch) -> Result<u64, Status> {
        self.holds(batch.acknowledged_sequence)?;
        let is_poison = batch.positions.iter().any(|position| position.source == POISON);
        if batch.payload.is_some() && is_poison && !self.takes_poison.load(Ordering::Relaxed) {
            return Err(Kind::TooLarge.status("too long for a log body"));
        }

        let origin = batch.origin.clone().unwrap_or_default();
        let mut durable = self.durable.subscribe();
        let predecessors = durable.wait_for(|durable| durable + 1 >= origin.sequence).await.is_ok();
        assert!(predecessors, "the collector holds the other end");
        let mut agent = self.agent.lock().unwrap();
        match agent.admit(&origin, &batch.digest) {
            Admission::Append => agent.apply(batch, &[], 0),
            Admission::Duplicate => {}
            other => return Err(Kind::Internal.status(format!("{other:?}"))),
        }
        self.durable.send_replace(agent.durable());
        Ok(agent.durable())
    }
}

impl Service<Shipment> for FarCollector {
    type Response = IngestResponse;
    type Error = Status;
    type Future = BoxFuture<'static, Result<IngestResponse, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, shipment: Shipment) -> Self::Future {
        let collector = self.clone();
        Box::pin(async move {
            let mut durable_sequence = 0;
            let arriving = shipment.requests().then(|request| async {
                sleep(ONE_WAY).await;
                request
            });
            let mut arriving = std::pin::pin!(arriving);
            while let Some(request) = arriving.next().await {
                let taken = match request.acknowledged {
                    Some(acknowledged) => collector.holds(acknowledged.sequence),
                    None => collector.take(&request.batch.unwrap_or_default()).await,
                };
                match taken {
                    Ok(durable) => durable_sequence = durable,
                    Err(refusal) => {
                        sleep(ONE_WAY).await;
                        return Err(refusal);
                    }
                }
            }
            sleep(ONE_WAY).await;
            Ok(IngestResponse { durable_sequence, ..IngestResponse::default() })
        })
    }
}

fn options(in_flight: usize) -> Options {
    Options {
        agent: "a".to_owned(),
        epoch: EPOCH,
        lease: 0,
        resource: Resource::default(),
        codec: Codec::None,
        level: None,
        max_events: 1 << 16,
        max_rows: 1 << 10,
        flush_interval: Duration::from_secs(5),
        in_flight,
        drain: Duration::from_secs(30),
    }
}

fn line(source: &str, number: u64) -> Input {
    let position =
        SourcePosition { source: source.to_owned(), events_read: number, ..SourcePosition::default() };
    Input::Lines(LineRun {
        source: source.into(),
        rows: 1,
        data: Bytes::from(format!("{source} {number}\n")),
        observed_time: number,
        truncated: false,
        part: LinePart::Whole,
        position,
    })
}

/// A pipeline to a collector, under way.
struct Running {
    feed: mpsc::Sender<Vec<Input>>,
    counters: Arc<Counters>,
    running: JoinHandle<End>,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(collector: &FarCollector, in_flight: usize, max_dead_letter_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let counters = Arc::new(Counters::default());
        let acknowledged = Arc::new(AtomicU64::new(0));
        let shipper = shipper_to(collector.clone(), Arc::clone(&counters), Arc::clone(&acknowledged));
        let (feed, inputs) = mpsc::channel(2);
        let letters = DeadLetters::new(folder.path(), max_dead_letter_bytes);
        let pipeline = Pipeline::new(
            options(in_flight),
            inputs,
            (shipper, acknowledged),
            watch::channel(0).0,
            letters,
            Arc::clone(&counters),
        );
        let running = tokio::spawn(pipeline.run(CancellationToken::new()));
        Self { feed, counters, running, _folder: folder }
    }

    async fn line(&self, source: &str, number: u64) {
        self.feed.send(vec![line(source, number)]).await.unwrap();
    }

    /// No more input: how it ends.
    async fn end(self) -> End {
        drop(self.feed);
        timeout(PATIENCE, self.running).await.expect("the pipeline stands still").unwrap()
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let seen = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test]
async fn a_refused_batch_stops_nothing_however_far_away_the_collector_is() {
    for in_flight in [2, 4] {
        let pipeline = Running::start(&FarCollector::new(), in_flight, 1 << 20);
        // The poison is the third of those that board one call.
        for number in 1..=24 {
            pipeline.line(if number % 12 == 3 { POISON } else { "app" }, number).await;
            sleep(PACE).await;
        }
        let counters = Arc::clone(&pipeline.counters);
        assert_eq!(pipeline.end().await, End::Drained { left: 0 });
        let (delivered, dead) = (counters.events_acknowledged.get(), counters.events_dead.get());
        assert_eq!(delivered + dead, 24, "{delivered} delivered, {dead} set aside");
        assert!(dead >= 2, "no poison was refused");
    }
}

#[tokio::test]
async fn a_refused_batch_that_has_no_room_waits_until_the_collector_takes_it() {
    let collector = FarCollector::new();
    let pipeline = Running::start(&collector, 4, 0);
    pipeline.line(POISON, 1).await;
    let counters = Arc::clone(&pipeline.counters);
    until("health says what to do", || {
        counters.health().is_err_and(|told| told.contains("max_dead_letter_bytes is 0"))
    })
    .await;
    pipeline.line("app", 2).await;
    assert_eq!((counters.events_dead.get(), collector.agent.lock().unwrap().durable()), (0, 0));

    collector.takes_poison.store(true, Ordering::Relaxed);
    assert_eq!(pipeline.end().await, End::Drained { left: 0 });
    assert_eq!((counters.events_acknowledged.get(), counters.health()), (2, Ok(())));
}

#[tokio::test]
async fn a_restored_collector_has_the_agent_take_a_new_lease_and_say_why() {
    let collector = FarCollector::new();
    let pipeline = Running::start(&collector, 4, 1 << 20);
    let copy = collector.agent.lock().unwrap().clone();
    pipeline.line("app", 1).await;
    until("it is acknowledged", || pipeline.counters.events_acknowledged.get() == 1).await;
    collector.restore(copy);
    pipeline.line("app", 2).await;
    assert_restored(&pipeline.end().await);
}

#[tokio::test]
async fn an_agent_that_has_nothing_to_send_learns_that_its_collector_was_restored() {
    let collector = FarCollector::new();
    let pipeline = Running::start(&collector, 4, 1 << 20);
    let copy = collector.agent.lock().unwrap().clone();
    pipeline.line("app", 1).await;
    until("it is acknowledged", || pipeline.counters.events_acknowledged.get() == 1).await;
    // Asked while all is well, nothing comes of it.
    sleep(QUIET * 4).await;
    assert!(!pipeline.running.is_finished());
    collector.restore(copy);
    let end = timeout(PATIENCE, pipeline.running).await.expect("it never asks").unwrap();
    assert_restored(&end);
}

fn assert_restored(end: &End) {
    match end {
        End::Renew(reason) => assert!(reason.contains("restored from an older copy"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
