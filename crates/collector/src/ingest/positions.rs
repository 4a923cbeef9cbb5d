//! Room for the positions that an answer to `Resume` tells an agent.
//!
//! They may be many megabytes, and lie in the collector until the agent has read them.

use std::time::Duration;

use lapwing::status::Kind;
use tonic::Status;

use crate::share::{Permit, Share, UNIT};

/// How long an agent is asked to stay away that did not read what it was told.
const DELAY: Duration = Duration::from_millis(500);

/// A part of the caller's share for so many bytes of positions. One with very many has one answer at a time.
pub(super) fn room_for_positions(share: &Share, bytes: usize) -> Result<Permit, Status> {
    let units = bytes.div_ceil(UNIT).clamp(1, share.most(|all| &all.leases));
    share.try_take(|all| &all.leases, units).ok_or_else(|| {
        let text =
            format!("{} was told its positions and has not read them; read the answers", share.holder());
        Kind::Overloaded.status_after(text, DELAY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        budget::Budget,
        share::{Holder, Shares},
    };

    #[test]
    fn who_has_many_positions_is_told_them_again_when_they_are_read() {
        let shares = Shares::new(Budget::default());
        let evil = shares.of(Holder::Agent("evil".into()));
        let unread = room_for_positions(&evil, 20 << 20).unwrap();
        let refused = room_for_positions(&evil, 20 << 20).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        let good = shares.of(Holder::Agent("good".into()));
        assert!(room_for_positions(&good, 5 << 20).is_ok());
        drop(unread);
        assert!(room_for_positions(&evil, 20 << 20).is_ok());
    }
}
