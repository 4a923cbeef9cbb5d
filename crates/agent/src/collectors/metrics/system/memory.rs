//! Memory and swap.

use std::fs;

use sysinfo::{MemoryRefreshKind, System};

use super::points::Points;

/// Memory figures.
#[derive(Debug)]
pub(super) struct Memory {
    system: Option<System>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { system: System::new().ok() }
    }

    pub(super) fn observe(&mut self, points: &mut Points) {
        let Some(system) = &mut self.system else { return };
        system.refresh_memory_specifics(MemoryRefreshKind::everything());
        let total = system.total_memory() as f64;
        let (available, free) = (system.available_memory() as f64, system.free_memory() as f64);
        let (buffers, cached) = buffers_and_cached();
        let states = [
            ("used", total - available),
            ("free", free),
            ("buffers", buffers),
            // What is neither used nor free nor a buffer can be given up when it is needed.
            ("cached", cached.min((available - free - buffers).max(0.0))),
        ];
        for (state, bytes) in states {
            points.level("system.memory.usage", "By", bytes, &[("system.memory.state", state)]);
        }
        points.level("system.memory.limit", "By", total, &[]);
        points.level("system.memory.linux.available", "By", available, &[]);
        if total > 0.0 {
            let used = (total - available) / total;
            points.gauge("system.memory.utilization", "1", used, &[("system.memory.state", "used")]);
        }
        let (swap, swap_used) = (system.total_swap() as f64, system.used_swap() as f64);
        for (state, bytes) in [("used", swap_used), ("free", swap - swap_used)] {
            points.level("system.paging.usage", "By", bytes, &[("system.paging.state", state)]);
        }
        if let Ok(uptime) = System::uptime() {
            points.gauge("system.uptime", "s", uptime as f64, &[]);
        }
    }
}

/// From `/proc/meminfo`, in bytes.
fn buffers_and_cached() -> (f64, f64) {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    (kibibytes("Buffers:") * 1024.0, kibibytes("Cached:") * 1024.0)
}
