//! Files that are renamed, replaced or removed under a reader that runs, or that is away.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tokio::sync::mpsc::{Receiver, channel, error::TryRecvError};

use super::*;
use crate::collectors::logs::files::{FileIdentity, StartAt, discover};

struct Case {
    folder: tempfile::TempDir,
    counters: Arc<Counters>,
    held: BTreeMap<String, SourcePosition>,
    running: Option<(Tailer, Receiver<Vec<Input>>)>,
    lines: Vec<String>,
    dropped: BTreeMap<String, u64>,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        fs::create_dir(folder.path().join("pods")).unwrap();
        let counters = Arc::new(Counters::default());
        let (held, lines, dropped) = Default::default();
        Self { folder, counters, held, running: None, lines, dropped }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts, and forgets so many lines once they are read.
    fn start_and_read(&mut self, lines: usize) {
        self.start();
        self.wait("all lines", |case| case.lines.len() == lines);
        self.lines.clear();
    }

    fn start(&mut self) {
        let globs = [format!("{}/logs/*.log", self.folder.path().display())];
        let globs = discover::Globs {
            include: discover::patterns(&globs, |problem| panic!("{problem}")),
            ..discover::Globs::default()
        };
        let config = FilesConfig {
            globs,
            start_at: StartAt::Beginning,
            max_line_bytes: 1 << 16,
            rescan_interval: Duration::from_millis(200),
            identity: FileIdentity::Auto,
            unfinished_line: None,
            close_after: Duration::from_millis(300),
        };
        let (out, inputs) = channel(16);
        let held: Vec<SourcePosition> = self.held.values().cloned().collect();
        let counters = Arc::clone(&self.counters);
        let part = |name| lapwing_service::watchdog::Watchdog::default().part(name, Duration::MAX);
        let parts = (&part("tail"), &part("discover"));
        let tailer = Tailer::start(config, 1000, held, false, counters, out, parts).unwrap();
        self.running = Some((tailer, inputs));
    }

    /// Stops it as a crash does: what was taken is durable, and nothing else.
    fn stop(&mut self) {
        self.running = None;
    }

    /// Stops it as it is asked to stop: what it read is durable, too.
    fn finish(&mut self) {
        let Some((tailer, mut inputs)) = self.running.take() else { return };
        tailer.stop();
        while let Some(inputs) = inputs.blocking_recv() {
            inputs.into_iter().for_each(|input| self.book(input));
        }
    }

    fn take(&mut self) {
        loop {
            let Some((_, inputs)) = &mut self.running else { return };
            let inputs = match inputs.try_recv() {
                Ok(inputs) => inputs,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            };
            inputs.into_iter().for_each(|input| self.book(input));
        }
    }

    fn book(&mut self, input: Input) {
        let position = match input {
            Input::Lines(run) => {
                let text = String::from_utf8(run.data.to_vec()).unwrap();
                self.lines.extend(text.lines().map(str::to_owned));
                run.position
            }
            Input::Position(position) => position,
            other => panic!("{other:?}"),
        };
        let before =
            self.held.get(&position.source).map(|held| held.events_dropped.clone()).unwrap_or_default();
        for (cause, events) in &position.events_dropped {
            let more = events - before.get(cause).copied().unwrap_or(0);
            *self.dropped.entry(cause.clone()).or_default() += more;
        }
        if position.closed {
            self.held.remove(&position.source);
        } else {
            self.held.insert(position.source.clone(), position);
        }
    }

    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}, {:?}", self.lines, self.held);
            thread::sleep(Duration::from_millis(10));
            self.take();
        }
    }

    fn wait_for_lines(&mut self, expected: &[&str]) {
        self.wait(&format!("{expected:?}"), |case| case.lines.len() >= expected.len());
        assert_eq!(self.lines, expected);
    }
}

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// As kubelet does it: the time of change is that of the compression.
fn compress(plain: &Path, packed: &Path) {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&fs::read(plain).unwrap()).unwrap();
    fs::write(packed, gzip.finish().unwrap()).unwrap();
    fs::remove_file(plain).unwrap();
}

#[test]
fn a_file_that_was_rotated_behind_its_link_while_nobody_read_is_read_to_its_end() {
    let mut case = Case::new();
    let (file, link) = (case.path("pods/0.log"), case.path("logs/x.log"));
    append(&file, "one\n");
    symlink(&file, link).unwrap();
    case.start();
    case.wait_for_lines(&["one"]);
    case.stop();
    append(&file, "two\n");
    fs::rename(&file, case.path("pods/0.log.old")).unwrap();
    append(&file, "three\n");
    case.start();
    case.wait("both files", |case| case.lines.len() == 3);
    case.lines.sort();
    assert_eq!(case.lines, ["one", "three", "two"]);
    assert!(case.dropped.is_empty());
}

#[test]
fn a_file_that_is_gone_is_counted_and_one_of_which_a_copy_is_there_is_read_from_that() {
    let mut case = Case::new();
    let (gone, copied) = (case.path("logs/gone.log"), case.path("logs/copied.log"));
    append(&gone, "gone\n");
    append(&copied, "one\n");
    case.start();
    case.wait("both files", |case| case.lines.len() == 2);
    case.stop();
    case.lines.clear();
    append(&copied, "two\n");
    fs::copy(&copied, case.path("logs/copied.log.1")).unwrap();
    fs::remove_file(&copied).unwrap();
    fs::remove_file(&gone).unwrap();
    case.start();
    case.wait("both are closed", |case| case.held.is_empty());
    assert_eq!(case.lines, ["two"]);
    assert_eq!(case.dropped, BTreeMap::from([("gone".to_owned(), 1)]));
}

#[test]
fn a_file_that_is_replaced_by_a_copy_gives_only_what_is_new() {
    let mut case = Case::new();
    let path = case.path("logs/app.log");
    let lines: Vec<String> = (0..100).map(|n| format!("2026-11-28 line number {n} of the log\n")).collect();
    let replace = |text: &str| {
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
    };
    append(&path, &lines.concat());
    case.start_and_read(100);

    // As rsync does it, then as `sed -i` does it.
    replace(&(lines.concat() + "rsync\n"));
    case.wait_for_lines(&["rsync"]);
    replace(&((lines.concat() + "rsync\n").replace("number 50", "number fifty") + "sed\n"));
    case.wait_for_lines(&["rsync", "2026-11-28 line number fifty of the log", "sed"]);

    case.stop();
    let now = fs::read_to_string(&path).unwrap();
    replace(&(now + "away\n"));
    case.start();
    case.wait_for_lines(&["rsync", "2026-11-28 line number fifty of the log", "sed", "away"]);
    assert!(case.dropped.is_empty(), "{:?}", case.dropped);
}

#[test]
fn a_file_that_was_closed_and_is_still_written_to_is_read_on() {
    let mut case = Case::new();
    fs::create_dir(case.path("away")).unwrap();
    let (path, away) = (case.path("logs/app.log"), case.path("away/app.log.1"));
    append(&path, "one\n");
    case.start();
    case.wait_for_lines(&["one"]);
    fs::rename(&path, &away).unwrap();
    case.wait("it is closed", |case| case.held.is_empty());
    append(&away, "two\n");
    case.wait_for_lines(&["one", "two"]);
}

#[test]
fn a_copy_takes_the_place_of_the_newest_file_of_its_name_and_not_of_one_that_was_rotated() {
    let mut case = Case::new();
    let (path, rotated) = (case.path("logs/app.log"), case.path("logs/app.log.1"));
    let lines = |day: u32| -> String {
        (0..100).map(|n| format!("day {day}, line number {n} of the log\n")).collect()
    };
    append(&path, &lines(1));
    case.start();
    case.wait("the first day", |case| case.lines.len() == 100);
    fs::rename(&path, &rotated).unwrap();
    append(&path, &lines(2));
    case.wait("the second day", |case| case.lines.len() == 200);
    append(&rotated, "late\n");
    case.wait("a late line", |case| case.lines.len() == 201);
    case.lines.clear();

    fs::write(path.with_extension("new"), lines(2) + "new\n").unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    case.wait_for_lines(&["new"]);
}

/// Lines of many lengths, and one that is longer than all that is remembered of a file.
fn numbered(range: std::ops::Range<usize>) -> String {
    let length = |n: usize| if n == 97 { 5_000 } else { n % 130 };
    range.map(|n| format!("2026-11-28 line number {n} {}\n", "x".repeat(length(n)))).collect()
}

#[test]
fn a_file_whose_head_was_cut_off_goes_on_behind_the_lines_that_were_kept() {
    for kept in [2, 3, 4, 12, 50] {
        for (in_place, away) in [(true, false), (true, true), (false, false), (false, true)] {
            let mut case = Case::new();
            let path = case.path("logs/app.log");
            append(&path, &numbered(0..100));
            case.start();
            case.wait("all lines", |case| case.lines.len() == 100);
            case.lines.clear();

            if away {
                case.stop();
            }
            let left = numbered(100 - kept..100) + "new\n";
            let written = if in_place { path.clone() } else { path.with_extension("new") };
            fs::write(&written, left).unwrap();
            fs::rename(&written, &path).unwrap();
            if away {
                case.start();
            }
            case.wait("the new line", |case| case.lines.iter().any(|line| line == "new"));
            assert_eq!(case.lines, ["new"], "{kept} lines kept, in place: {in_place}, away: {away}");
            assert!(case.dropped.is_empty(), "{:?}", case.dropped);
        }
    }
}

#[test]
fn a_file_that_was_truncated_loses_no_line_that_begins_as_the_last_ones_read() {
    let mut case = Case::new();
    let path = case.path("logs/app.log");
    append(&path, &"nothing tells these lines apart, not even a time\n".repeat(50));
    case.start_and_read(50);
    fs::write(&path, "nothing tells these lines apart, not even a time\n".repeat(4)).unwrap();
    case.wait("the lines behind the truncation", |case| case.lines.len() == 4);
}

#[test]
fn an_early_line_that_is_changed_in_a_copy_is_all_that_is_read_of_it() {
    let mut case = Case::new();
    let path = case.path("logs/app.log");
    append(&path, &numbered(0..100));
    case.start_and_read(100);
    let edited = numbered(0..100).replace("number 3 ", "number three ") + "new\n";
    fs::write(path.with_extension("new"), edited).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    case.wait("the new line", |case| case.lines.iter().any(|line| line == "new"));
    assert_eq!(case.lines, ["2026-11-28 line number three xxx", "new"]);
}

/// A file that was read up to `one` and then rotated twice by renaming, with lines of its own each time.
fn rotated_twice(case: &Case, names: [&str; 2]) {
    let path = case.path("logs/app.log");
    append(&path, "two\n");
    for (name, next) in names.into_iter().zip(["three\nfour\n", "five\n"]) {
        fs::rename(&path, case.path(name)).unwrap();
        // Times of change have the grain of the system's clock.
        thread::sleep(Duration::from_millis(20));
        append(&path, next);
    }
}

#[test]
fn files_that_were_rotated_one_after_another_while_nobody_read_are_all_read_once() {
    for names in [["logs/app.log.2", "logs/app.log.1"], ["logs/app.log-20261127", "logs/app.log-20261128"]] {
        let mut case = Case::new();
        append(&case.path("logs/app.log"), "one\n");
        // Neither of these was ever under the name.
        append(&case.path("logs/app.log.9"), "long ago\n");
        append(&case.path("logs/app2.log.1"), "another\n");
        case.start();
        case.wait("the first line", |case| case.lines.contains(&"one".to_owned()));
        case.stop();
        rotated_twice(&case, names);
        case.start();
        case.wait("all lines", |case| case.lines.len() == 5);
        case.lines.sort();
        assert_eq!(case.lines, ["five", "four", "one", "three", "two"]);

        // Nor does another start read anything again: while they are known, and when they were closed.
        case.stop();
        case.start();
        case.wait("they are closed", |case| case.held.len() == 1);
        case.stop();
        append(&case.path("logs/app.log"), "six\n");
        case.start();
        case.wait("another line", |case| case.lines.contains(&"six".to_owned()));
        assert_eq!(case.lines.len(), 6, "{:?}", case.lines);
        assert!(case.dropped.is_empty(), "{:?}", case.dropped);
    }
}

#[test]
fn files_that_were_rotated_and_compressed_one_after_another_are_all_read_once() {
    let mut case = Case::new();
    append(&case.path("logs/app.log"), "one\n");
    case.start();
    case.wait_for_lines(&["one"]);
    case.stop();
    rotated_twice(&case, ["logs/app.log.3", "logs/app.log.2"]);
    for name in ["logs/app.log.2", "logs/app.log.3"] {
        compress(&case.path(name), &case.path(&format!("{name}.gz")));
    }
    case.start();
    case.wait("all lines", |case| case.lines.len() == 5);
    case.stop();
    case.start();
    case.wait("they are closed", |case| case.held.len() == 1);
    case.lines.sort();
    assert_eq!(case.lines, ["five", "four", "one", "three", "two"]);
    assert!(case.dropped.is_empty(), "{:?}", case.dropped);
}

#[test]
fn a_file_that_was_read_to_its_end_and_then_deleted_or_compressed_counts_nothing_as_gone() {
    let mut case = Case::new();
    let (deleted, packed) = (case.path("logs/deleted.log"), case.path("logs/packed.log"));
    append(&deleted, "one\n");
    append(&packed, "one\n");
    case.start();
    case.wait("both files", |case| case.lines.len() == 2);
    fs::remove_file(&deleted).unwrap();
    case.finish();
    compress(&packed, &case.path("logs/packed.log.1.gz"));
    case.start();
    case.wait("both are closed", |case| case.held.is_empty());
    assert!(case.dropped.is_empty(), "{:?}", case.dropped);
    assert_eq!(case.lines.len(), 2);
}

#[test]
fn a_copy_that_comes_empty_and_is_written_in_parts_gives_only_what_is_new() {
    for is_kept in [true, false] {
        let mut case = Case::new();
        let path = case.path("logs/app.log");
        append(&path, &numbered(0..100));
        case.start();
        case.wait("all lines", |case| case.lines.len() == 100);
        case.lines.clear();

        // As an editor saves: the old file goes, or becomes a backup that is a log like any other, and the new one is created and written.
        let copy = numbered(0..100) + "new\n";
        if is_kept {
            fs::rename(&path, case.path("logs/backup.log")).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        append(&path, "");
        case.wait("the new file is open", |case| case.counters.files_open.get() == 2);
        for part in [&copy[..500], &copy[500..6_000], &copy[6_000..]] {
            thread::sleep(Duration::from_millis(400));
            append(&path, part);
        }
        case.wait("the new line", |case| !case.lines.is_empty());
        append(&path, "newer\n");
        case.wait("the newer line", |case| case.lines.last().is_some_and(|line| line == "newer"));
        if is_kept {
            append(&case.path("logs/backup.log"), "late\n");
            case.wait("a line of the backup", |case| case.lines.last().is_some_and(|line| line == "late"));
            assert_eq!(case.lines, ["new", "newer", "late"]);
        } else {
            assert_eq!(case.lines, ["new", "newer"]);
        }
        assert!(case.dropped.is_empty(), "{:?}", case.dropped);
    }
}

#[test]
fn a_new_file_that_begins_as_the_old_one_is_read_whole() {
    let mut case = Case::new();
    let path = case.path("logs/app.log");
    let banner = "starting up, version 1.2.3\n".repeat(100);
    append(&path, &(banner.clone() + &numbered(0..100)));
    case.start_and_read(200);

    fs::rename(&path, case.path("logs/app.log.1")).unwrap();
    append(&path, &banner);
    case.wait("the banner", |case| case.lines.len() == 100);
    append(&path, &numbered(100..120));
    case.wait("all lines of the new file", |case| case.lines.len() == 120);
}

#[test]
fn a_program_that_writes_on_to_a_file_that_was_replaced_is_read() {
    let mut case = Case::new();
    let path = case.path("logs/app.log");
    append(&path, &numbered(0..100));
    let open = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let mut program = std::process::Command::new("cat");
    let mut program = program.stdin(std::process::Stdio::piped()).stdout(open).spawn().unwrap();
    let mut output = program.stdin.take().unwrap();
    case.start_and_read(100);

    fs::write(path.with_extension("new"), numbered(0..100) + "edited\n").unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    case.wait_for_lines(&["edited"]);
    output.write_all(b"late\n").unwrap();
    case.wait_for_lines(&["edited", "late"]);
    drop(output);
    program.wait().unwrap();
    case.wait("the replaced file is closed", |case| case.held.len() == 1);
    assert!(case.dropped.is_empty(), "{:?}", case.dropped);
}

#[test]
fn compressed_files_whose_numbers_grow_with_each_rotation_are_not_read_as_later_ones() {
    let mut case = Case::new();
    let path = case.path("logs/app.log");
    for number in 1..4 {
        let plain = case.path(&format!("logs/app.log.{number}"));
        append(&plain, "long ago\n");
        compress(&plain, &plain.with_extension(format!("{number}.gz")));
    }
    // Times of birth have the grain of the system's clock.
    thread::sleep(Duration::from_millis(20));
    append(&path, "one\n");
    case.start();
    case.wait_for_lines(&["one"]);
    case.stop();
    for (number, line) in [(4, "two\n"), (5, "three\n")] {
        append(&path, line);
        let rotated = case.path(&format!("logs/app.log.{number}"));
        fs::rename(&path, &rotated).unwrap();
        compress(&rotated, &rotated.with_extension(format!("{number}.gz")));
    }
    append(&path, "four\n");
    case.start();
    case.wait("all lines", |case| case.lines.len() >= 4);
    append(&path, "five\n");
    case.wait("one more", |case| case.lines.contains(&"five".to_owned()));
    case.wait("the rotated ones are closed", |case| case.held.len() == 1);
    case.lines.sort();
    assert_eq!(case.lines, ["five", "four", "one", "three", "two"]);
}
