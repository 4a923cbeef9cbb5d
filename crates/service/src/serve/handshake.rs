//! TLS handshakes, so that a crowd gets through and a peer that dawdles holds up nobody.
//!
//! Three parts, each with a bound: the first message of the peer comes within [`HELLO`], and nothing is computed for it; then the connection
//! waits for its turn to be computed, in turn over addresses; the rest is done within [`REST`], that wait included.

use std::{io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use rustls::server::Acceptor;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};

use super::{link::Link, strangers::Strangers};
use crate::{identity::Certificate, pool::Pool, renewed::Renewed, tls::ServerSide};

const HELLO: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_secs(5);
/// Handshakes that are computed at a time. A thousand together get so little of the processor each that none is done before its
/// time is up; then all come again, and none ever is.
const COMPUTED: usize = 32;
/// How long one of them counts as computing: a peer that is far away, or dawdles, holds up no other for longer.
const HEAD_START: Duration = Duration::from_millis(50);

/// What a listener's handshakes share.
#[derive(Debug, Clone)]
pub(super) struct Handshakes {
    tls: Arc<Renewed<ServerSide>>,
    computing: Pool<IpAddr>,
    strangers: Arc<Strangers>,
}

impl Handshakes {
    pub(super) fn new(tls: Arc<Renewed<ServerSide>>, strangers: Arc<Strangers>) -> Self {
        Self { tls, computing: Pool::new(COMPUTED, COMPUTED), strangers }
    }

    /// The connection behind a handshake, and what the peer's certificate says.
    pub(super) async fn run(
        &self,
        stream: TcpStream,
        address: IpAddr,
        link: &Link,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Certificate>)> {
        tokio::select! {
            done = self.steps(stream, address, link) => done,
            () = link.has_to_leave() => Err(late("made room for others: it had waited longest")),
        }
    }

    async fn steps(
        &self,
        stream: TcpStream,
        address: IpAddr,
        link: &Link,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Certificate>)> {
        link.is_stranger(&self.strangers, address);
        let hello = timeout(HELLO, LazyConfigAcceptor::new(Acceptor::default(), stream)).await;
        let hello = hello.map_err(|_| late("its first message did not come within 5 s"))??;

        // Now this program is waited for.
        link.is_waited_for();
        let end = Instant::now() + REST;
        let stream = timeout_at(end, self.compute(hello, address, link)).await;
        let stream = stream.map_err(|_| late("not finished within 5 s"))??;
        let chain = stream.get_ref().1.peer_certificates();
        let certificate = chain.and_then(|chain| Certificate::read(chain.first()?));
        Ok((stream, certificate))
    }

    async fn compute(
        &self,
        hello: StartHandshake<TcpStream>,
        address: IpAddr,
        link: &Link,
    ) -> io::Result<TlsStream<TcpStream>> {
        let turn = match self.computing.take(&address, 1) {
            Some(turn) => Some(turn.await),
            None => None,
        };
        let mut computed = pin!(hello.into_stream(Arc::clone(&self.tls.current().config)));
        if let Ok(done) = timeout(HEAD_START, &mut computed).await {
            return done;
        }
        // The peer has its part to do.
        drop(turn);
        link.is_stranger(&self.strangers, address);
        computed.await
    }
}

fn late(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, reason)
}
