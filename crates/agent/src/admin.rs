//! `/livez`, `/readyz`, `/healthz` and `/metrics` on a local port.
//!
//! A web page that is open in a browser on this machine gets none of them. Where `admin_addr` is opened to the network, whoever may
//! reach it may ask, by any name.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use lapwing_service::{
    local::{Hosts, closed_to_pages, guarded},
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
    let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let serve = move |_| serve_once(listener.try_clone(), door(&health, is_local));
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

/// What is served, and to whom.
fn door(health: &Health, is_local: bool) -> Router {
    let router = closed_to_pages(router(health));
    if is_local { guarded(router, Hosts::default(), refused) } else { router }
}

fn refused(reason: &str, _: &HeaderMap) -> Response {
    (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{body::Body, extract::Request};
    use lapwing_service::{client::Credentials, watchdog::Watchdog};
    use tower::ServiceExt;

    use super::*;

    async fn asked(is_local: bool, host: &str, more: Option<(&str, &str)>) -> StatusCode {
        let health = Health::new(Watchdog::default(), Arc::default(), Credentials::default());
        let mut request = Request::get("/metrics").header("host", host);
        if let Some((name, value)) = more {
            request = request.header(name, value);
        }
        let answer = door(&health, is_local).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        answer.status()
    }

    #[tokio::test]
    async fn programs_get_figures_and_web_pages_get_none() {
        assert_eq!(asked(true, "127.0.0.1:7402", None).await, StatusCode::OK);
        assert_eq!(asked(true, "localhost", None).await, StatusCode::OK);
        // A name that a page made its own, and a page of another site.
        assert_eq!(asked(true, "attacker.example:7402", None).await, StatusCode::FORBIDDEN);
        let page = Some(("origin", "https://attacker.example"));
        assert_eq!(asked(true, "localhost:7402", page).await, StatusCode::FORBIDDEN);

        assert_eq!(asked(false, "host-7.example:7402", None).await, StatusCode::OK, "opened to the network");
    }
}
