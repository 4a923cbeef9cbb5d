//! `/healthz` and `/metrics` on a local port.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use lapwing_service::{metrics, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::counters::Counters;

/// Binds the port, so that one that is taken is told at start.
///
/// # Errors
/// When it can't be had.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let text =
            format!("[agent] admin_addr {address}: {error}; choose another address or stop what uses it");
        io::Error::new(error.kind(), text)
    })
}

/// Serves until `stop`.
pub async fn run(listener: TcpListener, counters: Arc<Counters>, stop: CancellationToken) {
    let health = Arc::clone(&counters);
    let router = Router::new().route("/healthz", get(move || async move { healthz(&health) })).route(
        "/metrics",
        get(move || async move { ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], counters.page()) }),
    );
    serve::serve(listener, serve::Transport::default(), router, stop, Duration::from_secs(1)).await;
}

fn healthz(counters: &Counters) -> impl IntoResponse + use<> {
    match counters.health() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
