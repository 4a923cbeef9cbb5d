//! A gRPC channel to a collector, with or without TLS.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

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

/// A channel that connects when it is first used, and again whenever the connection is lost.
///
/// # Errors
/// When the address can't be part of a URI.
pub fn channel(
    address: &Address,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Channel, tonic::transport::Error> {
    let Address { host, port, .. } = address.clone();
    let written = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let endpoint = Endpoint::from_shared(format!("http://{written}:{port}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20);
    Ok(match tls {
        None => endpoint.connect_lazy(),
        Some(config) => {
            let connector = TlsConnector::from(config);
            endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
                let (connector, host) = (connector.clone(), host.clone());
                async move {
                    let stream = TcpStream::connect((host.as_str(), port)).await?;
                    stream.set_nodelay(true)?;
                    let name = ServerName::try_from(host).map_err(io::Error::other)?;
                    Ok::<_, io::Error>(TokioIo::new(connector.connect(name, stream).await?))
                }
            }))
        }
    })
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
