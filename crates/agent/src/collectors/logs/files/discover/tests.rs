use std::{
    ffi::{OsStr, OsString},
    fs,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{PermissionsExt, chown, lchown, symlink},
        },
    },
    time::Instant,
};

use lapwing_service::watchdog::Watchdog;

use super::{
    entry::NotFollowed,
    progress::HELD_UP,
    walk::{Findings, Folder, Stopped, Walk},
    *,
};
use crate::collectors::logs::files::{FileIdentity, StartAt};

const PATIENCE: Duration = Duration::from_secs(20);

/// What a walk came by.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    pub(super) problems: Vec<PathBuf>,
}

impl Findings for Seen {
    fn file(&mut self, file: FoundFile) -> Result<(), Stopped> {
        self.files.push(file.path);
        Ok(())
    }

    fn folder(&mut self, _: &OwnedFd, folder: &Folder) {
        self.folders.push(folder.path.to_path_buf());
    }

    fn link(&mut self, _: &Folder, _: &OsStr, _: &[(OwnedFd, OsString)]) {}

    fn problem(&mut self, path: &Path, _: &NotFollowed) {
        self.problems.push(path.to_owned());
    }

    fn between(&mut self) -> Result<(), Stopped> {
        Ok(())
    }
}

pub(super) struct Case {
    _folder: tempfile::TempDir,
    pub(super) root: PathBuf,
}

impl Case {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        Self { _folder: folder, root }
    }

    pub(super) fn write(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "a line\n").unwrap();
        path
    }

    fn patterns(&self, globs: &[&str]) -> Vec<Pattern> {
        let globs: Vec<String> = globs.iter().map(|glob| format!("{}/{glob}", self.root.display())).collect();
        patterns(&globs, |problem| panic!("{problem}"))
    }

    pub(super) fn globs(&self, include: &[&str], exclude: &[&str]) -> Globs {
        Globs { include: self.patterns(include), exclude: self.patterns(exclude) }
    }

    fn walk(&self, include: &[&str], exclude: &[&str]) -> Seen {
        let globs = self.globs(include, exclude);
        let routes = Routes::new(&globs.include, &globs.exclude);
        let mut seen = Seen::default();
        Walk::new(&routes, &Progress::default(), &HashSet::new()).all(&mut seen).unwrap();
        seen
    }

    /// The files that a walk finds, without the root, sorted.
    fn found(&self, include: &[&str], exclude: &[&str]) -> Vec<String> {
        let mut names: Vec<String> =
            self.walk(include, exclude).files.iter().map(|path| self.short(path)).collect();
        names.sort();
        names
    }

    fn short(&self, path: &Path) -> String {
        names::display(path.strip_prefix(&self.root).unwrap())
    }

    fn discover(&self, include: &[&str], deadline: Duration) -> Watching<'_> {
        let config = FilesConfig {
            globs: self.globs(include, &[]),
            start_at: StartAt::Beginning,
            max_line_bytes: 1000,
            // Only events can be quicker.
            rescan_interval: Duration::from_secs(3600),
            identity: FileIdentity::Auto,
            unfinished_line: None,
            close_after: Duration::from_secs(1),
        };
        let waker = Waker::new().unwrap();
        let part = Watchdog::default().part("discover", Duration::MAX);
        let stop = Arc::<AtomicBool>::default();
        let discovery =
            Discovery::with_deadline(&config, waker, Arc::default(), &part, Arc::clone(&stop), deadline)
                .unwrap();
        Watching { case: self, discovery, stop, files: Vec::new(), walks: 0 }
    }
}

/// A discovery, and what it told of.
struct Watching<'a> {
    case: &'a Case,
    discovery: Discovery,
    stop: Arc<AtomicBool>,
    files: Vec<String>,
    walks: usize,
}

impl Watching<'_> {
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < until, "{what} did not come; {:?}", self.files);
            self.discovery.oversee().unwrap();
            match self.discovery.news() {
                Some(News::Files(files)) => {
                    self.files.extend(files.iter().map(|file| self.case.short(&file.path)));
                }
                Some(News::Walked { .. }) => self.walks += 1,
                Some(News::Located(_)) => {}
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn until_found(&mut self, name: &str) {
        self.until(name, |watching| watching.files.iter().any(|found| found == name));
    }

    fn until_walked(&mut self) {
        self.until("the first walk", |watching| watching.walks > 0);
        self.files.clear();
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Only root can give files to others.
#[expect(clippy::print_stdout, reason = "skipped tests are counted by what they print")]
fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("SKIPPED {test}: needs root");
    }
    is_root
}

#[test]
fn two_stars_go_through_directories_and_one_does_not() {
    let case = Case::new();
    for name in ["x.log", "a/y.log", "a/b/z.log", "a/b/z.log.gz", "a/no.txt", ".hidden.log", ".git/w.log"] {
        case.write(name);
    }
    assert_eq!(case.found(&["**/*.log"], &[]), ["a/b/z.log", "a/y.log", "x.log"]);
    assert_eq!(case.found(&["*.log", "x.*"], &[]), ["x.log"]);
    assert_eq!(case.found(&["**"], &["a/b/*", "**/*.txt"]), ["a/y.log", "x.log"]);
    assert_eq!(case.found(&[".*.log", ".git/**"], &[]), [".git/w.log", ".hidden.log"]);
}

#[test]
fn a_name_that_is_no_utf8_is_found_beside_others() {
    let case = Case::new();
    case.write("a.txt");
    case.write(OsStr::from_bytes(b"caf\xe9.txt"));
    case.write(OsStr::from_bytes(b"caf\xe8.txt"));
    case.write(OsStr::from_bytes(b"odd\xff/b.txt"));
    assert_eq!(case.found(&["**/*.txt"], &[]), ["a.txt", "caf\\xE8.txt", "caf\\xE9.txt", "odd\\xFF/b.txt"]);
    assert_eq!(case.found(&["a*.log"], &[]), Vec::<String>::new());
}

#[test]
fn braces_and_literal_brackets_are_found() {
    let case = Case::new();
    for name in ["site1.log", "site2.log", "site3.log", "app[1].txt", "deep/{x}/a.log"] {
        case.write(name);
    }
    assert_eq!(case.found(&["{site1,site2}.log"], &[]), ["site1.log", "site2.log"]);
    assert_eq!(case.found(&["app[1].txt"], &[]), ["app[1].txt"]);
    assert_eq!(case.found(&["deep/{x}/*.log"], &[]), ["deep/{x}/a.log"]);
    assert_eq!(case.found(&["*.txt"], &["app[1].txt"]), Vec::<String>::new());
}

#[test]
fn links_that_lead_back_end_and_the_shortest_path_is_the_name() {
    let case = Case::new();
    case.write("zz.log");
    case.write("sub/yy.log");
    for name in ["current", "latest", "sub/up", "sub/again"] {
        symlink(&case.root, case.root.join(name)).unwrap();
    }
    assert_eq!(case.found(&["**/*.log"], &[]), ["sub/yy.log", "zz.log"]);
    assert_eq!(case.found(&["*/*/*/*.log"], &[]).len(), 2, "also where no name is short");
}

#[test]
fn trees_that_are_excluded_or_that_no_pattern_leads_into_are_not_entered() {
    let case = Case::new();
    for name in ["big/a/b/x.log", "other/c/x.log", "app/x.log", "node_modules/d/x.log"] {
        case.write(name);
    }
    let entered = |include: &[&str], exclude: &[&str]| {
        let seen = case.walk(include, exclude);
        let below = seen.folders.iter().filter(|path| path.starts_with(&case.root) && **path != case.root);
        let mut below: Vec<String> = below.map(|path| case.short(path)).collect();
        below.sort();
        below
    };
    assert_eq!(
        entered(&["**/*.log"], &["big/**", "other/**/*", "**/node_modules"]),
        ["app"],
        "however the exclusion is written"
    );
    assert_eq!(entered(&["a*/*.log"], &[]), ["app"]);
    assert_eq!(case.walk(&["app/x.log"], &[]).files, [case.root.join("app/x.log")]);
}

#[test]
fn a_planted_link_to_a_secret_is_reported_and_not_read() {
    if !is_root("a_planted_link_to_a_secret_is_reported_and_not_read") {
        return;
    }
    let case = Case::new();
    let secret = case.write("private/shadow");
    mode(&secret, 0o600);
    let logs = case.root.join("logs");
    fs::create_dir(&logs).unwrap();
    mode(&logs, 0o777);
    symlink(&secret, logs.join("soft.log")).unwrap();
    lchown(logs.join("soft.log"), Some(4242), Some(4242)).unwrap();
    symlink(case.root.join("private"), logs.join("folder")).unwrap();
    lchown(logs.join("folder"), Some(4242), Some(4242)).unwrap();
    fs::hard_link(&secret, logs.join("hard.log")).unwrap();
    // By way of a link of root's that anybody may put something behind.
    symlink(logs.join("soft.log"), case.root.join("by-root.log")).unwrap();

    let seen = case.walk(&["logs/**", "by-root.log"], &[]);
    assert_eq!(seen.files, Vec::<PathBuf>::new());
    let mut problems: Vec<String> = seen.problems.iter().map(|path| case.short(path)).collect();
    problems.sort();
    assert_eq!(problems, ["by-root.log", "logs/folder", "logs/hard.log", "logs/soft.log"]);
}

#[test]
fn links_of_root_and_links_to_ones_own_files_are_followed() {
    if !is_root("links_of_root_and_links_to_ones_own_files_are_followed") {
        return;
    }
    let case = Case::new();
    let pods = case.write("pods/one/0.log");
    let own = case.write("app/app-1.log");
    let app = case.root.join("app");
    chown(&app, Some(4242), Some(4242)).unwrap();
    chown(&own, Some(4242), Some(4242)).unwrap();
    mode(&own, 0o600);
    symlink("app-1.log", app.join("current.log")).unwrap();
    lchown(app.join("current.log"), Some(4242), Some(4242)).unwrap();
    fs::hard_link(&own, app.join("same.log")).unwrap();
    fs::create_dir(case.root.join("containers")).unwrap();
    symlink(&pods, case.root.join("containers/one.log")).unwrap();

    assert_eq!(
        case.found(&["containers/*.log", "app/current.log"], &[]),
        ["app/current.log", "containers/one.log"]
    );
    assert_eq!(case.found(&["app/same.log"], &[]), ["app/same.log"]);
}

#[test]
fn a_pattern_that_matches_nothing_is_named_with_a_reason() {
    let case = Case::new();
    case.write("a.log");
    case.write(".b.txt");
    let lines = case.globs(&["*.log", "*.txt", "missing/c.log", ""], &[]).check();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("*.txt") && lines[0].contains("hidden"), "{lines:?}");
    assert!(lines[1].contains("missing/c.log"), "{lines:?}");
    assert!(lines[2].contains("is a directory"), "{lines:?}");
}

#[test]
fn a_folder_that_was_removed_or_renamed_and_made_anew_is_followed_at_once() {
    let case = Case::new();
    case.write("app/deep/a.log");
    let mut watching = case.discover(&["app/**/*.log"], DEADLINE);
    watching.until_walked();

    fs::remove_dir_all(case.root.join("app")).unwrap();
    case.write("app/deep/b.log");
    watching.until_found("app/deep/b.log");
    case.write("app/deep/c.log");
    watching.until_found("app/deep/c.log");

    fs::rename(case.root.join("app"), case.root.join("old")).unwrap();
    case.write("app/deep/d.log");
    watching.until_found("app/deep/d.log");
    case.write("app/deep/e.log");
    watching.until_found("app/deep/e.log");
}

#[test]
fn what_comes_behind_a_link_is_found_at_once() {
    let case = Case::new();
    let target = case.write("data/one/0.log");
    fs::create_dir(case.root.join("links")).unwrap();
    symlink(&target, case.root.join("links/one.log")).unwrap();
    symlink(case.root.join("data/two/0.log"), case.root.join("links/two.log")).unwrap();
    fs::create_dir(case.root.join("data/two")).unwrap();
    let mut watching = case.discover(&["links/*.log"], DEADLINE);
    watching.until_walked();

    fs::rename(&target, target.with_extension("log.1")).unwrap();
    case.write("data/one/0.log");
    watching.until_found("links/one.log");
    case.write("data/two/0.log");
    watching.until_found("links/two.log");
}

#[test]
fn a_path_that_does_not_answer_keeps_nobody_waiting_and_is_read_when_it_does() {
    let case = Case::new();
    case.write("mount/a.log");
    case.write("zz/b.log");
    let mount = case.root.join("mount");
    HELD_UP.lock().unwrap().push(mount.clone());
    let mut watching = case.discover(&["*/*.log"], Duration::from_millis(50));
    watching.until_found("zz/b.log");
    assert_eq!(watching.discovery.hung.len(), 1);
    assert_eq!(watching.discovery.counters.folders_hung.get(), 1);

    HELD_UP.lock().unwrap().retain(|held| *held != mount);
    watching.until_found("mount/a.log");
    watching.until("nothing hangs", |watching| watching.discovery.counters.folders_hung.get() == 0);
}

#[test]
fn a_thread_that_ended_is_started_again_and_finds_what_came_meanwhile() {
    let case = Case::new();
    case.write("a.log");
    let mut watching = case.discover(&["*.log"], DEADLINE);
    watching.until_walked();
    watching.discovery.worker.stop();
    let until = Instant::now() + PATIENCE;
    while watching.discovery.worker.running.ended().is_none() {
        assert!(Instant::now() < until, "it goes on");
        thread::sleep(Duration::from_millis(2));
    }
    case.write("b.log");
    watching.until_found("b.log");
}

#[test]
fn files_that_are_searched_for_are_found_in_their_directory_and_in_those_in_it() {
    let case = Case::new();
    let aside = case.root.join("old");
    fs::create_dir(&aside).unwrap();
    let wanted: Vec<Wanted> = (0..100)
        .map(|n| {
            let path = case.write(format!("{n}.log"));
            let key = About::of_path(&path).unwrap().identity.key();
            match n % 4 {
                0 => fs::rename(&path, path.with_extension("old")).unwrap(),
                1 => fs::remove_file(&path).unwrap(),
                2 => fs::rename(&path, aside.join(format!("{n}.log.1"))).unwrap(),
                _ => {}
            }
            Wanted { key, path, target: None }
        })
        .collect();
    let found = search::search(wanted.clone(), &HashSet::new(), &Progress::default());
    for (n, wanted) in wanted.iter().enumerate() {
        let place = &found.iter().find(|(key, _)| *key == wanted.key).unwrap().1;
        let expected = match n % 4 {
            0 => Found::At(wanted.path.with_extension("old")),
            1 => Found::Gone,
            2 => Found::At(aside.join(format!("{n}.log.1"))),
            _ => Found::Unknown,
        };
        assert_eq!(*place, expected, "{n}");
    }
}

#[test]
fn the_thread_that_finds_files_ends_when_a_reader_that_hangs_is_given_up() {
    let case = Case::new();
    fs::write(case.root.join("a.log"), "").unwrap();
    let mut watching = case.discover(&["*.log"], PATIENCE);
    // Nobody takes what it finds, and there is no room for more.
    while watching.discovery.to_reader.try_send((0, News::Walked { left_out: Vec::new() })).is_ok() {}
    watching.stop.store(true, Ordering::Relaxed);
    let until = Instant::now() + PATIENCE;
    while watching.discovery.worker.running.ended().is_none() {
        assert!(Instant::now() < until, "it goes on");
        thread::sleep(Duration::from_millis(2));
    }
}
