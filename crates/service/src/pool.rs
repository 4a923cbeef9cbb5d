//! A number of units that many share, given out to one holder after the other.
//!
//! - No holder has more than `most` units at a time, however many it asks for in however many calls.
//! - Who waits is served in turn over holders, not over calls: a holder with a thousand calls waits as one with a single call does. Within a
//!   holder the order is that of the calls.
//! - A holder whose own part is used up holds up nobody. One that is next and finds too few units free has the next free ones: small
//!   requests can't starve a large one.
//! - A permit gives its units back when it is dropped; a call that is dropped leaves the queue. A holder that has nothing and waits for
//!   nothing is forgotten.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::Hash,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

/// Units and their holders. Clones are the same pool.
pub struct Pool<K: Key>(Arc<Shared<K>>);

/// What can tell holders apart.
pub trait Key: Eq + Hash + Clone + Send + Unpin + 'static {}

impl<K: Eq + Hash + Clone + Send + Unpin + 'static> Key for K {}

struct Shared<K: Key> {
    /// Most units of one holder.
    most: usize,
    state: Mutex<State<K>>,
}

struct State<K: Key> {
    free: usize,
    holders: HashMap<K, Holding<K>>,
    /// Holders with calls that wait, in the order in which they are served.
    turn: VecDeque<K>,
    /// The first in turn waits for units that are not free: nobody may pass it.
    scarce: bool,
}

struct Holding<K: Key> {
    held: usize,
    waiting: VecDeque<Waiting<K>>,
}

struct Waiting<K: Key> {
    units: usize,
    permit: oneshot::Sender<Permit<K>>,
}

/// Units of a pool, given back when it is dropped.
pub struct Permit<K: Key> {
    pool: Pool<K>,
    holder: K,
    units: usize,
}

/// A call that waits for its units.
pub struct Taking<K: Key> {
    pool: Pool<K>,
    holder: K,
    permit: oneshot::Receiver<Permit<K>>,
}

impl<K: Key> Pool<K> {
    /// A pool of so many units, of which one holder has at most `most`.
    pub fn new(units: usize, most: usize) -> Self {
        let state = State { free: units, holders: HashMap::new(), turn: VecDeque::new(), scarce: false };
        Self(Arc::new(Shared { most: most.min(units), state: Mutex::new(state) }))
    }

    /// Most units that one holder has at a time.
    pub fn most(&self) -> usize {
        self.0.most
    }

    /// Units that nobody holds.
    pub fn free(&self) -> usize {
        self.state().free
    }

    /// Units that `holder` has.
    pub fn held_by(&self, holder: &K) -> usize {
        self.state().holders.get(holder).map_or(0, |holding| holding.held)
    }

    /// So many units when they are free, and nobody waits who would have to be passed.
    pub fn try_take(&self, holder: &K, units: usize) -> Option<Permit<K>> {
        let mut state = self.state();
        let (held, waits) =
            state.holders.get(holder).map_or((0, false), |own| (own.held, !own.waiting.is_empty()));
        let is_free = units <= state.free && held + units <= self.0.most;
        if !is_free || waits || state.scarce {
            return None;
        }

        state.free -= units;
        state.holding(holder).held += units;
        Some(self.permit(holder, units))
    }

    /// Waits in turn for so many units; `None` when they are more than any holder may have.
    pub fn take(&self, holder: &K, units: usize) -> Option<Taking<K>> {
        if units > self.0.most {
            return None;
        }
        let (sender, permit) = oneshot::channel();
        {
            let mut state = self.state();
            let waiting = &mut state.holding(holder).waiting;
            waiting.push_back(Waiting { units, permit: sender });
            if waiting.len() == 1 {
                state.turn.push_back(holder.clone());
            }
        }
        self.serve();
        Some(Taking { pool: self.clone(), holder: holder.clone(), permit })
    }

    /// Gives free units to those whose turn it is.
    fn serve(&self) {
        // A permit whose call is gone gives its units back when it is dropped, so not under the lock.
        let mut not_wanted = Vec::new();
        let mut state = self.state();
        while let Some((holder, waiting)) = state.next(self.0.most) {
            let permit = self.permit(&holder, waiting.units);
            if let Err(permit) = waiting.permit.send(permit) {
                not_wanted.push(permit);
            }
        }
        drop(state);
        drop(not_wanted);
    }

    fn permit(&self, holder: &K, units: usize) -> Permit<K> {
        Permit { pool: self.clone(), holder: holder.clone(), units }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key> State<K> {
    fn holding(&mut self, holder: &K) -> &mut Holding<K> {
        let none = || Holding { held: 0, waiting: VecDeque::new() };
        self.holders.entry(holder.clone()).or_insert_with(none)
    }

    /// The next call that can be served; its units are taken.
    fn next(&mut self, most: usize) -> Option<(K, Waiting<K>)> {
        self.scarce = false;
        for _ in 0..self.turn.len() {
            let holder = self.turn.pop_front()?;
            let Some(own) = self.holders.get_mut(&holder) else { continue };
            let Some(units) = own.waiting.front().map(|waiting| waiting.units) else {
                self.forget_if_idle(&holder);
                continue;
            };
            if own.held + units > most {
                self.turn.push_back(holder);
                continue;
            }
            if units > self.free {
                self.turn.push_front(holder);
                self.scarce = true;
                return None;
            }

            let waiting = own.waiting.pop_front()?;
            own.held += units;
            self.free -= units;
            if !own.waiting.is_empty() {
                self.turn.push_back(holder.clone());
            }
            return Some((holder, waiting));
        }
        None
    }

    fn forget_if_idle(&mut self, holder: &K) {
        if self.holders.get(holder).is_some_and(|own| own.held == 0 && own.waiting.is_empty()) {
            self.holders.remove(holder);
        }
    }
}

impl<K: Key> Permit<K> {
    /// How many units it stands for.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Gives back all but so many units.
    pub fn keep(&mut self, units: usize) {
        let spare = self.units.saturating_sub(units);
        if spare > 0 {
            self.units -= spare;
            // What is dropped is given back.
            drop(Self { pool: self.pool.clone(), holder: self.holder.clone(), units: spare });
        }
    }

    /// Takes over the units of `other`.
    ///
    /// # Errors
    /// `other`, when it is of another pool or holder.
    pub fn merge(&mut self, mut other: Self) -> Result<(), Self> {
        if !Arc::ptr_eq(&self.pool.0, &other.pool.0) || self.holder != other.holder {
            return Err(other);
        }
        self.units += std::mem::take(&mut other.units);
        Ok(())
    }
}

impl<K: Key> Drop for Permit<K> {
    fn drop(&mut self) {
        {
            let mut state = self.pool.state();
            state.free += self.units;
            let own = state.holding(&self.holder);
            own.held = own.held.saturating_sub(self.units);
            state.forget_if_idle(&self.holder);
        }
        self.pool.serve();
    }
}

impl<K: Key> Future for Taking<K> {
    type Output = Permit<K>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit<K>> {
        match ready!(Pin::new(&mut self.permit).poll(cx)) {
            Ok(permit) => Poll::Ready(permit),
            // The pool, of which this holds a part, never gives up a call that waits.
            Err(_) => Poll::Pending,
        }
    }
}

impl<K: Key> Drop for Taking<K> {
    fn drop(&mut self) {
        self.permit.close();
        // It may have come a moment ago.
        drop(self.permit.try_recv());
        {
            let mut state = self.pool.state();
            state.holding(&self.holder).waiting.retain(|waiting| !waiting.permit.is_closed());
            state.forget_if_idle(&self.holder);
        }
        self.pool.serve();
    }
}

impl<K: Key> Clone for Pool<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Key> fmt::Debug for Pool<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("most", &self.0.most).field("free", &self.free()).finish_non_exhaustive()
    }
}

impl<K: Key> fmt::Debug for Permit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("units", &self.units).finish_non_exhaustive()
    }
}

impl<K: Key> fmt::Debug for Taking<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taking").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
