//! `[collectors.metrics]`

pub mod recorder;
pub mod system;
