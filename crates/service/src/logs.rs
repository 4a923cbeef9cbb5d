//! The program's own log: to stderr, as text or JSON, control bytes escaped.

use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging. `LAPWING_LOG` sets the level (`info` when unset, or a filter such as `lapwing_agent=debug`), and
/// `LAPWING_LOG_FORMAT=json` the form. A second call does nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("LAPWING_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // Tests start several parts in one process: the first one wins.
    let _ = match std::env::var("LAPWING_LOG_FORMAT").as_deref() {
        Ok("json") => builder.json().try_init(),
        _ => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    };
}
