//! Bugs that the simulator must find.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A batch with a known number and other content counts as a duplicate.
    DigestIgnored,
    /// A batch beyond the next number is taken.
    WatermarkJumpsGap,
    /// A run that was taken over from still delivers.
    LeaseDoesNotFence,
    /// A run that was taken over from gets the lease again, and does not tell the number of the one it had.
    LeaseComesBack,
    /// What was read under a lease that a restored collector does not know counts as read under the one that it gave again.
    LeaseGivenAgain,
    /// A snapshot leaves positions out.
    SnapshotWithoutPositions,
    /// A replayed record moves the positions and not the number.
    ReplayForgetsNumbers,
    /// A start replays only what the store has not committed.
    ReplayFromCommitted,
    /// The journal is trimmed behind the snapshot, whatever the store has committed.
    TrimBeforeCommit,
    /// A source that was closed and comes again in one batch is booked against its old counts.
    ClosedSourceBookedOn,
    /// What is missing in the spool is passed over.
    GapNotCounted,
    /// A batch that is sent again has the next number.
    ReplacementUnderNextNumber,
    /// A run goes on after the collector lost what it had acknowledged.
    RestoreUnnoticed,
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in this thread, or none.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(feature = "planted-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
