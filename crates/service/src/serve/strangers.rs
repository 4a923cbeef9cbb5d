//! Connections whose other end has not shown yet who it is.
//!
//! Whoever reaches the port can be one, at no cost, so they are bounded: while more than [`OF_ONE_ADDRESS`] of an address or [`OF_ALL`]
//! together wait for something *from their other end*, those that have waited longest are closed, and no later than when there are
//! [`AT_ONCE`]. None that is younger than [`GRACE`] is closed before that: a peer that does its part at once gets through, however large the
//! crowd is, from its own address too. A connection that waits for this program (for its turn to compute a handshake) is not among them.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

/// Most of an address that are older than [`GRACE`].
const OF_ONE_ADDRESS: usize = 64;
/// Most of all addresses that are older than [`GRACE`].
const OF_ALL: usize = 256;
/// Most of any age.
const AT_ONCE: usize = 1024;
/// How long a connection is left alone in a crowd.
const GRACE: Duration = Duration::from_secs(1);

/// All strangers of a listener.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they came.
    all: BTreeMap<u64, Stranger>,
    next: u64,
}

#[derive(Debug)]
struct Stranger {
    address: IpAddr,
    since: Instant,
    leave: CancellationToken,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    strangers: Arc<Strangers>,
    number: u64,
}

impl Strangers {
    /// Counts a connection from `address`; `leave` is cancelled when it has to make room.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, leave: CancellationToken) -> Waiting {
        self.enter_at(address, leave, Instant::now())
    }

    fn enter_at(self: &Arc<Self>, address: IpAddr, leave: CancellationToken, since: Instant) -> Waiting {
        let mut state = self.state();
        if state.all.len() >= AT_ONCE
            && let Some((_, oldest)) = state.all.pop_first()
        {
            oldest.leave.cancel();
        }
        let number = state.next;
        state.next += 1;
        state.all.insert(number, Stranger { address, since, leave });
        Waiting { strangers: Arc::clone(self), number }
    }

    /// Closes those that are too many.
    pub(super) fn trim(&self) {
        self.trim_at(Instant::now());
    }

    fn trim_at(&self, now: Instant) {
        let mut state = self.state();
        if state.all.len() <= OF_ONE_ADDRESS {
            return;
        }

        let mut newer = 0;
        let mut newer_of: HashMap<IpAddr, usize> = HashMap::new();
        let mut too_many = Vec::new();
        for (number, stranger) in state.all.iter().rev() {
            let newer_of = newer_of.entry(stranger.address).or_default();
            let is_one_too_many = newer >= OF_ALL || *newer_of >= OF_ONE_ADDRESS;
            if is_one_too_many && now.duration_since(stranger.since) >= GRACE {
                too_many.push(*number);
                continue;
            }
            newer += 1;
            *newer_of += 1;
        }
        for number in too_many {
            if let Some(stranger) = state.all.remove(&number) {
                stranger.leave.cancel();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.strangers.state().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many strangers of one address; with them whether each still may stay.
    fn crowd(
        strangers: &Arc<Strangers>,
        host: u8,
        many: usize,
        since: Instant,
    ) -> Vec<(Waiting, CancellationToken)> {
        let enter = |_| {
            let leave = CancellationToken::new();
            (strangers.enter_at(IpAddr::from([10, 0, 0, host]), leave.clone(), since), leave)
        };
        (0..many).map(enter).collect()
    }

    fn staying(crowd: &[(Waiting, CancellationToken)]) -> usize {
        crowd.iter().filter(|(_, leave)| !leave.is_cancelled()).count()
    }

    #[test]
    fn of_an_address_that_waits_too_often_the_oldest_go() {
        let (strangers, start) = (Arc::new(Strangers::default()), Instant::now());
        let (evil, good) = (crowd(&strangers, 1, 300, start), crowd(&strangers, 2, 3, start));
        strangers.trim_at(start + GRACE / 2);
        assert_eq!(staying(&evil), 300, "they may still do their part");
        let fresh = crowd(&strangers, 1, 1, start + GRACE);
        strangers.trim_at(start + GRACE);
        assert_eq!((staying(&evil), staying(&fresh), staying(&good)), (OF_ONE_ADDRESS - 1, 1, 3));
        assert!(!evil[299].1.is_cancelled(), "the newest stay");
        drop((evil, good, fresh));
        assert!(strangers.state().all.is_empty());
    }

    #[test]
    fn many_addresses_together_have_a_bound_too() {
        let (strangers, start) = (Arc::new(Strangers::default()), Instant::now());
        let all: Vec<_> = (0..10).map(|host| crowd(&strangers, host, 60, start)).collect();
        strangers.trim_at(start + GRACE);
        assert_eq!(all.iter().map(|crowd| staying(crowd)).sum::<usize>(), OF_ALL);
    }

    #[test]
    fn a_flood_does_not_wait_for_the_grace() {
        let (strangers, start) = (Arc::new(Strangers::default()), Instant::now());
        let evil = crowd(&strangers, 1, 3_000, start);
        assert_eq!(staying(&evil), AT_ONCE);
        let good = crowd(&strangers, 1, 1, start);
        assert_eq!(staying(&good), 1, "who comes then gets in");
    }
}
