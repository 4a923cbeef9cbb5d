//! Bugs that the simulator of `lapwing-delivery` must find.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// What is written counts as durable.
    AckBeforeFsync,
    /// Names of files are not synced.
    NoDirectoryFsync,
    /// A sync that failed is tried again, and believed.
    FsyncRetried,
    /// What is found at a start is believed to be on the disk.
    PageCacheBelieved,
    /// A segment goes when its first record is trimmed.
    SegmentUnlinkedEarly,
    /// Payloads are not checked against their header.
    ChecksumIgnored,
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
