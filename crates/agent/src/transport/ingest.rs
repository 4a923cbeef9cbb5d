//! One try: a client-streaming call.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use lapwing::v1::{IngestResponse, ingest_service_client::IngestServiceClient};
use lapwing_service::client::Link;
use tonic::{Request, Status};
use tower::Service;

use super::Shipment;

/// Calls `Ingest`.
#[derive(Debug, Clone)]
pub(super) struct Ingest {
    client: IngestServiceClient<Link>,
}

impl Ingest {
    pub(super) fn new(client: IngestServiceClient<Link>) -> Self {
        Self { client }
    }
}

impl Service<Shipment> for Ingest {
    type Response = IngestResponse;
    type Error = Status;
    type Future = BoxFuture<'static, Result<IngestResponse, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // The client's channel queues, and the pipeline bounds how much.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, shipment: Shipment) -> Self::Future {
        let mut client = self.client.clone();
        let request = Request::new(shipment.requests());
        Box::pin(async move { Ok(client.ingest(request).await?.into_inner()) })
    }
}
