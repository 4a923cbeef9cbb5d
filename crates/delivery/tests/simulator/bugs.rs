//! Bugs of the code around the rules: those of the rules themselves are planted in the crates.

/// A bug of the driver, which stands for the programs' async code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// A batch moves the collector's state, and lets go of its sender's lock, when it is written and before it is durable.
    AppliedBeforeDurable,
    /// A run goes on under the epoch of the one before, from number 1.
    EpochReused,
    /// A file is known by its inode only.
    RotationByInodeOnly,
    /// The agent's spool is trimmed up to what was sent.
    TrimmedWhenSent,
    /// A batch that was not answered is packed anew, with what came since.
    RepackedOnRetry,
    /// The agent reads on from where its own last run read.
    LocalPositionsBelieved,
}

thread_local! {
    static PLANTED: std::cell::Cell<Option<Driver>> = const { std::cell::Cell::new(None) };
}

pub(crate) fn is(bug: Driver) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(feature = "planted-bugs")]
pub(crate) fn plant(bug: Option<Driver>) {
    PLANTED.set(bug);
}
