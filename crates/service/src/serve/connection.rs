//! A connection after its handshake: HTTP/1.1 or HTTP/2, with bounds on what it may make wait here.

use std::time::Duration;

use axum::{Extension, Router, body::Body, http::Request, response::Response};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::util::{MapRequestLayer, MapResponseLayer};

use super::{Peer, paced::Paced};

const HEADERS: Duration = Duration::from_secs(10);
/// Most streams of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 64;
/// Windows of a connection: the four shipments of an agent that are not read do not hold up what is.
const WINDOWS: u32 = 5;
/// A frame is handed on as a whole, and makes room in the window for another.
const MAX_FRAME_BYTES: u32 = 32 << 10;
const MAX_HEADER_BYTES: u32 = 16 << 10;
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long what is under way may take when the connection has to go.
const LEAVING: Duration = Duration::from_secs(5);

/// Serves it until its end, until it has to go, or until `closing`.
pub(super) async fn serve<S>(stream: S, router: Router, peer: Peer, window: u32, closing: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = builder(window);
    let (address, link) = (peer.address, peer.link.clone());
    let (begins, ends) = (link.clone(), link.clone());
    let router = router
        .layer(MapResponseLayer::new(move |response: Response| {
            ends.touch();
            response
        }))
        .layer(MapRequestLayer::new(move |request: Request<Body>| {
            begins.touch();
            request
        }))
        .layer(Extension(peer));
    let service = TowerToHyperService::new(router);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(Paced::new(stream)), service);
    let mut served = std::pin::pin!(served);

    tokio::select! {
        ended = served.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%address, "connection ended: {error}");
            }
            return;
        }
        () = link.has_to_go() => if !link.is_known() { return },
        () = closing.cancelled() => {}
    }
    served.as_mut().graceful_shutdown();
    if timeout(LEAVING, served).await.is_err() {
        tracing::debug!(%address, "connection cut: it did not end within {LEAVING:?}");
    }
}

fn builder(window: u32) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .initial_stream_window_size(window)
        .initial_connection_window_size(WINDOWS * window)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    builder
}
