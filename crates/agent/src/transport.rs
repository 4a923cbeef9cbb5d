//! To the collector: a tower stack over shipments that can be sent again.
//!
//! ```text
//! concurrency limit ─► retry ─► timeout ─► one Ingest call
//! ```
//! A retry sends the same bytes again. How long it waits is jittered and doubles up to five seconds; a collector that asks for a
//! delay gets it. A refusal that would come again (`lapwing::status`) is handed back.

mod ingest;
mod retry;
mod shipment;

use std::{sync::Arc, time::Duration};

use lapwing::{
    status::Kind,
    v1::{IngestResponse, ResumeRequest, ResumeResponse, ingest_service_client::IngestServiceClient},
};
use lapwing_service::client::{Credentials, CredentialsError, Link};
use thiserror::Error;
use tonic::Status;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, util::BoxCloneService};

pub use self::shipment::Shipment;
use self::{ingest::Ingest, retry::Policy};
use crate::{config::CollectorConfig, counters::Counters};

/// Largest answer: positions of hundreds of thousands of sources.
const MAX_ANSWER: usize = 64 << 20;
/// How long one try may take.
const TRY: Duration = Duration::from_secs(30);

/// Why a transport can't be set up.
#[derive(Debug, Error)]
pub enum SetupError {
    /// A certificate, key or token.
    #[error("[collector] {0}")]
    Credentials(#[from] CredentialsError),
    /// The endpoint.
    #[error("[collector] endpoint: {0}")]
    Endpoint(#[from] tonic::transport::Error),
}

/// The way to the collector.
#[derive(Debug, Clone)]
pub struct Transport {
    link: Link,
    counters: Arc<Counters>,
    target: String,
}

/// Takes a shipment until it is durable, or refused for good.
pub type Shipper = BoxCloneService<Shipment, IngestResponse, BoxError>;

impl Transport {
    /// Sets up the connection; it is made when it is first used.
    ///
    /// # Errors
    /// When the configuration can't be used.
    pub fn new(config: &CollectorConfig, counters: Arc<Counters>) -> Result<Self, SetupError> {
        let link = Link::new(config.address.clone(), credentials(config)?)?;
        link.credentials().watch();
        let target = format!("{}:{}", config.address.host, config.address.port);
        Ok(Self { link, counters, target })
    }

    /// What the agent shows to the collector.
    pub fn credentials(&self) -> &Credentials {
        self.link.credentials()
    }

    /// A stack that has at most `in_flight` shipments under way.
    pub fn shipper(&self, in_flight: usize) -> Shipper {
        let ingest = Ingest::new(self.client());
        let policy = Policy::new(Arc::clone(&self.counters), &self.target);
        let stack =
            ServiceBuilder::new().concurrency_limit(in_flight).retry(policy).timeout(TRY).service(ingest);
        BoxCloneService::new(stack)
    }

    /// Takes the lease for `epoch`, trying until it is there.
    ///
    /// # Errors
    /// When another run took over from this epoch, in the time between two tries.
    pub async fn resume(&self, agent: &str, epoch: u64) -> Result<ResumeResponse, Refusal> {
        let mut policy = Policy::new(Arc::clone(&self.counters), &self.target);
        loop {
            let request = ResumeRequest { agent_id: agent.to_owned(), epoch, next_sequence: 1 };
            let mut request = tonic::Request::new(request);
            request.set_timeout(TRY);
            match self.client().resume(request).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if Kind::of(&status) == Kind::Fenced => {
                    return Err(Refusal { kind: Kind::Fenced, message: status.message().to_owned() });
                }
                Err(status) => policy.pause(&status).await,
            }
        }
    }

    fn client(&self) -> IngestServiceClient<Link> {
        IngestServiceClient::new(self.link.clone()).max_decoding_message_size(MAX_ANSWER)
    }
}

/// What the config says to show.
///
/// # Errors
/// When it can't be used.
pub fn credentials(config: &CollectorConfig) -> Result<Credentials, CredentialsError> {
    let mut credentials = Credentials::default();
    if let Some(ca) = config.ca_file.clone().filter(|_| config.address.tls) {
        credentials = credentials.with_tls(ca, config.identity.clone())?;
    }
    match (&config.token, &config.token_file) {
        (Some(token), _) => credentials.with_token(token.clone()),
        (None, Some(file)) => credentials.with_token_file(file.clone()),
        (None, None) => Ok(credentials),
    }
}

/// Ships through a clone of the stack.
///
/// # Errors
/// The refusal, which would come again.
pub async fn ship(mut shipper: Shipper, shipment: Shipment) -> Result<IngestResponse, Refusal> {
    let shipped = async { shipper.ready().await?.call(shipment).await };
    shipped.await.map_err(|error| Refusal::of(&error))
}

/// A refusal that would come again.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Its place in the table of refusals.
    pub kind: Kind,
    /// What the collector said.
    pub message: String,
}

impl Refusal {
    fn of(error: &BoxError) -> Self {
        match error.downcast_ref::<Status>() {
            Some(status) => Self { kind: Kind::of(status), message: status.message().to_owned() },
            None => Self { kind: Kind::Internal, message: error.to_string() },
        }
    }
}
