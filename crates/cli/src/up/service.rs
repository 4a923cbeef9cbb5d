//! One of the two programs as a child.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::attached;
use crate::{
    exit::{Exit, Failure},
    home::Home,
    http, output, ports, program,
};

/// How long a program may take to come up; a collector may have a journal to read first.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);
/// A log is set aside at the next start when it is larger than this, in bytes.
const MAX_LOG: u64 = 16 << 20;
/// How much of a log is shown when its program ended.
const SHOWN_LINES: usize = 12;
const SHOWN_BYTES: u64 = 8 << 10;

/// A program, and its process while it runs. Dropping it kills the process.
pub(super) struct Service {
    name: &'static str,
    program: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Service {
    /// Finds the program; nothing runs yet.
    pub(super) fn new(name: &'static str, home: &Home) -> Result<Self, Failure> {
        // The name marks its lines as lapwing's own: a first query leaves them out.
        let log = home.logs().join(format!("{name}.log"));
        Ok(Self { name, program: program::sibling(name)?, log, child: None })
    }

    /// Starts it. What it prints goes to its log, which the agent tails as well.
    pub(super) fn start(&mut self, config: &Path) -> Result<(), Failure> {
        let log = open_log(&self.log)?;
        let command = [self.program.clone().into(), "--config".into(), config.into()];
        let child = Command::new(program::own()?)
            .args(attached::arguments(command))
            // A group of its own, or Ctrl-C would reach both at the same time.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        output::note(format_args!("started {}, its log is {}", self.name, self.log.display()));
        self.child = Some(child);
        Ok(())
    }

    /// Waits until `/healthz` on `port` says that all is well.
    pub(super) async fn come_up(&mut self, port: u16) -> Result<(), Failure> {
        let address = ports::local(port);
        let healthy = async {
            while !http::is_healthy(&address).await {
                sleep(POLL).await;
            }
        };
        tokio::select! {
            failed = self.end() => Err(failed),
            healthy = timeout(PATIENCE, healthy) => healthy.map_err(|_| {
                let seconds = PATIENCE.as_secs();
                self.failure(&format!("is not well after {seconds} s (http://{address}/healthz)"))
            }),
        }
    }

    /// Waits for it to end by itself, which it should not.
    pub(super) async fn end(&mut self) -> Failure {
        let status = match &mut self.child {
            Some(child) => child.wait().await,
            None => std::future::pending().await,
        };
        self.child = None;
        match status {
            Ok(status) => self.failure(&format!("ended by itself: {status}")),
            Err(error) => self.failure(&format!("is lost: {error}")),
        }
    }

    /// A failure with the last words of the program.
    fn failure(&self, what: &str) -> Failure {
        let (name, log) = (self.name, self.log.display());
        let last = last_lines(&self.log).unwrap_or_default();
        Exit::Broke.because(anyhow!("{name} {what}; the end of {log}:\n{last}"))
    }

    /// Asks it to end, and kills it when it does not within `grace`.
    pub(super) async fn stop(&mut self, grace: Duration) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        terminate(&child);
        match timeout(grace, child.wait()).await {
            // It ends by the signal itself when it has not yet come so far as to take it.
            Ok(Ok(status)) if status.success() || status.signal() == Some(Signal::TERM.as_raw()) => {
                output::note(format_args!("stopped {}", self.name));
                Ok(())
            }
            Ok(Ok(status)) => Err(self.failure(&format!("did not end well: {status}"))),
            Ok(Err(error)) => Err(self.failure(&format!("is lost: {error}"))),
            Err(_) => {
                child.kill().await.with_context(|| format!("kill {}", self.name))?;
                Err(self.failure(&format!("did not end within {} s and was killed", grace.as_secs())))
            }
        }
    }
}

fn terminate(child: &Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(id) = id {
        // It may have ended in this very moment; then there is nothing to do.
        let _ = kill_process(id, Signal::TERM);
    }
}

fn open_log(path: &Path) -> Result<File> {
    // Under a name that the agent still tails: it knows a file by more than its name, and has lines to read there yet.
    if fs::metadata(path).is_ok_and(|about| about.len() > MAX_LOG) {
        fs::rename(path, path.with_extension("1.log"))
            .with_context(|| format!("set {} aside", path.display()))?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("open {}", path.display()))
}

fn last_lines(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SHOWN_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(SHOWN_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"))
}
