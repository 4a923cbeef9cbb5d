//! A date and a time of day as a line writes them.

pub(crate) mod clock;
