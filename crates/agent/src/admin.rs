//! `/livez`, `/readyz`, `/healthz` and `/metrics` on a local port.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use axum::{Router, http::StatusCode, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use lapwing_service::{
    metrics, serve,
    watchdog::{Part, keep},
};
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// Binds the port, so that one that is taken is told at start.
///
/// # Errors
/// When it can't be had.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        let text =
            format!("[agent] admin_addr {address}: {error}; choose another address or stop what uses it");
        io::Error::new(error.kind(), text)
    })
}

/// Serves as long as the process lives.
pub async fn run(listener: TcpListener, health: Health, part: Part) {
    let serve = move |_| serve_once(listener.try_clone(), router(&health));
    keep(part, CancellationToken::new(), serve).await;
}

async fn serve_once(listener: io::Result<TcpListener>, router: Router) {
    match listener.and_then(tokio::net::TcpListener::from_std) {
        Ok(listener) => {
            let transport = serve::Transport::default();
            serve::serve(listener, transport, router, CancellationToken::new(), Duration::from_secs(1)).await;
        }
        Err(error) => tracing::error!("[agent] admin_addr: {error}"),
    }
}

fn router(health: &Health) -> Router {
    let (live, ready, figures) = (health.clone(), health.clone(), health.clone());
    let ready = get(move || async move { answer(ready.trouble(), ready.warning()) });
    let page = move || async move { ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], figures.page()) };
    Router::new()
        .route("/livez", get(move || async move { answer(live.stuck(), String::new()) }))
        .route("/readyz", ready.clone())
        .route("/healthz", ready)
        .route("/metrics", get(page))
}

fn answer(trouble: Option<String>, warning: String) -> impl IntoResponse + use<> {
    match trouble {
        None => (StatusCode::OK, format!("ok\n{warning}")),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n{warning}")),
    }
}
