//! The machine's own figures: CPU, memory, disks, file systems, network, processes, with OpenTelemetry's names and units
//! (semantic conventions 1.41, system and process metrics).
//!
//! One thread reads all of them at each tick and hands the points on; a file system that hangs stops it and nothing else.

mod cpu;
mod disk;
mod memory;
mod network;
mod points;
mod process;

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lapwing::columns::MetricColumns;
use lapwing_service::{
    config::Section,
    watchdog::{Beat, Part, Running},
};
use tokio::sync::mpsc::Sender;

use self::points::Points;

/// `[collectors.metrics]`, checked.
#[derive(Debug, Clone)]
pub struct SystemConfig {
    /// Time between two readings.
    pub interval: Duration,
    /// How many processes are told of: those that use most CPU and those that use most memory.
    pub top_processes: usize,
}

impl SystemConfig {
    /// Takes the section; `None` when metrics are not enabled.
    pub fn take(metrics: &Section<'_>) -> Option<Self> {
        let enabled = metrics.bool("enabled").unwrap_or(metrics.is_there());
        let config = Self {
            interval: metrics.seconds("system_interval_secs", 1, 86_400).unwrap_or(Duration::from_secs(10)),
            top_processes: metrics.number("top_processes", 0, 1000).unwrap_or(10) as usize,
        };
        metrics.finish();
        enabled.then_some(config)
    }
}

/// The thread that reads.
#[derive(Debug)]
pub struct SystemMetrics {
    stop: Arc<(Mutex<bool>, Condvar)>,
}

impl SystemMetrics {
    /// Starts reading on a thread of `part`; the points of each tick go to `out`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        config: SystemConfig,
        out: Sender<MetricColumns>,
        part: &Part,
    ) -> io::Result<(Self, Running)> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let told = Arc::clone(&stop);
        let run = move |beat: &Beat| {
            let mut sources = Sources::new(config.top_processes);
            loop {
                let started = Instant::now();
                // A receiver that is behind misses this tick; one that is gone ends the thread.
                let sent = out.try_send(sources.observe(beat));
                if matches!(sent, Err(tokio::sync::mpsc::error::TrySendError::Closed(_))) {
                    return;
                }
                if wait(&told, config.interval.saturating_sub(started.elapsed())) {
                    return;
                }
            }
        };
        let running = part.start_thread(run)?;
        Ok((Self { stop }, running))
    }

    /// Stops reading.
    pub fn stop(&self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
    }
}

impl Drop for SystemMetrics {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits; `true` when it is time to stop.
fn wait((stop, told): &(Mutex<bool>, Condvar), limit: Duration) -> bool {
    let stopped = stop.lock().unwrap_or_else(PoisonError::into_inner);
    let (stopped, _) =
        told.wait_timeout_while(stopped, limit, |stopped| !*stopped).unwrap_or_else(PoisonError::into_inner);
    *stopped
}

/// All that is read, and what the last reading left behind.
struct Sources {
    cpu: cpu::Cpu,
    memory: memory::Memory,
    disks: disk::Disks,
    networks: network::Networks,
    processes: process::Processes,
}

impl Sources {
    fn new(top_processes: usize) -> Self {
        Self {
            cpu: cpu::Cpu::default(),
            memory: memory::Memory::new(),
            disks: disk::Disks::new(),
            networks: network::Networks::new(),
            processes: process::Processes::new(top_processes),
        }
    }

    fn observe(&mut self, beat: &Beat) -> MetricColumns {
        let _working = beat.working();
        let mut points = Points::now();
        self.cpu.observe(&mut points);
        self.memory.observe(&mut points);
        self.disks.observe(&mut points);
        beat.beat();
        self.networks.observe(&mut points);
        self.processes.observe(&mut points);
        points.into_columns()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lapwing_service::watchdog::Watchdog;

    use super::*;

    #[test]
    fn this_machine_has_all_the_families() {
        let mut sources = Sources::new(3);
        let beat = Watchdog::default().part("metrics", Duration::MAX).begin();
        sources.observe(&beat);
        std::thread::sleep(Duration::from_millis(250));
        let columns = sources.observe(&beat);
        let names: BTreeSet<&str> = columns.name.iter().map(|name| name.as_str()).collect();
        for name in [
            "system.cpu.time",
            "system.cpu.utilization",
            "system.memory.usage",
            "system.memory.utilization",
            "system.filesystem.usage",
            "system.network.io",
            "system.uptime",
            "process.cpu.time",
            "process.memory.usage",
        ] {
            assert!(names.contains(name), "{name} is missing of {names:?}");
        }
        let utilization: f64 = columns
            .name
            .iter()
            .zip(columns.value.iter())
            .filter(|(name, _)| name.as_str() == "system.cpu.utilization")
            .map(|(_, value)| value)
            .sum();
        assert!((utilization - 1.0).abs() < 0.01, "the modes sum up to {utilization}");
    }
}
