//! Room for batches, taken before they are read.
//!
//! Five bytes before a gRPC message say how long it is. Until there is room for all of it no more of its stream is read, and the flow
//! control of HTTP/2 holds the rest back with the sender. So each message of a crowd comes in once, in its turn; refused instead, they
//! would all come again and again, and the collector would do little but read what it then refuses.
//!
//! Messages beyond the first of each connection share a half of the room: who has many under way keeps nobody out.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::Request;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use lapwing::status::Kind;
use lapwing_service::serve::Peer;
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, timeout},
};
use tonic::{Status, server::NamedService};
use tower::{BoxError, Service};

/// Most bytes of messages in memory, each from when it has room until it is dealt with.
pub(super) const BUDGET: usize = 16 << 20;
/// Unit of it.
const UNIT: usize = 1 << 10;
/// The one method whose messages are large, and that sees who calls before it reads.
const METHOD: &str = "Ingest";
const PATIENCE: Patience = Patience {
    room: Duration::from_secs(15),
    piece: Duration::from_secs(5),
    message: Duration::from_secs(10),
};
/// Beside it a message may take so long for each unit: 64 KiB/s.
const PER_UNIT: Duration = Duration::from_micros(15_625);
/// How long a caller that found no room is asked to stay away.
const DELAY: Duration = Duration::from_millis(500);
/// A flag, and the length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// How long is waited, at most.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For room.
    room: Duration,
    /// For the next piece of a message: who stops in the middle gives its room back.
    piece: Duration,
    /// For a message that has room.
    message: Duration,
}

/// A gRPC service whose batches come in when there is room for them.
#[derive(Debug, Clone)]
pub struct Intake<S> {
    inner: S,
    room: Room,
}

#[derive(Debug, Clone)]
struct Room {
    all: Arc<Semaphore>,
    /// The part of it for messages beyond the first of a connection.
    beyond_first: Arc<Semaphore>,
    /// Units of the largest message.
    largest: usize,
}

impl Room {
    fn new(units: usize, largest: usize) -> Self {
        let semaphore = |units| Arc::new(Semaphore::new(units));
        Self { all: semaphore(units), beyond_first: semaphore(units / 2), largest: largest.min(units / 2) }
    }

    /// Waits for room for a message of so many units, on the connection whose permit is `first`.
    async fn take(self, first: Arc<Semaphore>, units: u32) -> Result<Permits, AcquireError> {
        let pass = tokio::select! {
            biased;
            pass = first.acquire_owned() => pass,
            pass = self.beyond_first.acquire_many_owned(units) => pass,
        };
        Ok([pass?, self.all.acquire_many_owned(units).await?])
    }
}

/// To come in, and of the room.
type Permits = [OwnedSemaphorePermit; 2];

impl<S> Intake<S> {
    /// Before `inner`, which refuses messages of more than `largest` bytes.
    pub fn new(inner: S, largest: usize) -> Self {
        Self { inner, room: Room::new(BUDGET / UNIT, largest.div_ceil(UNIT)) }
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
        if request.uri().path().rsplit('/').next() != Some(METHOD) {
            return self.inner.call(request.map(tonic::body::Body::new));
        }
        let first = match request.extensions().get::<Peer>() {
            Some(peer) => Arc::clone(&peer.turn),
            None => Arc::new(Semaphore::new(1)),
        };
        let metered = |body| Metered::new(body, first, self.room.clone(), PATIENCE);
        self.inner.call(request.map(|body| tonic::body::Body::new(metered(body))))
    }
}

/// The messages of one request.
struct Metered<B> {
    body: B,
    /// What came and is not handed on yet.
    held: Bytes,
    prefix: [u8; PREFIX],
    /// How much of the prefix came.
    seen: usize,
    /// How much of the message is missing.
    rest: usize,
    /// One permit for all of the connection.
    first: Arc<Semaphore>,
    room: Room,
    waiting: Option<BoxFuture<'static, Result<Permits, Status>>>,
    permits: Option<Permits>,
    patience: Patience,
    /// When the message must be there.
    until: Instant,
    stall: Pin<Box<Sleep>>,
}

impl<B> Metered<B> {
    fn new(body: B, first: Arc<Semaphore>, room: Room, patience: Patience) -> Self {
        Self {
            body,
            held: Bytes::new(),
            prefix: [0; PREFIX],
            seen: 0,
            rest: 0,
            first,
            room,
            waiting: None,
            permits: None,
            patience,
            until: Instant::now(),
            stall: Box::pin(sleep(patience.piece)),
        }
    }

    fn is_within_message(&self) -> bool {
        self.seen > 0 && (self.seen < PREFIX || self.rest > 0)
    }

    /// The next piece of what is held: a part of the prefix, or of the message.
    fn piece(&mut self) -> Bytes {
        if self.seen == PREFIX {
            let piece = self.held.split_to(self.rest.min(self.held.len()));
            self.rest -= piece.len();
            return piece;
        }
        let piece = self.held.split_to((PREFIX - self.seen).min(self.held.len()));
        self.prefix[self.seen..][..piece.len()].copy_from_slice(&piece);
        self.seen += piece.len();
        if self.seen == PREFIX {
            let [_, length @ ..] = self.prefix;
            self.rest = u32::from_be_bytes(length) as usize;
            self.ask_for_room();
        }
        piece
    }

    fn units(&self) -> u32 {
        self.rest.div_ceil(UNIT).min(self.room.largest) as u32
    }

    fn ask_for_room(&mut self) {
        if self.rest == 0 {
            return;
        }
        let permits = self.room.clone().take(Arc::clone(&self.first), self.units());
        let patience = self.patience.room;
        self.waiting = Some(Box::pin(async move {
            match timeout(patience, permits).await {
                Ok(permits) => permits.map_err(|error| Kind::Internal.status(error.to_string())),
                Err(_) => Err(Kind::Overloaded.status_after("too many batches come at once", DELAY)),
            }
        }));
    }

    fn restart_clock(&mut self) {
        let next = Instant::now() + self.patience.piece;
        self.stall.as_mut().reset(if self.permits.is_some() { next.min(self.until) } else { next });
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
        if !this.is_within_message() {
            // Whoever asks for more has dealt with the message before.
            this.seen = 0;
            this.permits = None;
        }
        loop {
            if let Some(waiting) = &mut this.waiting {
                let permits = ready!(waiting.as_mut().poll(cx));
                this.waiting = None;
                this.permits = Some(permits?);
                this.until = Instant::now() + this.patience.message + PER_UNIT * this.units();
                this.restart_clock();
            }
            if !this.held.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(this.piece()))));
            }
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending if this.is_within_message() => {
                    ready!(this.stall.as_mut().poll(cx));
                    let text = "the message stopped in its middle, or is too slow";
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
                    let text = "the stream ended in the middle of a message";
                    return Poll::Ready(Some(Err(Box::new(Kind::Corrupted.status(text)))));
                }
                None => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt;
    use tokio::sync::mpsc;
    use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const PATIENCE: Patience = Patience { room: SOON, piece: SOON, message: Duration::from_millis(150) };

    type Chunks = mpsc::UnboundedSender<Bytes>;

    type Metered = super::Metered<axum::body::Body>;

    fn metered(room: &Room) -> (Chunks, Metered) {
        metered_of(&Arc::new(Semaphore::new(1)), room)
    }

    /// Of a connection.
    fn metered_of(first: &Arc<Semaphore>, room: &Room) -> (Chunks, Metered) {
        let (chunks, came) = mpsc::unbounded_channel();
        let came = UnboundedReceiverStream::new(came).map(Ok::<Bytes, BoxError>);
        let came = axum::body::Body::from_stream(came);
        (chunks, Metered::new(came, Arc::clone(first), room.clone(), PATIENCE))
    }

    fn message(size: usize) -> Bytes {
        let mut message = vec![0];
        message.extend((size as u32).to_be_bytes());
        message.extend((0..size).map(|at| at as u8));
        message.into()
    }

    async fn next(body: &mut Metered) -> Option<Result<Bytes, Status>> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()).map_err(Status::from_error))
    }

    #[tokio::test]
    async fn messages_pass_as_they_came_however_they_are_cut() {
        let sent = [message(0), message(1), message(3_000), message(0), message(4_096)].concat();
        for size in [1, 2, 4, 5, 6, 7, 1_000, 20_000] {
            let room = Room::new(8, 4);
            let (chunks, mut body) = metered(&room);
            sent.chunks(size).for_each(|chunk| chunks.send(Bytes::copy_from_slice(chunk)).unwrap());
            drop(chunks);
            let mut passed = Vec::new();
            while let Some(piece) = next(&mut body).await {
                passed.extend(piece.unwrap());
            }
            assert_eq!(passed, sent, "in pieces of {size}");
            drop(body);
            assert_eq!(room.all.available_permits(), 8);
        }
    }

    #[tokio::test]
    async fn a_message_waits_for_room_until_another_is_dealt_with() {
        let room = Room::new(8, 4);
        let _others = room.all.clone().acquire_many_owned(3).await.unwrap();
        let ((first, mut a), (second, mut b)) = (metered(&room), metered(&room));
        // Both messages of the first stream come in one piece.
        first.send([message(3_000), message(1_000)].concat().into()).unwrap();
        second.send(message(3_000)).unwrap();
        assert_eq!(next(&mut a).await.unwrap().unwrap().len(), PREFIX);
        assert_eq!(next(&mut a).await.unwrap().unwrap().len(), 3_000);
        assert_eq!(room.all.available_permits(), 2, "held until more is asked for");
        assert_eq!(next(&mut b).await.unwrap().unwrap().len(), PREFIX);
        assert!(next(&mut b).now_or_never().is_none());
        assert_eq!(next(&mut a).await.unwrap().unwrap().len(), PREFIX, "of the second message");
        assert_eq!(next(&mut b).await.unwrap().unwrap().len(), 3_000);
        drop(b);
        assert_eq!(next(&mut a).await.unwrap().unwrap().len(), 1_000);
        drop(a);
        assert_eq!(room.all.available_permits(), 5);
    }

    #[tokio::test]
    async fn more_messages_of_a_connection_share_a_half() {
        let room = Room::new(8, 4);
        let connection = Arc::new(Semaphore::new(1));
        let (_senders, mut streams): (Vec<Chunks>, Vec<Metered>) = (0..4)
            .map(|_| {
                let (sender, stream) = metered_of(&connection, &room);
                sender.send(message(2_048)).unwrap();
                (sender, stream)
            })
            .unzip();
        for stream in &mut streams {
            next(stream).await.unwrap().unwrap();
        }
        let mut passed = |at: usize| next(&mut streams[at]).now_or_never().is_some();
        assert!(passed(0) && passed(1) && passed(2));
        assert!(!passed(3), "a half is taken by two of them, though there is room");
        assert_eq!(room.all.available_permits(), 2);
        let (sender, mut other) = metered(&room);
        sender.send(message(2_048)).unwrap();
        next(&mut other).await.unwrap().unwrap();
        assert!(next(&mut other).now_or_never().is_some(), "another connection has room");
        drop((other, streams.remove(0)));
        assert!(next(&mut streams[2]).now_or_never().is_some(), "as the first one now");
        assert_eq!(room.beyond_first.available_permits(), 0, "the two hold it; nobody queues for it");
        drop(streams);
        assert_eq!((room.all.available_permits(), room.beyond_first.available_permits()), (8, 4));
    }

    #[tokio::test]
    async fn a_message_that_is_too_large_takes_no_more_than_the_largest() {
        let room = Room::new(8, 4);
        let (chunks, mut body) = metered(&room);
        chunks.send(message(100_000)).unwrap();
        next(&mut body).await.unwrap().unwrap();
        assert_eq!(next(&mut body).await.unwrap().unwrap().len(), 100_000);
        assert_eq!(room.all.available_permits(), 4);
    }

    #[tokio::test]
    async fn who_stops_in_the_middle_gives_room_back_and_who_is_idle_is_left_alone() {
        let room = Room::new(8, 4);
        let (chunks, mut body) = metered(&room);
        chunks.send(message(2_000).slice(..1_000)).unwrap();
        next(&mut body).await.unwrap().unwrap();
        assert_eq!(next(&mut body).await.unwrap().unwrap().len(), 1_000 - PREFIX);
        let status = next(&mut body).await.unwrap().unwrap_err();
        assert_eq!(Kind::of(&status), Kind::Timeout, "{status}");
        let (_chunks, mut idle) = metered(&room);
        assert!(tokio::time::timeout(SOON * 4, next(&mut idle)).await.is_err());
    }

    #[tokio::test]
    async fn who_trickles_gives_room_back_too() {
        let room = Room::new(8, 4);
        let (chunks, mut body) = metered(&room);
        chunks.send(message(2_000).slice(..PREFIX)).unwrap();
        let trickle = async {
            loop {
                chunks.send(Bytes::from_static(b"x")).unwrap();
                sleep(SOON / 5).await;
            }
        };
        let ended = async {
            loop {
                if let Err(status) = next(&mut body).await.unwrap() {
                    return status;
                }
            }
        };
        let status = tokio::select! { status = ended => status, () = trickle => unreachable!() };
        assert_eq!(Kind::of(&status), Kind::Timeout, "{status}");
    }

    #[tokio::test]
    async fn a_message_that_ends_early_is_told() {
        for came in [1, PREFIX, 1_000] {
            let (chunks, mut body) = metered(&Room::new(8, 4));
            chunks.send(message(2_000).slice(..came)).unwrap();
            drop(chunks);
            let ended = loop {
                if let Err(status) = next(&mut body).await.unwrap() {
                    break status;
                }
            };
            assert_eq!(Kind::of(&ended), Kind::Corrupted, "{came} bytes: {ended}");
        }
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_and_leaves_the_queue() {
        let room = Room::new(8, 4);
        let taken = room.all.clone().acquire_many_owned(8).await.unwrap();
        let (chunks, mut body) = metered(&room);
        chunks.send(message(1_000)).unwrap();
        next(&mut body).await.unwrap().unwrap();
        let status = next(&mut body).await.unwrap().unwrap_err();
        assert_eq!(Kind::of(&status), Kind::Overloaded, "{status}");
        drop(taken);
        assert_eq!(room.all.available_permits(), 8);
    }
}
