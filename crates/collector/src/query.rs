//! `lapwing.v1.QueryService`: SQL, search and live tail over the same tables.

mod filter;
mod found;
pub(crate) mod parts;
mod passing;
mod service;
mod sql;
mod tail;

pub use self::service::QueryService;
