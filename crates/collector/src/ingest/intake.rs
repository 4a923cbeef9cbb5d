//! Messages of all methods, bounded in size and time before anything collects them.
//!
//! Five bytes before a gRPC message say how long it is. One that is larger than its method takes is refused by these. The others come in as
//! there is room for their bytes ([`super::room`]); until then no more of their stream is read, and the flow control of HTTP/2 holds the rest
//! back with the sender. So each message of a crowd comes in once, in its turn; refused instead, they would all come again and again, and the
//! collector would do little but read what it then refuses.
//!
//! The room of a message is held until it is dealt with: until more is asked for, its stream is dropped, or whoever deals with it gives
//! the room back ([`MessageRoom`], in the extensions of the request).

use std::{
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::Request;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use lapwing::status::Kind;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::server::NamedService;
use tower::{BoxError, Service};

use super::room::{self, MessageRoom, Room};
use crate::share::{Holder, Share, Shares};

/// A flag, and the length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;
/// Time for a message beside [`PER_KIB`]; and for the next piece of it.
const MESSAGE: Duration = Duration::from_secs(10);
const PIECE: Duration = Duration::from_secs(5);
/// 64 KiB/s: a slow link is no reason to refuse a batch.
const PER_KIB: Duration = Duration::from_micros(15_625);
/// Time for the only message of a method that has one, from the beginning of the request.
const ONLY: Duration = Duration::from_secs(5);
/// Largest message of a method that says who or what is meant.
const SMALL: usize = 4 << 10;
/// Largest message of one that asks.
const QUESTION: usize = 256 << 10;

/// What a method takes.
#[derive(Debug, Clone, Copy)]
struct Method {
    /// Bytes of its largest message.
    largest: usize,
    /// It has one message.
    is_unary: bool,
    patience: Patience,
}

/// How long is waited, at most.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For room.
    room: Duration,
    /// For the next piece of a message: a peer that stops in the middle of one gives its room back.
    piece: Duration,
    /// For a message, waiting for room left out.
    message: Duration,
}

impl Method {
    /// By the last word of its path; the largest message of a batch is configured.
    fn of(path: &str, batch: usize) -> Self {
        let (largest, is_unary) = match path.rsplit('/').next() {
            Some("Ingest") => (batch, false),
            Some("Sql" | "Search" | "Tail") => (QUESTION, true),
            Some("ServerReflectionInfo") => (SMALL, false),
            _ => (SMALL, true),
        };
        let message = if is_unary { ONLY } else { MESSAGE };
        Self { largest, is_unary, patience: Patience { room: room::PATIENCE, piece: PIECE, message } }
    }
}

/// A gRPC service whose messages come in when there is room for them.
#[derive(Debug, Clone)]
pub struct Intake<S> {
    inner: S,
    shares: Arc<Shares>,
    largest_batch: usize,
}

impl<S> Intake<S> {
    /// Before `inner`; a message of `Ingest` has at most `largest_batch` bytes.
    pub fn new(inner: S, shares: Arc<Shares>, largest_batch: usize) -> Self {
        Self { inner, shares, largest_batch }
    }
}

impl<S: NamedService> NamedService for Intake<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<B>> for Intake<S>
where
    S: Service<Request<tonic::body::Body>>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let method = Method::of(request.uri().path(), self.largest_batch);
        // Whoever needs no name shares what one address has.
        let nobody = || self.shares.of(Holder::address(IpAddr::from(Ipv4Addr::UNSPECIFIED)));
        let share = request.extensions().get::<Share>().cloned().unwrap_or_else(nobody);
        let (mut head, body) = request.into_parts();
        let room = MessageRoom::default();
        head.extensions.insert(room.clone());
        let body = tonic::body::Body::new(Metered::new(body, share, method, room));
        self.inner.call(Request::from_parts(head, body))
    }
}

/// The messages of one request.
struct Metered<B> {
    body: B,
    method: Method,
    /// What came and is not handed on yet.
    held: Bytes,
    prefix: [u8; PREFIX],
    /// How much of the prefix came.
    seen: usize,
    /// How much of the message is missing.
    rest: usize,
    room: Room,
    /// When the message must be there.
    until: Instant,
    /// The earlier of that and the end of the patience for its next piece.
    stall: Pin<Box<Sleep>>,
    /// Since when the message waits for room: so long its clock stands still.
    waits_since: Option<Instant>,
    is_over: bool,
}

impl<B> Metered<B> {
    fn new(body: B, share: Share, method: Method, room: MessageRoom) -> Self {
        let until = Instant::now() + method.patience.message;
        Self {
            body,
            method,
            held: Bytes::new(),
            prefix: [0; PREFIX],
            seen: 0,
            rest: 0,
            room: Room::new(share, method.patience.room, room),
            until,
            stall: Box::pin(sleep_until(until)),
            waits_since: None,
            is_over: false,
        }
    }

    fn is_within_message(&self) -> bool {
        self.seen > 0 && (self.seen < PREFIX || self.rest > 0)
    }

    /// A request with one message must bring it, others may be quiet between two.
    fn clock_runs(&self) -> bool {
        self.is_within_message() || self.method.is_unary
    }

    /// The next piece of what is held: a part of the prefix, or of the message as far as it has room.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, BoxError>> {
        if self.seen == PREFIX {
            let came = self.rest.min(self.held.len());
            let used = self.room.poll_use(cx, came);
            self.stop_clock_while_waiting();
            let piece = self.held.split_to(ready!(used)?);
            self.rest -= piece.len();
            return Poll::Ready(Ok(piece));
        }

        if self.seen == 0 && !self.method.is_unary {
            self.until = Instant::now() + self.method.patience.message;
        }
        let piece = self.held.split_to((PREFIX - self.seen).min(self.held.len()));
        self.prefix[self.seen..][..piece.len()].copy_from_slice(&piece);
        self.seen += piece.len();
        if self.seen == PREFIX {
            self.begin()?;
        }
        self.restart_clock();
        Poll::Ready(Ok(piece))
    }

    fn begin(&mut self) -> Result<(), BoxError> {
        let [_, length @ ..] = self.prefix;
        self.rest = u32::from_be_bytes(length) as usize;
        let (length, largest) = (self.rest, self.method.largest);
        if length > largest {
            let text = format!("the message has {length} bytes, at most {largest} are taken");
            return Err(Box::new(Kind::TooLarge.status(text)));
        }
        if !self.method.is_unary {
            self.until += PER_KIB * (length >> 10) as u32;
        }
        self.room.begin(length);
        Ok(())
    }

    fn stop_clock_while_waiting(&mut self) {
        match (self.room.is_waiting(), self.waits_since) {
            (true, None) => self.waits_since = Some(Instant::now()),
            (false, Some(since)) => {
                self.until += since.elapsed();
                self.waits_since = None;
                self.restart_clock();
            }
            _ => {}
        }
    }

    fn restart_clock(&mut self) {
        let next = Instant::now() + self.method.patience.piece;
        self.stall.as_mut().reset(next.min(self.until));
    }
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if !this.is_within_message() && this.seen == PREFIX {
            // The message before is dealt with by whoever asks for more. Where there is only one, its room is held until the end.
            if this.method.is_unary {
                this.is_over = true;
            } else {
                this.seen = 0;
                this.room.give_back();
            }
        }
        if this.is_over {
            return Poll::Ready(None);
        }

        loop {
            if !this.held.is_empty() {
                let piece = ready!(this.poll_piece(cx));
                this.is_over = piece.is_err();
                return Poll::Ready(Some(piece.map(Frame::data)));
            }
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending if this.clock_runs() => {
                    ready!(this.stall.as_mut().poll(cx));
                    this.is_over = true;
                    let text = "the message did not come, stopped in its middle, or is too slow";
                    return Poll::Ready(Some(Err(Box::new(Kind::Timeout.status(text)))));
                }
                Poll::Pending => return Poll::Pending,
            };
            this.restart_clock();
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => this.held = data,
                Some(Ok(Err(frame))) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None if this.is_within_message() => {
                    // It is no word on the batch: it may come whole the next time.
                    this.is_over = true;
                    let text = "the stream ended in the middle of a message";
                    return Poll::Ready(Some(Err(Box::new(Kind::Corrupted.status(text)))));
                }
                None => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || (self.held.is_empty() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests;
