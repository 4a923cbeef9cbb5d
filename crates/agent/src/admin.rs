//! `/healthz` and `/metrics` on a local port.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use lapwing_service::{client::Credentials, metrics, serve, tls::Standing};
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
pub async fn run(
    listener: TcpListener,
    counters: Arc<Counters>,
    credentials: Credentials,
    stop: CancellationToken,
) {
    let (health, shown) = (Arc::clone(&counters), credentials.clone());
    let figures = move || {
        let mut page = counters.page();
        credentials.seconds_left().into_iter().for_each(|seconds| page.certificate(seconds));
        ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page.finish())
    };
    let router = Router::new()
        .route("/healthz", get(move || async move { healthz(&health, &shown) }))
        .route("/metrics", get(move || async move { figures() }));
    serve::serve(listener, serve::Transport::default(), router, stop, Duration::from_secs(1)).await;
}

fn healthz(counters: &Counters, credentials: &Credentials) -> impl IntoResponse + use<> {
    let (trouble, warning) = match credentials.standing() {
        Standing::Good => (counters.health(), String::new()),
        Standing::Ending(text) => (counters.health(), format!("warning: {text}\n")),
        Standing::Invalid(text) => (Err(text), String::new()),
    };
    match trouble {
        Ok(()) => (StatusCode::OK, format!("ok\n{warning}")),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n{warning}")),
    }
}
