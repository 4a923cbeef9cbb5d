//! The threads and tasks of an agent, as its watchdog knows them.

use std::time::Duration;

use lapwing_service::watchdog::{Part, Watchdog};

/// How long a reading, a write or an answer of the disk may take.
const SLOW: Duration = Duration::from_secs(30);
/// How long reading all metrics may take: file systems and processes are many.
const METRICS: Duration = Duration::from_secs(60);
/// How long no task of the runtime may get its turn.
const RUNTIME: Duration = Duration::from_secs(10);

/// The parts of an agent.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The runtime, which packs and ships.
    pub runtime: Part,
    /// The thread that reads and follows files.
    pub tail: Part,
    /// The thread that finds them.
    pub discover: Part,
    /// The thread that reads metrics.
    pub metrics: Part,
    /// The task that puts metrics into the spool.
    pub recorder: Part,
    /// The task that takes metrics out of the spool.
    pub replay: Part,
    /// The task that gives up what the collector holds of the spool.
    pub trim: Part,
    /// The thread that writes the spool.
    pub spool: Part,
    /// The task that packs, numbers and ships.
    pub pipeline: Part,
    /// The task that answers `/healthz` and `/metrics`.
    pub admin: Part,
}

impl Parts {
    /// Registers them.
    pub fn new(watchdog: &Watchdog) -> Self {
        Self {
            runtime: watchdog.vital_part("runtime", RUNTIME),
            tail: watchdog.part("tail", SLOW),
            discover: watchdog.part("discover", SLOW),
            metrics: watchdog.part("metrics", METRICS),
            recorder: watchdog.part("recorder", SLOW),
            replay: watchdog.part("replay", SLOW),
            trim: watchdog.part("trim", SLOW),
            // After a failed fsync nobody knows what is on the disk: only a start finds out.
            spool: watchdog.vital_part("spool", SLOW),
            pipeline: watchdog.part("pipeline", SLOW),
            admin: watchdog.part("admin", SLOW),
        }
    }
}
