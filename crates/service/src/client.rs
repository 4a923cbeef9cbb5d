//! Requests to a collector, with or without TLS.
//!
//! A [`Link`] takes certificates, keys and tokens that were renewed on the disk for its next requests, and says of a connection that
//! failed what its cause is: what ends a connection is seen where bytes are read, and lost by the layers above.

mod io;

use std::{
    error::Error,
    fs,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axum::http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use thiserror::Error;
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint, Uri},
};
use tower::{Service, ServiceExt, service_fn};

use self::io::{Cause, connect};
use crate::{
    renewed::Renewed,
    secret::Secret,
    tls::{self, ClientSide, Standing, TlsError},
};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a collector is, and whether TLS is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS or plaintext.
    pub tls: bool,
}

/// Why an endpoint is not one.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EndpointError {
    /// WebSocket.
    #[error(
        "{0}: WebSocket is not built yet; use http://, https://, grpc:// or grpcs:// with the same host and port"
    )]
    WebSocket(String),
    /// Anything else.
    #[error("{0}: expected an endpoint such as https://collector.example.com:7400")]
    Invalid(String),
}

/// What a client shows, renewed when its files are.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Its side of TLS.
    pub tls: Option<Arc<Renewed<ClientSide>>>,
    /// Its token, as the header `authorization`.
    pub token: Option<Arc<Renewed<HeaderValue>>>,
}

/// Requests to one collector. It connects when it is first used, and again whenever the connection is lost.
#[derive(Debug, Clone)]
pub struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: Address,
    credentials: Credentials,
    channel: Mutex<(Option<Arc<ClientSide>>, Channel)>,
    cause: Cause,
}

impl Address {
    /// Reads an endpoint: `http(s)://HOST:PORT` or `grpc(s)://HOST:PORT`; a path is not used.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(endpoint: &str) -> Result<Self, EndpointError> {
        let invalid = || EndpointError::Invalid(endpoint.to_owned());
        let uri: Uri = endpoint.parse().map_err(|_| invalid())?;
        let tls = match uri.scheme_str() {
            Some("http" | "grpc") => false,
            Some("https" | "grpcs") => true,
            Some("ws" | "wss") => return Err(EndpointError::WebSocket(endpoint.to_owned())),
            _ => return Err(invalid()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { host, port, tls })
    }
}

/// Why credentials can't be used.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// A certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A token.
    #[error("{0}")]
    Token(String),
}

impl Credentials {
    /// Adds TLS: `ca` vouches for the collector, `identity` is the own certificate and key.
    ///
    /// # Errors
    /// When they can't be used.
    pub fn with_tls(
        self,
        ca: PathBuf,
        identity: Option<(PathBuf, PathBuf)>,
    ) -> Result<Self, CredentialsError> {
        let own = identity.iter().flat_map(|(cert, key)| [cert, key]);
        let files = [&ca].into_iter().chain(own).cloned().collect();
        let make =
            move || tls::client(&ca, identity.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path())));
        let tls = Renewed::new("certificate, key and authority", files, make)?;
        Ok(Self { tls: Some(Arc::new(tls)), ..self })
    }

    /// Adds a token.
    ///
    /// # Errors
    /// When it holds what a header can't carry.
    pub fn with_token(self, token: Secret) -> Result<Self, CredentialsError> {
        let make = move || bearer(token.expose());
        let token = Renewed::new("the token", Vec::new(), make).map_err(CredentialsError::Token)?;
        Ok(Self { token: Some(Arc::new(token)), ..self })
    }

    /// Adds the token that stands in a file.
    ///
    /// # Errors
    /// When it can't be read or is none.
    pub fn with_token_file(self, path: PathBuf) -> Result<Self, CredentialsError> {
        let files = vec![path.clone()];
        let make = move || {
            let fail = |error: String| format!("{}: {error}", path.display());
            let text = fs::read_to_string(&path).map_err(|error| fail(format!("can't be read: {error}")))?;
            bearer(text.trim()).map_err(fail)
        };
        let token = Renewed::new("the token", files, make).map_err(CredentialsError::Token)?;
        Ok(Self { token: Some(Arc::new(token)), ..self })
    }

    /// Looks at the files now and then from here on.
    pub fn watch(&self) {
        self.tls.iter().for_each(Renewed::watch);
        self.token.iter().for_each(Renewed::watch);
    }

    /// Why the collector may not let this client in, now or soon.
    pub fn standing(&self) -> Standing {
        let tls = self.tls.as_ref();
        if let Some(error) = tls.and_then(|tls| tls.trouble()) {
            return Standing::Ending(format!("the certificates changed and can't be used: {error}"));
        }
        let validity = tls.and_then(|tls| tls.current().validity.clone());
        validity.map_or(Standing::Good, |validity| validity.at(SystemTime::now()))
    }

    /// Seconds until the end of the own certificate.
    pub fn seconds_left(&self) -> Option<f64> {
        let validity = self.tls.as_ref()?.current().validity.clone()?;
        Some(validity.seconds_left(SystemTime::now()))
    }
}

impl Link {
    /// Prepares requests to the collector at `address`.
    ///
    /// # Errors
    /// When the address can't be part of a URI.
    pub fn new(address: Address, credentials: Credentials) -> Result<Self, tonic::transport::Error> {
        let cause = Cause::default();
        let side = credentials.tls.as_ref().map(|tls| tls.current());
        let first = channel(&address, side.clone(), cause.clone())?;
        Ok(Self(Arc::new(Shared { address, credentials, channel: Mutex::new((side, first)), cause })))
    }

    /// What it shows.
    pub fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// The channel for the next request: a new one once the certificates are others.
    fn channel(&self) -> Result<Channel, Status> {
        let newest = self.0.credentials.tls.as_ref().map(|tls| tls.current());
        let mut current = self.0.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let is_newest = match (&newest, &current.0) {
            (Some(newest), Some(used)) => Arc::ptr_eq(newest, used),
            _ => true,
        };
        if !is_newest {
            let fresh = channel(&self.0.address, newest.clone(), self.0.cause.clone());
            *current = (newest, fresh.map_err(|error| Status::from_error(error.into()))?);
        }
        Ok(current.1.clone())
    }

    /// A request that failed, with the cause that was seen on the connection.
    fn failed(&self, error: tonic::transport::Error) -> Status {
        let Some(cause) = self.0.cause.get() else { return Status::from_error(error.into()) };
        let mut status = Status::unavailable(cause.clone());
        status.set_source(Arc::new(Unreachable(cause)));
        status
    }
}

/// The connection failed, and not the collector that answered.
#[derive(Debug, Error)]
#[error("{0}")]
struct Unreachable(String);

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(token) = &self.0.credentials.token {
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::clone(&token.current()));
        }
        let link = self.clone();
        Box::pin(async move {
            let mut channel = link.channel()?;
            let answered = async { channel.ready().await?.call(request).await };
            answered.await.map_err(|error| link.failed(error))
        })
    }
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    if token.is_empty() {
        return Err("holds no token".to_owned());
    }
    let value = format!("Bearer {token}").parse::<HeaderValue>();
    let mut value = value.map_err(|_| "the token has characters that no token has".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn channel(
    address: &Address,
    tls: Option<Arc<ClientSide>>,
    cause: Cause,
) -> Result<Channel, tonic::transport::Error> {
    let Address { host, port, .. } = address.clone();
    let written = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let endpoint = Endpoint::from_shared(format!("http://{written}:{port}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20);
    Ok(endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
        let tls = tls.as_ref().map(|tls| Arc::clone(&tls.config));
        connect(host.clone(), port, tls, cause.clone())
    })))
}

/// The root cause of a status, when it was the connection that failed and not the collector that answered.
pub fn connection_cause(status: &Status) -> Option<String> {
    let mut cause: &dyn Error = status.source()?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_others_are_refused_with_what_to_write() {
        let address = Address::parse("https://localhost:8080/ingest").unwrap();
        assert_eq!(address, Address { host: "localhost".into(), port: 8080, tls: true });
        assert_eq!(Address::parse("grpc://[::1]:7400").unwrap().host, "::1");
        assert!(
            Address::parse("ws://localhost:8080/ingest").unwrap_err().to_string().contains("not built yet")
        );
        for bad in ["", "localhost", "localhost:8080", "ftp://x", "http://", "://"] {
            assert!(matches!(Address::parse(bad), Err(EndpointError::Invalid(_))), "{bad}");
        }
    }
}
