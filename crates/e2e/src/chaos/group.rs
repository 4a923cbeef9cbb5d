//! A memory cap that is real: a control group whose limit kills.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::watchdog::{Undo, Watchdog};

/// Where version 1 of the memory controller is mounted.
const ROOT: &str = "/sys/fs/cgroup/memory";

/// A control group with a memory limit.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes a group; `None` with the reason where that can't be done.
    pub(crate) fn new(name: &str, limit: u64, watchdog: &mut Watchdog) -> Result<Self> {
        let path = PathBuf::from(ROOT).join(format!("lapwing-chaos-{}-{name}", std::process::id()));
        watchdog.note(&Undo::RemoveGroup(path.display().to_string()))?;
        fs::create_dir(&path).with_context(|| format!("make the control group {}", path.display()))?;
        fs::write(path.join("memory.limit_in_bytes"), limit.to_string()).context("set its memory limit")?;
        Ok(Self { path })
    }

    /// Puts a process under the limit.
    pub(crate) fn take(&self, process: u32) -> Result<()> {
        fs::write(self.path.join("cgroup.procs"), process.to_string())
            .context("move a process into its group")
    }

    /// How often the limit killed.
    pub(crate) fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("memory.oom_control")).unwrap_or_default();
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|kills| kills.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        Undo::RemoveGroup(self.path.display().to_string()).run();
    }
}
