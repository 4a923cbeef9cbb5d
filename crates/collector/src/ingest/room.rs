//! Room in memory for messages, paid for by the bytes that came.
//!
//! A message takes room in steps of [`STEP`] as it comes in, whatever length it announced: a peer that announces much and sends little holds
//! little. No identity has more than its part of the room, and identities are served in turn.
//!
//! What holds a part and waits for more could wait for ever when all do so. So a part of the room is set apart for finishing: a message that
//! finds no room for its next step asks for *all that is left of it* there as well, and has it when its turn comes. One that has it waits for
//! nothing but its own peer, whose clock runs, so it ends; then the next one has it. While they wait here the clocks of messages stand still.
//!
//! A batch that came before its turn waits for others that may need this very room. So it gives its own back and is held elsewhere
//! ([`MessageRoom::give_back`]).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use lapwing::status::Kind;
use tokio::time::{Instant, timeout};
use tonic::Status;

use crate::share::{Permit, Share, UNIT};

/// Room is taken in steps of so many bytes.
const STEP: usize = 64 << 10;
/// How long is waited for room.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How long a caller that found no room is asked to stay away.
const DELAY: Duration = Duration::from_millis(500);

/// What is taken for the message that is being dealt with. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct MessageRoom(Arc<Mutex<Vec<Permit>>>);

impl MessageRoom {
    /// Leaves the room to others before the message is dealt with: from now on its bytes are counted elsewhere.
    pub fn give_back(&self) {
        self.held().clear();
    }

    /// One permit for each pool, however many steps there are.
    fn hold(&self, permit: Permit) {
        let mut all = self.held();
        let mut left = Some(permit);
        for held in all.iter_mut() {
            left = left.and_then(|permit| held.merge(permit).err());
        }
        all.extend(left);
    }

    fn held(&self) -> MutexGuard<'_, Vec<Permit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The room of one message after the other.
pub(super) struct Room {
    share: Share,
    patience: Duration,
    /// How long the message may still wait for room.
    left: Duration,
    /// Bytes of the message for which nothing is taken yet.
    unpaid: usize,
    /// Bytes that are taken and not used.
    ahead: usize,
    held: MessageRoom,
    waiting: Option<BoxFuture<'static, Result<Taken, Status>>>,
}

/// A step, or the rest of the message at once.
struct Taken {
    bytes: usize,
    permit: Permit,
    waited: Duration,
}

impl Room {
    /// Room for nothing yet, of `share`; what is taken is in `held`.
    pub(super) fn new(share: Share, patience: Duration, held: MessageRoom) -> Self {
        Self { share, patience, left: patience, unpaid: 0, ahead: 0, held, waiting: None }
    }

    /// A message of so many bytes begins.
    pub(super) fn begin(&mut self, length: usize) {
        self.give_back();
        self.unpaid = length;
        self.left = self.patience;
    }

    /// The message is dealt with.
    pub(super) fn give_back(&mut self) {
        self.unpaid = 0;
        self.ahead = 0;
        self.waiting = None;
        self.held.give_back();
    }

    /// Uses up to `came` bytes of room for bytes that came, and takes more when there is none; returns how many of them have room.
    pub(super) fn poll_use(&mut self, cx: &mut Context<'_>, came: usize) -> Poll<Result<usize, Status>> {
        if self.ahead == 0 && self.unpaid > 0 {
            let taken = match self.take_now() {
                Some(taken) => taken,
                None => {
                    let waiting = match &mut self.waiting {
                        Some(waiting) => waiting,
                        None => {
                            let waiting = self.wait();
                            self.waiting.insert(waiting)
                        }
                    };
                    let taken = ready!(waiting.poll_unpin(cx));
                    self.waiting = None;
                    taken?
                }
            };
            self.left = self.left.saturating_sub(taken.waited);
            self.unpaid -= taken.bytes;
            self.ahead = taken.bytes;
            self.held.hold(taken.permit);
        }
        let used = came.min(self.ahead);
        self.ahead -= used;
        Poll::Ready(Ok(used))
    }

    /// Whether it waits for room now.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    fn take_now(&self) -> Option<Taken> {
        if self.waiting.is_some() {
            return None;
        }
        let bytes = self.unpaid.min(STEP);
        let permit = self.share.try_take(|all| &all.room, bytes.div_ceil(UNIT))?;
        Some(Taken { bytes, permit, waited: Duration::ZERO })
    }

    fn wait(&self) -> BoxFuture<'static, Result<Taken, Status>> {
        let (share, left) = (self.share.clone(), self.left);
        let (step, rest) = (self.unpaid.min(STEP), self.unpaid);
        let started = Instant::now();
        let taken = async move {
            let one = share.take(|all| &all.room, step.div_ceil(UNIT));
            let all = share.take(|all| &all.finishing, rest.div_ceil(UNIT));
            let (Some(one), Some(all)) = (one, all) else {
                return Err(Kind::TooLarge.status("the message is larger than all room of one sender"));
            };
            let (bytes, permit) = tokio::select! {
                biased;
                permit = one => (step, permit),
                permit = all => (rest, permit),
            };
            Ok(Taken { bytes, permit, waited: started.elapsed() })
        };
        async move {
            let late = |_| Kind::Overloaded.status_after("too many batches come at once", DELAY);
            timeout(left, taken).await.map_err(late)?
        }
        .boxed()
    }
}
