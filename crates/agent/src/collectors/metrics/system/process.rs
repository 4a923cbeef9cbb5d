//! The processes that use most, from `/proc/PID/stat` (proc_pid_stat(5)): a tenth of what a full reading of each process costs.

use std::{collections::HashMap, fs, io::Read, time::Instant};

use super::{cpu::TICKS, points::Points};

/// Process figures of the last reading.
#[derive(Debug)]
pub(super) struct Processes {
    top: usize,
    page_size: f64,
    last: HashMap<Key, f64>,
    last_time: Instant,
    buffer: Vec<u8>,
}

/// A process: its id may be given again, its id and start time together are not.
type Key = (u32, u64);

#[derive(Debug, PartialEq)]
struct Process {
    id: u32,
    name: String,
    user: f64,
    system: f64,
    threads: f64,
    /// Ticks since the machine started.
    start: u64,
    virtual_bytes: f64,
    pages: f64,
    /// CPU seconds a second since the last reading; `None` for one that was not there then.
    utilization: Option<f64>,
}

impl Processes {
    pub(super) fn new(top: usize) -> Self {
        let page_size = rustix::param::page_size() as f64;
        Self { top, page_size, last: HashMap::new(), last_time: Instant::now(), buffer: Vec::new() }
    }

    pub(super) fn observe(&mut self, points: &mut Points) {
        if self.top == 0 {
            return;
        }
        let elapsed = self.last_time.elapsed().as_secs_f64();
        self.last_time = Instant::now();
        let mut all = self.read_all();
        points.level("system.process.count", "{process}", all.len() as f64, &[]);
        let mut times = HashMap::with_capacity(all.len());
        for process in &mut all {
            let key = (process.id, process.start);
            let time = (process.user + process.system) / TICKS;
            process.utilization = self.last.get(&key).map(|last| (time - last).max(0.0) / elapsed);
            times.insert(key, time);
        }
        self.last = times;
        for process in top(all, self.top) {
            process.observe(self.page_size, points);
        }
    }

    fn read_all(&mut self) -> Vec<Process> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let ids: Vec<u32> = ids.collect();
        ids.into_iter().filter_map(|id| self.read(id)).collect()
    }

    /// `None` for a process that has ended meanwhile.
    fn read(&mut self, id: u32) -> Option<Process> {
        self.buffer.clear();
        fs::File::open(format!("/proc/{id}/stat")).ok()?.read_to_end(&mut self.buffer).ok()?;
        Process::parse(id, &String::from_utf8_lossy(&self.buffer))
    }
}

/// The `n` that use most CPU, and the `n` that use most memory.
fn top(mut all: Vec<Process>, n: usize) -> Vec<Process> {
    let by = |get: fn(&Process) -> f64| move |a: &Process, b: &Process| get(b).total_cmp(&get(a));
    all.sort_by(by(|process| process.pages));
    let mut rest = all.split_off(all.len().min(n));
    rest.sort_by(by(|process| process.utilization.unwrap_or(0.0)));
    let busy =
        rest.into_iter().take(n).filter(|process| process.utilization.is_some_and(|share| share > 0.0));
    all.extend(busy);
    all
}

impl Process {
    fn parse(id: u32, stat: &str) -> Option<Self> {
        // The name may hold anything, spaces and brackets too: it ends at the last one.
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Fields are numbered from 1 in the manual; `rest` begins with the third.
        let field = |n: usize| words.get(n - 3)?.parse::<f64>().ok();
        Some(Self {
            id,
            name: name.to_owned(),
            user: field(14)?,
            system: field(15)?,
            threads: field(20)?,
            start: field(22)? as u64,
            virtual_bytes: field(23)?,
            pages: field(24)?,
            utilization: None,
        })
    }

    fn observe(&self, page_size: f64, points: &mut Points) {
        let id = self.id.to_string();
        let about = [("process.pid", id.as_str()), ("process.executable.name", self.name.as_str())];
        let started = points.boot() + (self.start as f64 / TICKS * 1e9) as u64;
        for (mode, ticks) in [("user", self.user), ("system", self.system)] {
            let about = [about[0], about[1], ("cpu.mode", mode)];
            points.total_since(started, "process.cpu.time", "s", ticks / TICKS, &about);
        }
        if let Some(utilization) = self.utilization {
            points.gauge("process.cpu.utilization", "1", utilization, &about);
        }
        points.level("process.memory.usage", "By", self.pages * page_size, &about);
        points.level("process.memory.virtual", "By", self.virtual_bytes, &about);
        points.level("process.thread.count", "{thread}", self.threads, &about);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_spaces_and_brackets() {
        let stat = "42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 140 150 16 17 18 19 20 21 2200 23000 240 25\n";
        let process = Process::parse(42, stat).unwrap();
        assert_eq!((process.name.as_str(), process.user, process.system), ("a (b) c", 140.0, 150.0));
        assert_eq!((process.threads, process.start), (20.0, 2200));
        assert_eq!((process.virtual_bytes, process.pages), (23000.0, 240.0));
        assert_eq!(Process::parse(1, "1 (x) S 1"), None);
    }

    #[test]
    fn the_top_holds_the_busiest_and_the_largest_once() {
        let process = |id: u32, pages: f64, utilization: f64| Process {
            id,
            name: String::new(),
            user: 0.0,
            system: 0.0,
            threads: 1.0,
            start: 0,
            virtual_bytes: 0.0,
            pages,
            utilization: Some(utilization),
        };
        let all =
            vec![process(1, 1.0, 0.9), process(2, 9.0, 0.8), process(3, 5.0, 0.0), process(4, 2.0, 0.1)];
        let ids: Vec<u32> = top(all, 1).iter().map(|process| process.id).collect();
        assert_eq!(ids, [2, 1]);
    }
}
