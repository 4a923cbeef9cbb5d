//! `lapwing.v1.IngestService`.

use std::sync::Arc;

use lapwing::{
    status::Kind,
    undecoded::{Undecoded, service::ingest_service_server},
    v1::{IngestResponse, ResumeRequest},
};
use tonic::{Request, Response, Status, Streaming};

use super::{Door, MessageRoom, door::refuse_envelope};
use crate::{
    access::{self, Access},
    share::{Share, UntilRead},
};

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
    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<Undecoded>, Status> {
        let caller = access::of_request(&self.access, &request)?;
        let share = request.extensions().get::<Share>().cloned();
        let (answer, room) = self.door.resume(&caller, share, request.into_inner()).await?;
        let mut response = Response::new(answer);
        if let Some(room) = room {
            response.extensions_mut().insert(UntilRead(Arc::new(room)));
        }
        Ok(response)
    }

    async fn ingest(
        &self,
        request: Request<Streaming<Undecoded>>,
    ) -> Result<Response<IngestResponse>, Status> {
        let caller = access::of_request(&self.access, &request)?;
        let room = request.extensions().get::<MessageRoom>().cloned().unwrap_or_default();
        let mut shipment = request.into_inner();
        let mut response = IngestResponse::default();
        let mut batches = 0;
        while let Some(Undecoded(request)) = shipment.message().await? {
            batches += 1;
            if batches > MAX_BATCHES {
                let text = format!("a shipment has at most {MAX_BATCHES} batches; end the stream earlier");
                return Err(Kind::TooLarge.status(text));
            }
            let acknowledged = Undecoded::acknowledged(&request).map_err(|error| refuse_envelope(&error))?;
            if let Some(acknowledged) = acknowledged {
                response.durable_sequence = self.door.holds(&caller, acknowledged).await?;
                continue;
            }
            let taken = self.door.take(&caller, request, &room).await?;
            response.durable_sequence = response.durable_sequence.max(taken.durable);
            response.accepted_rows = response.accepted_rows.saturating_add(taken.rows);
            response.duplicate_batches += u32::from(taken.duplicate);
        }
        Ok(Response::new(response))
    }
}
