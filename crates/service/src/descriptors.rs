//! The limit of open files.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Lifts the soft limit to the hard one: files are held open by the agent, connections by the collector, thousands of either, and the
/// usual soft limit is 1,024.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {}", io::Error::from(error));
    }
}
