//! Faults at a system call of a running process, made by strace: an error in its place, or the end of the process at it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Result;

use crate::{rig::PATIENCE, wait};

/// A tracer at work.
#[derive(Debug)]
pub(super) struct Tracer(Child);

impl Tracer {
    /// Has the `calls` of a process, where they touch `path`, go as `fault` says (`error=EIO:when=1`, `signal=KILL:when=3`).
    pub(super) fn attach(process: u32, path: Option<&Path>, calls: &str, fault: &str) -> Result<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-p", &process.to_string()]);
        command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")]);
        if let Some(path) = path {
            command.arg("-P").arg(path);
        }
        let tracer = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let line = format!("TracerPid:\t{}", tracer.id());
        // The fault may have come and gone before anybody looked: then the process is a zombie, or no more.
        let is_there = |text: &str| text == line || text.starts_with("State:\tZ");
        wait::until("the tracer is attached", PATIENCE, || {
            let status =
                fs::read_to_string(format!("/proc/{process}/status")).unwrap_or("State:\tZ".to_owned());
            Ok(status.lines().any(is_there).then_some(()))
        })?;
        Ok(Self(tracer))
    }

    /// Lets the process go on without faults.
    pub(super) fn detach(mut self) -> Result<()> {
        let _ = self.0.kill();
        self.0.wait()?;
        Ok(())
    }
}
