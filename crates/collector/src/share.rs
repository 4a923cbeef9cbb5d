//! What one identity may have at a time of all that is scarce.
//!
//! Whoever talks to the collector is one [`Holder`]: the name in its certificate or token, or its address when it has neither. Bounds that are
//! global can be used up by one of them; bounds per connection by one with many connections. So whatever is scarce is a [`Pool`]: a holder has
//! at most its part of it, holders are served in turn, and what was taken comes back when its permit is dropped.
//!
//! A [`Share`] is the holder's way to these pools. It is cheap, made for each request, and holds nothing by itself: a holder that uses nothing
//! is not remembered.

use std::{fmt, net::IpAddr, sync::Arc};

use lapwing_service::{
    pool::{Permit as PoolPermit, Pool, Taking},
    said::{LeftOut, Said},
};

use crate::budget::Budget;

/// Whose share it is. An agent and a user of the same name are two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// An agent, by its id.
    Agent(Arc<str>),
    /// A user, by its name.
    User(Arc<str>),
    /// Somebody without a name, by the address; of IPv6 by the network of 64 bits, which is one customer's.
    Address(IpAddr),
}

/// What an answer holds until it is read or given up; in the extensions of a response.
#[derive(Debug, Clone)]
pub struct UntilRead(pub Arc<Permit>);

/// Units of a pool, held until it is dropped.
pub type Permit = PoolPermit<Holder>;

/// Everything that is given out in shares. Units are bytes where nothing else is said.
#[derive(Debug)]
pub struct Shares {
    /// Messages on their way in, in units of [`UNIT`].
    pub room: Pool<Holder>,
    /// For what is left of one message after the other, when the room above is used up.
    pub finishing: Pool<Holder>,
    /// Batches that came before their turn, in units of [`UNIT`].
    pub early: Pool<Holder>,
    /// Batches from the decoder to the tables, in units of [`UNIT`].
    pub decode: Pool<Holder>,
    /// Positions in answers to `Resume`, in units of [`UNIT`], until they are read.
    pub leases: Pool<Holder>,
    /// Requests under way, by number.
    pub requests: Pool<Holder>,
    /// Tails, by number.
    pub tails: Pool<Holder>,
    /// Lines of the log that a holder causes.
    pub said: Said<Holder>,
}

/// Unit of the pools of bytes.
pub const UNIT: usize = 1 << 10;
/// A holder has the eighth part of all tails.
const TAILS_PER_IDENTITY: usize = 8;

impl Shares {
    /// The pools of a collector with this memory.
    pub fn new(budget: Budget) -> Arc<Self> {
        let one = Budget::of_one(budget.intake()) / UNIT;
        // The largest message fits in there, and the part of one identity in the rest.
        let finishing = budget.message().div_ceil(UNIT);
        let room = (budget.intake() / UNIT).saturating_sub(finishing);
        Arc::new(Self {
            room: Pool::new(room, one),
            finishing: Pool::new(finishing, finishing),
            // Not of the room: whatever waits there would keep out those that it waits for.
            early: Pool::new(budget.early() / UNIT, one / 4 * 3),
            decode: Pool::new(budget.decode() / UNIT, budget.decode_of_one() / UNIT),
            leases: Pool::new(budget.leases() / UNIT, Budget::of_one(budget.leases()) / UNIT),
            requests: Pool::new(budget.requests(), Budget::of_one(budget.requests())),
            tails: Pool::new(budget.tails(), (budget.tails() / TAILS_PER_IDENTITY).max(1)),
            said: Said::default(),
        })
    }

    /// The share of `holder`.
    pub fn of(self: &Arc<Self>, holder: Holder) -> Share {
        Share { shares: Arc::clone(self), holder }
    }
}

/// One identity's way to what is scarce.
#[derive(Clone)]
pub struct Share {
    shares: Arc<Shares>,
    holder: Holder,
}

impl Share {
    /// Whose it is.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Waits in turn for so many units of one of the pools, such as `share.take(|all| &all.decode, units)`; `None` when they are more than
    /// one holder may have, which no waiting changes.
    pub fn take(&self, pool: impl FnOnce(&Shares) -> &Pool<Holder>, units: usize) -> Option<Taking<Holder>> {
        pool(&self.shares).take(&self.holder, units)
    }

    /// So many units of one of the pools, if they are free and this holder's part allows it.
    pub fn try_take(&self, pool: impl FnOnce(&Shares) -> &Pool<Holder>, units: usize) -> Option<Permit> {
        pool(&self.shares).try_take(&self.holder, units)
    }

    /// Most units of a pool that one holder has at a time.
    pub fn most(&self, pool: impl FnOnce(&Shares) -> &Pool<Holder>) -> usize {
        pool(&self.shares).most()
    }

    /// Whether a line that this holder causes is to be logged now, and how many were left out before it.
    pub fn may_say(&self) -> Option<LeftOut> {
        self.shares.said.again(&self.holder)
    }
}

impl Holder {
    /// Who has no name.
    pub fn address(address: IpAddr) -> Self {
        Self::Address(lapwing_service::serve::customer(address))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => write!(f, "agent {id:?}"),
            Self::User(name) => write!(f, "user {name:?}"),
            Self::Address(address) => write!(f, "address {address}"),
        }
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("holder", &self.holder).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_an_identity_has_at_most_leaves_the_rest_to_others() {
        let shares = Shares::new(Budget::default());
        let evil = shares.of(Holder::Agent("evil".into()));
        let half = evil.most(|all| &all.decode);
        assert_eq!(half, (24 << 20) / UNIT);
        let held = evil.try_take(|all| &all.decode, half).unwrap();
        assert!(evil.try_take(|all| &all.decode, 1).is_none());
        assert!(evil.take(|all| &all.decode, half + 1).is_none(), "that is never served");

        let good = shares.of(Holder::User("evil".into()));
        let taken = good.take(|all| &all.decode, half).unwrap().now_or_never();
        assert!(taken.is_some(), "a user is not the agent of its name");
        drop((held, taken));
        assert_eq!(shares.decode.free() * UNIT, Budget::default().decode());
    }

    #[test]
    fn a_tail_more_than_eight_is_not_given() {
        let shares = Shares::new(Budget::default());
        let me = shares.of(Holder::User("me".into()));
        let mut tails: Vec<Permit> = (0..8).map(|_| me.try_take(|all| &all.tails, 1).unwrap()).collect();
        assert!(me.try_take(|all| &all.tails, 1).is_none());
        tails.pop();
        assert!(me.try_take(|all| &all.tails, 1).is_some());
    }

    #[test]
    fn addresses_of_one_network_are_one_holder() {
        let holder = |text: &str| Holder::address(text.parse().unwrap());
        assert_eq!(holder("2001:db8::1"), holder("2001:db8::ffff:2"));
        assert_ne!(holder("2001:db8::1"), holder("2001:db8:0:1::1"));
        assert_eq!(holder("::ffff:10.0.0.1"), holder("10.0.0.1"));
        assert_ne!(holder("10.0.0.1"), holder("10.0.0.2"));
    }
}
