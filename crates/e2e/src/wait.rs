//! Waiting for a condition, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Asks `check` until it gives a value; after `limit` fails with `what` and the last reason.
pub fn until<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut last = None;
    loop {
        match check() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if Instant::now() > deadline {
            let reason = last.map(|error| format!(" (last error: {error:#})")).unwrap_or_default();
            bail!("{what}: not within {limit:?}{reason}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
