//! What lapwing's programs need to be good services.
//!
//! [`config`] reads a file and reports all its mistakes at once; [`tls`], [`certs`] and [`token`] say who is who; [`serve`] and
//! [`client`] carry HTTP/2 over them; [`logs`], [`metrics`] and [`shutdown`] are what an operator sees; the
//! [`watchdog`] sees to it that no thread or task ends or hangs unnoticed.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

pub mod certs;
pub mod client;
pub mod clock;
pub mod config;
pub mod descriptors;
pub mod identity;
pub mod local;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod modes;
pub mod pool;
pub mod renewed;
pub mod revoked;
pub mod said;
pub mod secret;
pub mod serve;
pub mod shutdown;
pub mod tls;
pub mod token;
pub mod watchdog;
