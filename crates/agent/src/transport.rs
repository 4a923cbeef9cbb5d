//! To the collector: a tower stack over shipments that can be sent again.
//!
//! ```text
//! retry ─► timeout ─► one Ingest call
//! ```
//! How much is under way is bounded in one place, the pipeline: a second bound here, outside of the retry, would let batches that
//! are tried again keep out the one that they wait for (docs/adr/0008). So whatever is under way waits for nothing but its own pause.
//!
//! A retry sends the same bytes again. How long it waits is jittered and doubles up to five seconds; a collector that asks for a
//! delay gets it. A refusal that would come again (`lapwing::status`) is handed back.

mod ingest;
mod retry;
mod shipment;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use lapwing::{
    status::Kind,
    v1::{IngestResponse, ResumeRequest, ResumeResponse, ingest_service_client::IngestServiceClient},
};
use lapwing_service::{
    client::{Credentials, CredentialsError, Link},
    said::Said,
};
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
    /// What was said of the collector.
    said: Arc<Said<String>>,
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
        Ok(Self { link, counters, target, said: Policy::nothing_said() })
    }

    /// What the agent shows to the collector.
    pub fn credentials(&self) -> &Credentials {
        self.link.credentials()
    }

    /// The stack that shipments go through.
    /// `acknowledged` is up to which number the collector acknowledged batches.
    pub fn shipper(&self, acknowledged: Arc<AtomicU64>) -> Shipper {
        let ingest = Ingest::new(self.client());
        stack(ingest, self.policy(acknowledged))
    }

    /// Takes the lease for `epoch`, trying until it is there.
    ///
    /// # Errors
    /// When another run took over from this epoch, in the time between two tries.
    pub async fn resume(&self, agent: &str, epoch: u64) -> Result<ResumeResponse, Refusal> {
        let mut policy = self.policy(Arc::default());
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

    fn policy(&self, acknowledged: Arc<AtomicU64>) -> Policy {
        Policy::new(Arc::clone(&self.counters), &self.target, acknowledged, Arc::clone(&self.said))
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

/// Tries again, each time for so long, what `ingest` takes.
fn stack<S>(ingest: S, policy: Policy) -> Shipper
where
    S: Service<Shipment, Response = IngestResponse, Error = Status> + Clone + Send + 'static,
    S::Future: Send,
{
    BoxCloneService::new(ServiceBuilder::new().retry(policy).timeout(TRY).service(ingest))
}

/// The stack over another end than a collector.
#[cfg(test)]
pub(crate) fn shipper_to<S>(ingest: S, counters: Arc<Counters>, acknowledged: Arc<AtomicU64>) -> Shipper
where
    S: Service<Shipment, Response = IngestResponse, Error = Status> + Clone + Send + 'static,
    S::Future: Send,
{
    stack(ingest, Policy::new(counters, "test", acknowledged, Policy::nothing_said()))
}

/// Ships through a clone of the stack.
///
/// # Errors
/// A refusal that would come again, or a fault of the agent's own.
pub async fn ship(mut shipper: Shipper, shipment: Shipment) -> Result<IngestResponse, Undelivered> {
    let shipped = async { shipper.ready().await?.call(shipment).await };
    shipped.await.map_err(|error| Undelivered::of(&error))
}

/// Why a shipment was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undelivered {
    /// The collector refused it.
    Refused(Refusal),
    /// Something went wrong here: it says nothing about the batches.
    Failed(String),
}

/// A refusal that would come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its place in the table of refusals.
    pub kind: Kind,
    /// What the collector said.
    pub message: String,
}

impl Undelivered {
    fn of(error: &BoxError) -> Self {
        match error.downcast_ref::<Status>() {
            Some(status) => {
                Self::Refused(Refusal { kind: Kind::of(status), message: status.message().to_owned() })
            }
            None => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_agents_own_is_no_refusal_of_a_batch() {
        let own: BoxError = "the queue is closed".into();
        assert_eq!(Undelivered::of(&own), Undelivered::Failed("the queue is closed".to_owned()));
        let refused: BoxError = Box::new(Kind::TooLarge.status("no"));
        assert!(
            matches!(Undelivered::of(&refused), Undelivered::Refused(refusal) if refusal.kind == Kind::TooLarge)
        );
    }
}
