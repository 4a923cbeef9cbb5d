//! `lapwing up` and `lapwing config check` with stand-ins for the agent and the collector.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// One test at a time: a program that another thread is still copying can't be started.
static ALONE: Mutex<()> = Mutex::new(());
const PATIENCE: Duration = Duration::from_secs(20);

/// Notes in `events` that it started and that it was asked to end.
const LIVES: &str = r#"#!/bin/sh
me=${0##*/lapwing-}
echo "$me says hello"
trap 'echo "$me stopped" >>"$EVENTS"; exit 0' TERM
echo "$me started" >>"$EVENTS"
while :; do sleep 0.05; done
"#;
/// Finds a config wrong when it says so.
const CHECKS: &str = r#"#!/bin/sh
echo "$1 by ${0##*/}" >&2
if grep -q wrong "$3"; then exit 2; fi
"#;
const DIES: &str = "#!/bin/sh\necho 'the disk is full' >&2\nexit 7\n";

/// A folder with `lapwing` and stand-ins beside it.
struct Stage {
    folder: TempDir,
    port: u16,
}

impl Stage {
    fn new(collector: &str, agent: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(env!("CARGO_BIN_EXE_lapwing"), folder.path().join("lapwing")).unwrap();
        for (name, script) in [("lapwing-collector", collector), ("lapwing-agent", agent)] {
            let path = folder.path().join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder, port: free_ports() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn up(&self) -> Child {
        Command::new(self.path("lapwing"))
            .args(["up", "--port", &self.port.to_string(), "--data-dir"])
            .arg(self.path("data"))
            .env("EVENTS", self.path("events"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts it, and answers `/healthz` for each stand-in once that has started.
    fn up_and_well(&self) -> Child {
        let child = self.up();
        self.wait_for(&["collector started"]);
        answer_healthz(self.port + 1);
        self.wait_for(&["collector started", "agent started"]);
        answer_healthz(self.port + 2);
        child
    }

    fn wait_for(&self, expected: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = fs::read_to_string(self.path("events")).unwrap_or_default();
            if events.lines().eq(expected.iter().copied()) {
                return;
            }
            assert!(Instant::now() < deadline, "expected {expected:?}, got {events}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// First of three ports in a row that nobody uses.
fn free_ports() -> u16 {
    let all_free = |first: &u16| {
        let bound: Result<Vec<_>, _> = (0..3).map(|n| TcpListener::bind(("127.0.0.1", first + n))).collect();
        bound.is_ok()
    };
    let start = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    (start.min(60_000)..65_000).step_by(3).find(all_free).unwrap()
}

fn answer_healthz(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 256];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
}

fn read_until(child: &mut Child, end: &str) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    let out = child.stdout.as_mut().unwrap();
    while !text.ends_with(end.as_bytes()) && out.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn ctrl_c_stops_the_agent_first_and_is_no_failure() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::new(LIVES, LIVES);
    let mut child = stage.up_and_well();
    let announced = read_until(&mut child, "from here.");
    assert!(announced.contains("lapwing.v1.IngestService/Ingest"), "{announced}");

    let (code, err) = told(&stage.up().wait_with_output().unwrap());
    assert!(code == Some(1) && err.contains("another `lapwing up` runs on"), "{err}");

    send(&child, Signal::INT);
    let (code, err) = told(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{err}");
    stage.wait_for(&["collector started", "agent started", "agent stopped", "collector stopped"]);
    assert_eq!(text(&stage.path("data/logs/lapwing-agent.log")), "agent says hello\n");
}

#[test]
fn a_child_that_ends_by_itself_is_named_with_its_last_words_and_the_other_is_stopped() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::new(LIVES, DIES);
    let child = stage.up();
    stage.wait_for(&["collector started"]);
    answer_healthz(stage.port + 1);
    let (code, err) = told(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("lapwing-agent ended by itself: exit status: 7"), "{err}");
    assert!(err.contains("the disk is full"), "{err}");
    stage.wait_for(&["collector started", "collector stopped"]);
}

#[test]
fn no_child_outlives_a_killed_up() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::new(LIVES, LIVES);
    let mut child = stage.up_and_well();
    read_until(&mut child, "from here.");
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + PATIENCE;
    // In which order is not said here: both get the signal at once.
    while text(&stage.path("events")).lines().filter(|line| line.ends_with("stopped")).count() < 2 {
        assert!(Instant::now() < deadline, "{}", text(&stage.path("events")));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let deaf = LIVES.replace("exit 0' TERM", "' TERM");
    let stage = Stage::new(&deaf, &deaf);
    let mut child = stage.up_and_well();
    read_until(&mut child, "from here.");
    send(&child, Signal::TERM);
    stage.wait_for(&["collector started", "agent started", "agent stopped"]);
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_port_in_use_is_told_before_anything_is_started() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::new(LIVES, LIVES);
    let _held = TcpListener::bind(("127.0.0.1", stage.port + 1)).unwrap();
    let (code, err) = told(&stage.up().wait_with_output().unwrap());
    assert!(
        code == Some(1) && err.contains(&format!("port {} is in use by programs-", stage.port + 1)),
        "{err}"
    );
    assert!(!stage.path("events").exists());
}

#[test]
fn each_config_is_checked_by_the_program_that_reads_it() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::new(CHECKS, CHECKS);
    let check = |files: &[(&str, &str)]| {
        let mut command = Command::new(stage.path("lapwing"));
        command.args(["config", "check"]);
        for (name, text) in files {
            fs::write(stage.path(name), text).unwrap();
            command.arg(stage.path(name));
        }
        told(&command.output().unwrap())
    };
    let (agent, collector) = (("agent.toml", "[agent]\n"), ("collector.toml", "[server]\n"));
    let (code, err) = check(&[agent, collector]);
    assert_eq!((code, err.as_str()), (Some(0), "--check by lapwing-agent\n--check by lapwing-collector\n"));

    let (code, err) = check(&[("wrong.toml", "[storage]\n# wrong\n"), agent, ("other.toml", "[tls]\n")]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("other.toml: neither a collector's config"), "{err}");
    assert!(err.ends_with("error: 2 of 3 files wrong\n"), "{err}");
}
