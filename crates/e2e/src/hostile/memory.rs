//! Resident memory of a process and of those it started.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often memory is looked at. Peaks that are shorter show in the kernel's own mark, which is taken, too.
const PACE: Duration = Duration::from_millis(25);

/// Watches a process until it is dropped.
#[derive(Debug)]
pub(super) struct Sampler {
    process: u32,
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Starts watching.
    pub(super) fn start(process: u32) -> Self {
        let (peak, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let thread = thread::spawn({
            let (peak, stop) = (Arc::clone(&peak), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    peak.fetch_max(tree(process), Ordering::Relaxed);
                    thread::sleep(PACE);
                }
            }
        });
        Self { process, peak, stop, thread: Some(thread) }
    }

    /// Bytes now.
    pub(super) fn now(&self) -> u64 {
        tree(self.process)
    }

    /// Most bytes at a time so far.
    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Resident bytes of a process and its children; pages that they share count once, with the parent.
fn tree(process: u32) -> u64 {
    let own = kib(process, "status", "VmRSS:");
    let children = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children = children.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|line| line.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect();
    let theirs: u64 = children.iter().map(|child| kib(*child, "status", "RssAnon:")).sum();
    (own + theirs) * 1024
}

fn kib(process: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|figure| figure.parse().ok()).unwrap_or(0)
}
