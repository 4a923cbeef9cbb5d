//! CPU time by mode, from `/proc/stat` (proc_stat(5)).

use std::fs;

use super::points::Points;

/// Clock ticks a second in `/proc`: the kernel's ABI fixes it.
pub(super) const TICKS: f64 = 100.0;
/// The columns of a `cpu` line. Guest time is counted in user time already.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "interrupt", "softirq", "steal"];

/// CPU times of the last reading.
#[derive(Debug, Default)]
pub(super) struct Cpu {
    last: Option<[f64; 8]>,
}

impl Cpu {
    pub(super) fn observe(&mut self, points: &mut Points) {
        let Ok(text) = fs::read_to_string("/proc/stat") else { return };
        let Some(now) = parse(&text) else { return };
        for (mode, ticks) in MODES.iter().zip(now) {
            points.total("system.cpu.time", "s", ticks / TICKS, &[("cpu.mode", mode)]);
        }
        if let Some(shares) = self.last.and_then(|last| shares(last, now)) {
            for (mode, share) in MODES.iter().zip(shares) {
                points.gauge("system.cpu.utilization", "1", share, &[("cpu.mode", mode)]);
            }
        }
        self.last = Some(now);
        let processors = text.lines().filter(|line| line.starts_with("cpu")).count().saturating_sub(1);
        points.level("system.cpu.logical.count", "{cpu}", processors as f64, &[]);
        let Ok(load) = sysinfo::System::load_average() else { return };
        for (name, value) in [
            ("system.linux.cpu.load_1m", load.one),
            ("system.linux.cpu.load_5m", load.five),
            ("system.linux.cpu.load_15m", load.fifteen),
        ] {
            points.gauge(name, "{thread}", value, &[]);
        }
    }
}

/// The ticks of all processors together.
fn parse(stat: &str) -> Option<[f64; 8]> {
    let mut words = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let mut ticks = [0.0; 8];
    for tick in &mut ticks {
        *tick = words.next()?.parse().ok()?;
    }
    Some(ticks)
}

/// The part of the time since the last reading that was spent in each mode.
fn shares(last: [f64; 8], now: [f64; 8]) -> Option<[f64; 8]> {
    // The kernel lets idle and iowait fall at times.
    let spent: Vec<f64> = now.iter().zip(last).map(|(now, last)| (now - last).max(0.0)).collect();
    let all: f64 = spent.iter().sum();
    let share = |n: usize| spent[n] / all;
    (all > 0.0).then(|| std::array::from_fn(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_all_processors_together() {
        let stat = "cpu  10 20 30 40 50 60 70 80 5 5\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(parse(stat), Some([10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]));
        assert_eq!(parse("cpu  10 20\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn shares_sum_up_to_one_also_when_a_counter_falls() {
        let last = [0.0, 0.0, 0.0, 100.0, 10.0, 0.0, 0.0, 0.0];
        let now = [30.0, 0.0, 0.0, 170.0, 9.0, 0.0, 0.0, 0.0];
        let shares = shares(last, now).unwrap();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((shares[0] - 0.3).abs() < 1e-9);
        assert_eq!(super::shares(now, now), None);
    }
}
