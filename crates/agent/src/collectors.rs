//! What the agent reads. Folders and files are named like the config's tables.

pub mod logs;
pub mod metrics;
