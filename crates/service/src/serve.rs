//! Serving HTTP/1.1 and HTTP/2 on one port, with or without TLS.
//!
//! A handshake runs on a task of its own and has five seconds, and only so many are computed at a time: a crowd that comes at once gets
//! through one after another. No peer can hold up the accept loop, and no error of one
//! connection ends the server. The peer's [`Peer`] is in the extensions of each request.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    identity::Certificate,
    renewed::Renewed,
    tls::{ServerSide, seen_by_server},
};

const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes that are computed at a time. A thousand together get so little of the processor each that none is done before its
/// time is up; then all come again, and none ever is.
const HANDSHAKES: usize = 32;
/// How long one of them counts as computing: a peer that is far away, or dawdles, holds up no other for longer.
const HEAD_START: Duration = Duration::from_millis(250);
const HEADERS: Duration = Duration::from_secs(10);
/// Most connections of one listener at a time.
const MAX_CONNECTIONS: usize = 4096;
/// Most streams of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 64;
/// Most bytes of a stream that nobody has read yet. With a quarter of it agents that have one batch under way fell far behind those that
/// have four.
const WINDOW: u32 = 256 << 10;
/// With more connections than this each new one has less: the unread bytes of a thousand must fit into memory.
const WIDE: usize = 64;
const NARROW_WINDOW: u32 = 32 << 10;
/// Windows of a connection: the four shipments of an agent that are not read do not hold up what is.
const WINDOWS: u32 = 5;
/// A frame is handed on as a whole, and makes room in the window for another.
const MAX_FRAME_BYTES: u32 = 32 << 10;
const MAX_HEADER_BYTES: u32 = 16 << 10;
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// What its certificate says; `None` without one.
    pub certificate: Option<Certificate>,
    /// The connection came in on a loopback address without TLS, where whoever is on this machine is let in.
    pub local: bool,
    /// One permit, for what the connection's requests do one at a time.
    pub turn: Arc<Semaphore>,
}

/// What a listener speaks.
#[derive(Debug, Clone, Default)]
pub struct Transport {
    /// Plaintext without it. Each connection takes what is there when it comes.
    pub tls: Option<Arc<Renewed<ServerSide>>>,
    /// Whether a peer counts as [`Peer::local`] on a loopback address without TLS.
    pub open_to_local: bool,
}

/// Serves until `stop`, then lets requests under way finish for up to `grace`.
pub async fn serve(
    listener: TcpListener,
    transport: Transport,
    router: Router,
    stop: CancellationToken,
    grace: Duration,
) {
    let graceful = Arc::new(GracefulShutdown::new());
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let local = transport.open_to_local
        && transport.tls.is_none()
        && listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a peer that is gone already: neither may end the server, nor spin it.
                tracing::warn!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(%address, "refused: {MAX_CONNECTIONS} connections are open");
            continue;
        };
        let open = MAX_CONNECTIONS - room.available_permits();
        let acceptor = transport.tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.current().config)));
        let (router, watcher) = (router.clone(), graceful.watcher());
        let handshakes = Arc::clone(&handshakes);
        tokio::spawn(async move {
            let _permit = permit;
            let _ = stream.set_nodelay(true);
            let window = if open <= WIDE { WINDOW } else { NARROW_WINDOW };
            let peer = |certificate| Peer { address, certificate, local, turn: Arc::new(Semaphore::new(1)) };
            let Some(acceptor) = acceptor else {
                return connection(stream, router, peer(None), window, watcher).await;
            };
            match handshake(&acceptor, stream, &handshakes).await {
                Ok((stream, certificate)) => {
                    connection(stream, router, peer(certificate), window, watcher).await
                }
                Err(error) => tracing::warn!(%address, "TLS handshake failed: {}", seen_by_server(&error)),
            }
        });
    }
    drop(listener);
    if let Some(graceful) = Arc::into_inner(graceful)
        && timeout(grace, graceful.shutdown()).await.is_err()
    {
        tracing::warn!("some connections did not finish within {grace:?}");
    }
}

/// Whose address it is, as far as addresses tell: of IPv6 the network of 64 bits.
pub fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        v4 => v4,
    }
}

async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    handshakes: &Semaphore,
) -> io::Result<(tokio_rustls::server::TlsStream<TcpStream>, Option<Certificate>)> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "not finished within 5 s");
    // Whoever says nothing holds up nobody.
    timeout(HANDSHAKE, stream.readable()).await.map_err(late)??;
    let computing = handshakes.acquire().await;
    let mut accepted = pin!(timeout(HANDSHAKE, acceptor.accept(stream)));
    let accepted = match timeout(HEAD_START, &mut accepted).await {
        Ok(accepted) => accepted,
        Err(_) => {
            drop(computing);
            accepted.await
        }
    };
    let stream = accepted.map_err(late)??;
    let certificate =
        stream.get_ref().1.peer_certificates().and_then(|chain| Certificate::read(chain.first()?));
    Ok((stream, certificate))
}

async fn connection<S>(stream: S, router: Router, peer: Peer, window: u32, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
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
    let address = peer.address;
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(served.into_owned()).await {
        tracing::debug!(%address, "connection ended: {error}");
    }
}
