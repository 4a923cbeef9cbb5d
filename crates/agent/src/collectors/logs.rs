//! `[collectors.logs]`

pub mod files;
