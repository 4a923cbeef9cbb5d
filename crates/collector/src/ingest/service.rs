//! `lapwing.v1.IngestService`.

use std::sync::Arc;

use lapwing::{
    status::Kind,
    v1::{IngestRequest, IngestResponse, ResumeRequest, ResumeResponse, ingest_service_server},
};
use tonic::{Request, Response, Status, Streaming};

use super::Door;
use crate::access::{self, Access};

/// Most batches of one shipment.
const MAX_BATCHES: usize = 64;

/// The service.
#[derive(Debug, Clone)]
pub struct IngestService {
    door: Arc<Door>,
    access: Access,
}

impl IngestService {
    /// A service that lets in whom `access` knows.
    pub fn new(door: Arc<Door>, access: Access) -> Self {
        Self { door, access }
    }
}

#[tonic::async_trait]
impl ingest_service_server::IngestService for IngestService {
    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<ResumeResponse>, Status> {
        let caller = access::of_request(&self.access, &request)?;
        self.door.resume(&caller, request.into_inner()).await.map(Response::new)
    }

    async fn ingest(
        &self,
        request: Request<Streaming<IngestRequest>>,
    ) -> Result<Response<IngestResponse>, Status> {
        let caller = access::of_request(&self.access, &request)?;
        let mut shipment = request.into_inner();
        let mut response = IngestResponse::default();
        let mut batches = 0;
        while let Some(request) = shipment.message().await? {
            batches += 1;
            if batches > MAX_BATCHES {
                let text = format!("a shipment has at most {MAX_BATCHES} batches; end the stream earlier");
                return Err(Kind::TooLarge.status(text));
            }
            if let (None, Some(acknowledged)) = (&request.batch, request.acknowledged) {
                response.durable_sequence = self.door.holds(&caller, acknowledged).await?;
                continue;
            }
            let batch = request.batch.ok_or_else(|| Kind::InvalidArgument.status("batch: it is not set"))?;
            let taken = self.door.take(&caller, batch).await?;
            response.durable_sequence = response.durable_sequence.max(taken.durable);
            response.accepted_rows += taken.rows;
            response.duplicate_batches += u32::from(taken.duplicate);
        }
        Ok(Response::new(response))
    }
}
