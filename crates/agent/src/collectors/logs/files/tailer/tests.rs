use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lapwing_service::watchdog::Watchdog;
use tokio::sync::mpsc::{self, Receiver};

use super::Tailer;
use crate::{
    collectors::logs::files::{
        FileIdentity, FilesConfig, StartAt,
        discover::{Globs, Pattern},
    },
    counters::Counters,
    input::Input,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A tailer of a directory, and what it read: lines by source.
struct Tail {
    _tailer: Tailer,
    turns: Receiver<Vec<Input>>,
    counters: Arc<Counters>,
    lines: BTreeMap<String, String>,
}

impl Tail {
    fn of(root: &Path, pattern: &str) -> Self {
        let pattern = Pattern::parse(&format!("{}/{pattern}", root.display())).unwrap();
        let config = FilesConfig {
            globs: Globs { include: vec![pattern], exclude: Vec::new() },
            start_at: StartAt::Beginning,
            max_line_bytes: 1000,
            rescan_interval: Duration::from_secs(1),
            identity: FileIdentity::Auto,
            unfinished_line: None,
            close_after: Duration::from_secs(1),
        };
        let counters = Arc::new(Counters::default());
        let (out, turns) = mpsc::channel(2);
        let part = |name| Watchdog::default().part(name, PATIENCE);
        let parts = (&part("tail"), &part("discover"));
        let tailer =
            Tailer::start(config, 1000, Vec::new(), true, Arc::clone(&counters), out, parts).unwrap();
        Self { _tailer: tailer, turns, counters, lines: BTreeMap::new() }
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < until, "{what}: {:?}", self.lines);
            let Ok(turn) = self.turns.try_recv() else {
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            for input in turn {
                let Input::Lines(run) = input else { continue };
                let lines = self.lines.entry(run.source.as_str().to_owned()).or_default();
                lines.push_str(std::str::from_utf8(&run.data).unwrap());
            }
        }
    }
}

#[test]
fn files_whose_names_are_no_utf8_are_read_as_sources_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("a.txt"), "plain\n").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"caf\xe9.txt")), "e acute\n").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"caf\xe8.txt")), "e grave\n").unwrap();
    let mut tail = Tail::of(root, "*.txt");
    tail.until("three sources", |tail| tail.lines.len() == 3);
    assert_eq!(tail.lines[&format!("{}/caf\\xE9.txt", root.display())], "e acute\n");
    assert_eq!(tail.lines[&format!("{}/caf\\xE8.txt", root.display())], "e grave\n");
}

#[test]
fn directory_links_that_lead_back_keep_no_line_from_being_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("zz.log"), "one\n").unwrap();
    for name in ["current", "latest", "third"] {
        symlink(".", root.join(name)).unwrap();
    }
    let mut tail = Tail::of(root, "**/*.log");
    tail.until("the first line", |tail| !tail.lines.is_empty());
    OpenOptions::new().append(true).open(root.join("zz.log")).unwrap().write_all(b"two\n").unwrap();
    tail.until("the second line", |tail| tail.lines.values().any(|lines| lines.contains("two")));
    assert_eq!(tail.lines, BTreeMap::from([(format!("{}/zz.log", root.display()), "one\ntwo\n".to_owned())]));
}

#[test]
fn a_file_that_was_deleted_is_closed_when_it_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("a.log"), "one\n").unwrap();
    let mut tail = Tail::of(root, "*.log");
    tail.until("the line", |tail| !tail.lines.is_empty());
    tail.until("it is open", |tail| tail.counters.files_open.get() == 1);
    fs::remove_file(root.join("a.log")).unwrap();
    tail.until("it is closed", |tail| tail.counters.files_open.get() == 0);
}
