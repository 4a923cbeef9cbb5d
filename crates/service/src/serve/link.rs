//! What is known of a connection beside what it says: whether it has shown who it is, what is under way on it, and when it has to go.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    known::{Known, Named},
    strangers::{Strangers, Waiting},
};

/// A connection without a request of somebody who is known is closed when so long nothing begins or ends on it ...
const QUIET: Duration = Duration::from_secs(10);
/// ... and in any case after this time.
const WITHOUT_NAME: Duration = Duration::from_secs(60);

/// A connection's state, shared by its requests.
#[derive(Debug, Clone)]
pub struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    number: u64,
    known: Arc<Known>,
    /// Cancelled when the connection has to go.
    leave: CancellationToken,
    activity: watch::Sender<Activity>,
    place: Mutex<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Activity {
    is_known: bool,
    last: Instant,
}

/// What counts the connection; both are held and not read.
#[derive(Debug, Default)]
struct Place {
    stranger: Option<Waiting>,
    name: Option<Named>,
}

impl Link {
    pub(super) fn new(number: u64, known: &Arc<Known>, leave: CancellationToken) -> Self {
        let activity = watch::Sender::new(Activity { is_known: false, last: Instant::now() });
        let known = Arc::clone(known);
        Self(Arc::new(Shared { number, known, leave, activity, place: Mutex::default() }))
    }

    /// A connection that nobody counts, for tests.
    pub fn alone() -> Self {
        Self::new(0, &Arc::default(), CancellationToken::new())
    }

    /// Counts it as a stranger's, until it is known.
    pub(super) fn is_stranger(&self, strangers: &Arc<Strangers>, address: IpAddr) {
        self.place().stranger = Some(strangers.enter(address, self.0.leave.clone()));
    }

    /// The other end no longer makes this program wait.
    pub(super) fn is_waited_for(&self) {
        self.place().stranger = None;
    }

    /// A request showed that this is `name`'s connection, of which it has at most `most`. It may be quiet from now on.
    pub fn is_of(&self, name: &str, most: usize) {
        if self.is_known() {
            return;
        }
        self.count(name, most);
        self.0.activity.send_modify(|activity| activity.is_known = true);
    }

    /// Counts it for `name`, which may still have to ask for something.
    pub(super) fn count(&self, name: &str, most: usize) {
        let Shared { number, known, leave, .. } = &*self.0;
        let mut place = self.place();
        place.stranger = None;
        if place.name.is_none() {
            place.name = Some(known.enter(name, most, *number, leave.clone()));
        }
    }

    /// Ends the connection: nothing new begins on it, and what is under way has a few seconds.
    pub fn leave(&self) {
        self.0.leave.cancel();
    }

    /// Notes that something began or ended on it.
    pub(super) fn touch(&self) {
        if !self.is_known() {
            self.0.activity.send_modify(|activity| activity.last = Instant::now());
        }
    }

    /// Whether a request has shown who is at the other end.
    pub(super) fn is_known(&self) -> bool {
        self.0.activity.borrow().is_known
    }

    /// Waits until somebody wants the connection to end.
    pub(super) async fn has_to_leave(&self) {
        self.0.leave.cancelled().await;
    }

    /// Waits until the connection has to go, at somebody's wish or since it is quiet for too long.
    pub(super) async fn has_to_go(&self) {
        tokio::select! {
            () = self.has_to_leave() => {}
            () = self.is_quiet_for_too_long() => {}
        }
    }

    async fn is_quiet_for_too_long(&self) {
        let end = Instant::now() + WITHOUT_NAME;
        let mut activity = self.0.activity.subscribe();
        loop {
            let Activity { is_known, last } = *activity.borrow_and_update();
            if is_known {
                return std::future::pending().await;
            }
            tokio::select! {
                () = sleep_until(end.min(last + QUIET)) => return,
                changed = activity.changed() => if changed.is_err() { return },
            }
        }
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Place> {
        self.0.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
