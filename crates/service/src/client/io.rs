//! A connection that remembers what ended it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::tls::seen_by_client;

/// First two bytes of an alert of TLS.
const ALERT: [u8; 2] = [21, 3];

/// Why the newest connection failed.
#[derive(Debug, Clone, Default)]
pub(super) struct Cause(Arc<Mutex<Option<String>>>);

impl Cause {
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The first one counts: what fails afterwards fails because of it.
    fn note(&self, cause: impl FnOnce() -> String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(cause);
    }
}

/// Bytes of a connection. A peer that refuses a certificate says so only after the handshake.
pub(super) struct Watched<S> {
    stream: S,
    cause: Cause,
    /// No TLS is spoken here, and nothing was read yet.
    is_fresh_and_plain: bool,
}

/// Connects, with TLS when there is a config for it.
pub(super) async fn connect(
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    cause: Cause,
) -> io::Result<TokioIo<Either>> {
    cause.forget();
    let connected = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        Ok(match tls {
            None => Either::Plain(Watched { stream, cause: cause.clone(), is_fresh_and_plain: true }),
            Some(config) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = TlsConnector::from(config).connect(name, stream).await?;
                Either::Tls(Box::new(Watched { stream, cause: cause.clone(), is_fresh_and_plain: false }))
            }
        })
    };
    let connected: io::Result<Either> = connected.await;
    match connected {
        Ok(stream) => Ok(TokioIo::new(stream)),
        Err(error) => {
            cause.note(|| seen_by_client(&error));
            Err(error)
        }
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// What the peer sent before it closed tells more than the write that failed: `Pending` until that was read. The end
    /// of a connection wakes its reader, so this is soon.
    fn written<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = &written else { return written };
        let mut bytes = [0; 64];
        let read = self.read(context, &mut ReadBuf::new(&mut bytes));
        let is_over = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        if is_over && read.is_pending() {
            return Poll::Pending;
        }
        self.cause.note(|| seen_by_client(error));
        written
    }

    fn read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        match &read {
            Poll::Ready(Err(error)) => self.cause.note(|| seen_by_client(error)),
            Poll::Ready(Ok(())) if self.is_fresh_and_plain => {
                self.is_fresh_and_plain = false;
                if buffer.filled()[before..].starts_with(&ALERT) {
                    self.cause.note(|| "the collector speaks TLS there: use https://".to_owned());
                }
            }
            _ => {}
        }
        read
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// With TLS or without.
pub(super) enum Either {
    Plain(Watched<TcpStream>),
    Tls(Box<Watched<TlsStream<TcpStream>>>),
}

/// Hands a call on to the stream that is there.
macro_rules! either {
    ($this:expr, $stream:ident => $call:expr) => {
        match $this.get_mut() {
            Either::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Either::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Either {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Either {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
