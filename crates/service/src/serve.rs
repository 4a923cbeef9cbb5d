//! Serving HTTP/1.1 and HTTP/2 on one port, with or without TLS.
//!
//! No peer can hold up the accept loop or another peer, and no error of one connection ends the server:
//!
//! - Every stage of a connection has a clock: the first bytes 5 s, a handshake 5 s more, the first request of somebody who is known 10 s.
//! - Connections of peers that have not shown who they are have bounds by address and together (`strangers`); those of one name, too
//!   (`known`).
//! - Frames that carry nothing are read at a pace, and a peer that does not read is let go after 30 s (`paced`).
//! - What peers cause to be logged is one line for each address in ten seconds, with a count.
//!
//! The peer's [`Peer`] is in the extensions of each request. Whoever learns from a request who is at the other end says so by
//! [`Link::is_of`]; until then the connection is a stranger's.

mod connection;
mod handshake;
mod known;
mod link;
mod paced;
mod strangers;

use std::{
    borrow::Borrow,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

pub use self::link::Link;
use self::{handshake::Handshakes, known::Known, strangers::Strangers};
use crate::{
    identity::{Certificate, Identity, Role},
    renewed::Renewed,
    said::Said,
    tls::{RefusalKind, ServerSide, refusal_kind, seen_by_server},
    watchdog::Beat,
};

/// Bytes for what nobody has read yet of one listener's connections, unless its owner says otherwise.
const UNREAD: usize = 32 << 20;
/// Of these there are so many for each connection that may be open ...
const OF_A_CONNECTION: usize = 8 << 10;
/// ... and for each with wide windows.
const OF_A_WIDE_ONE: usize = 512 << 10;
/// Most connections of a name, unless more is known about it: a quarter of all that there may usually be.
pub const OF_A_NAME: usize = UNREAD / OF_A_CONNECTION / 4;
/// Most of an agent. It has one, and a few that are dead without anybody's knowing when its network comes and goes.
pub const OF_AN_AGENT: usize = 4;
/// Most bytes of a stream that nobody has read yet. With a quarter of it agents that have one batch under way fell far behind those that
/// have four.
const WINDOW: u32 = 256 << 10;
/// The same when there are more connections than may have wide windows: the unread bytes of a thousand must fit into memory.
const NARROW_WINDOW: u32 = 32 << 10;
/// How often connections that are too many are closed.
const TRIM: Duration = Duration::from_millis(250);

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// What its certificate says; `None` without one.
    pub certificate: Option<Certificate>,
    /// The connection came in on a loopback address without TLS, where whoever is on this machine is let in.
    pub local: bool,
    /// The connection.
    pub link: Link,
}

/// What a listener speaks.
#[derive(Debug, Clone)]
pub struct Transport {
    /// Plaintext without it. Each connection takes what is there when it comes.
    pub tls: Option<Arc<Renewed<ServerSide>>>,
    /// Whether a peer counts as [`Peer::local`] on a loopback address without TLS.
    pub open_to_local: bool,
    /// Bytes for what nobody has read yet. With half of them half as many connections may be open, and half as many have wide windows.
    pub unread_bytes: usize,
    /// The heart of whoever watches over the accept loop.
    pub beat: Option<Beat>,
}

impl Default for Transport {
    fn default() -> Self {
        Self { tls: None, open_to_local: false, unread_bytes: UNREAD, beat: None }
    }
}

impl Transport {
    /// Most connections at a time.
    fn most_connections(&self) -> usize {
        (self.unread_bytes / OF_A_CONNECTION).clamp(1, Semaphore::MAX_PERMITS)
    }

    /// How many of them have wide windows.
    fn wide(&self) -> usize {
        self.unread_bytes / OF_A_WIDE_ONE
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

/// Most connections of somebody with this identity.
pub fn most_connections(identity: &Identity) -> usize {
    match identity.role {
        Role::Agent => OF_AN_AGENT,
        Role::User => OF_A_NAME,
    }
}

/// Serves until `stop`, then lets requests under way finish for up to `grace`.
pub async fn serve(
    listener: impl Borrow<TcpListener>,
    transport: Transport,
    router: Router,
    stop: CancellationToken,
    grace: Duration,
) {
    let local = transport.open_to_local
        && transport.tls.is_none()
        && listener.borrow().local_addr().is_ok_and(|address| address.ip().is_loopback());
    let (most, wide, beat) = (transport.most_connections(), transport.wide(), transport.beat);
    let server = Server::new(transport.tls, local, router, stop.clone());
    let room = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    let mut trim = interval(TRIM);
    trim.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;

    loop {
        beat.iter().for_each(Beat::rest);
        let accepted = tokio::select! {
            accepted = listener.borrow().accept() => accepted,
            Some(_) = connections.join_next() => continue,
            // Without connections there is nothing to wake up for: an idle agent has such a listener, too.
            _ = trim.tick(), if !connections.is_empty() => {
                server.strangers.trim();
                continue;
            }
            () = stop.cancelled() => break,
        };
        beat.iter().for_each(Beat::work);
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a peer that is gone already: neither may end the server, nor spin it.
                if let Some(left_out) = server.full.again(&"accept") {
                    tracing::warn!("accept: {error}{left_out}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            if let Some(left_out) = server.full.again(&"connections") {
                tracing::warn!(%address, "refused: {most} connections are open{left_out}");
            }
            continue;
        };
        number += 1;
        let window = if room.available_permits() + wide >= most { WINDOW } else { NARROW_WINDOW };
        connections.spawn(Arc::clone(&server).connection(stream, address, number, window, permit));
    }

    drop(listener);
    // What is under way takes as long as it is given.
    beat.iter().for_each(Beat::rest);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all_ended).await.is_err() {
        tracing::warn!("some connections did not finish within {grace:?}");
    }
}

/// What the connections of a listener share.
#[derive(Debug)]
struct Server {
    local: bool,
    router: Router,
    stop: CancellationToken,
    handshakes: Option<Handshakes>,
    strangers: Arc<Strangers>,
    known: Arc<Known>,
    /// Lines about the peers of an address, a kind of failure each: many hosts can stand behind one address.
    said: Said<(IpAddr, RefusalKind)>,
    /// Lines about connections that can't be had.
    full: Said<&'static str>,
}

impl Server {
    fn new(
        tls: Option<Arc<Renewed<ServerSide>>>,
        local: bool,
        router: Router,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let strangers = Arc::new(Strangers::default());
        let handshakes = tls.map(|tls| Handshakes::new(tls, Arc::clone(&strangers)));
        let known = Arc::default();
        Arc::new(Self {
            local,
            router,
            stop,
            handshakes,
            strangers,
            known,
            said: Said::default(),
            full: Said::default(),
        })
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        number: u64,
        window: u32,
        _permit: OwnedSemaphorePermit,
    ) {
        let _ = stream.set_nodelay(true);
        let link = Link::new(number, &self.known, CancellationToken::new());
        let customer = customer(address.ip());
        let peer = Peer { address, certificate: None, local: self.local, link: link.clone() };
        let (router, closing) = (self.router.clone(), self.stop.clone());
        let Some(handshakes) = &self.handshakes else {
            link.is_stranger(&self.strangers, customer);
            return connection::serve(stream, router, peer, window, closing).await;
        };

        let shaken = tokio::select! {
            shaken = handshakes.run(stream, customer, &link) => shaken,
            () = closing.cancelled() => return,
        };
        let (stream, certificate) = match shaken {
            Ok(shaken) => shaken,
            Err(error) => {
                if let Some(left_out) = self.said.again(&(customer, refusal_kind(&error))) {
                    tracing::warn!(%address, "TLS handshake failed: {}{left_out}", seen_by_server(&error));
                }
                return;
            }
        };
        match certificate.as_ref().and_then(|certificate| certificate.identity.as_ref().ok()) {
            Some(identity) => link.count(&identity.uri(), most_connections(identity)),
            None => link.is_stranger(&self.strangers, customer),
        }
        connection::serve(stream, router, Peer { certificate, ..peer }, window, closing).await;
    }
}
