//! A child process that a test starts, breaks and starts again.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// One of lapwing's programs as a child, its output appended to a file.
#[derive(Debug)]
pub struct Process {
    program: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    env: Vec<(String, String)>,
    prefix: Vec<String>,
    child: Option<Child>,
}

impl Process {
    /// Describes a process; nothing runs yet.
    pub fn new(program: &str, args: &[&str], log: &Path) -> Result<Self> {
        Ok(Self {
            program: binary(program)?,
            args: args.iter().map(ToString::to_string).collect(),
            log: log.to_owned(),
            env: Vec::new(),
            prefix: Vec::new(),
            child: None,
        })
    }

    /// Sets an environment variable for the next start.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Starts without the environment variables set so far.
    pub fn clear_env(&mut self) {
        self.env.clear();
    }

    /// Has it started by a program that takes its place: `prlimit --nofile=64`.
    pub fn start_by(&mut self, prefix: &[&str]) {
        self.prefix = prefix.iter().map(ToString::to_string).collect();
    }

    /// Starts it.
    pub fn start(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let words: Vec<String> =
            self.prefix.iter().cloned().chain([self.program.display().to_string()]).collect();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Its process id while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(self.child.as_ref().context("it does not run")?), signal)?)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.as_mut().context("it was not started")?.try_wait()?)
    }

    /// `kill -9`, then waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Sends SIGTERM and waits for its end.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut child = self.child.take().context("it does not run")?;
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        let status = wait::until("the process ends after SIGTERM", limit, || Ok(child.try_wait()?));
        if status.is_err() {
            child.kill()?;
            child.wait()?;
        }
        status
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let child = self.child.as_mut().context("it does not run")?;
        wait::until("the process ends by itself", limit, || Ok(child.try_wait()?))
    }

    /// Peak resident memory so far, in bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> Result<u64> {
        let id = self.id().context("it does not run")?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line =
            status.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
        let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kib * 1024)
    }

    /// CPU time so far, user and system, of all its threads.
    pub fn cpu(&self) -> Result<Duration> {
        let id = self.id().context("it does not run")?;
        // Nanoseconds on a processor, per thread (proc_pid_schedstat): the ticks of `stat` are too coarse for an idle agent.
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{id}/task"))? {
            let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            nanos += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident memory now, in bytes.
    pub fn memory(&self) -> Result<u64> {
        self.status_kib("VmRSS:")
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Path of a program that cargo built with this one.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // A test stands in `deps` beside the programs, a program among them.
    let path = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    path.with_context(|| {
        format!("no {name} beside {}: run `cargo build --workspace --bins` first", own.display())
    })
}
