//! The pipeline and the transport's stack against a collector far away.

use std::{
    sync::Mutex,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use lapwing::{status::Kind, v1::SourcePosition};
use lapwing_delivery::{Admission, Agent};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tonic::Status;
use tower::Service;

use super::*;
use crate::{input::LineRun, transport::shipper_to};

/// There, and back.
const ONE_WAY: Duration = Duration::from_millis(150);
/// The pace at which lines come: several batches board a call before the answer to the first can be there.
const PACE: Duration = Duration::from_millis(75);
const EPOCH: u64 = 7;
const POISON: &str = "poison";

/// A collector by the real rules, behind a link of a third of a second there and back.
#[derive(Clone, Default)]
struct FarCollector {
    agent: Arc<Mutex<Agent>>,
    /// The number of the newest durable batch.
    durable: Arc<watch::Sender<u64>>,
}

impl FarCollector {
    fn new() -> Self {
        let collector = Self::default();
        collector.agent.lock().unwrap().lease(EPOCH);
        collector
    }

    /// Refuses poison, waits for what is missing before a batch, and takes it.
    async fn take(&self, batch: &Batch) -> Result<u64, Status> {
        if batch.payload.is_some() && batch.positions.iter().any(|position| position.source == POISON) {
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
                let taken = collector.take(&request.batch.unwrap_or_default()).await;
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
        position,
    })
}

#[tokio::test]
async fn a_refused_batch_stops_nothing_however_far_away_the_collector_is() {
    for in_flight in [2, 4] {
        let folder = tempfile::tempdir().unwrap();
        let collector = FarCollector::new();
        let counters = Arc::new(Counters::default());
        let shipper = shipper_to(collector.clone(), Arc::clone(&counters));
        let (feed, inputs) = mpsc::channel(2);
        let (spool_durable, _trim) = watch::channel(0);
        let letters = DeadLetters::new(folder.path());
        let pipeline = Pipeline::new(
            options(in_flight),
            inputs,
            shipper,
            spool_durable,
            letters,
            Arc::clone(&counters),
        );
        let running = tokio::spawn(pipeline.run(CancellationToken::new()));

        // The poison is the third of those that board one call.
        for number in 1..=24 {
            let source = if number % 12 == 3 { POISON } else { "app" };
            feed.send(vec![line(source, number)]).await.unwrap();
            sleep(PACE).await;
        }
        drop(feed);

        let ended = timeout(Duration::from_secs(20), running).await;
        let ended = ended.expect("the pipeline stands still").unwrap();
        assert_eq!(ended, End::Drained { left: 0 });
        let (delivered, dead) = (counters.events_acknowledged.get(), counters.events_dead.get());
        assert_eq!(delivered + dead, 24, "{delivered} delivered, {dead} set aside");
        assert!(dead >= 2, "no poison was refused");
    }
}
