//! The thread that finds, reads and follows files.

mod turns;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lapwing::v1::{FilePosition, SourcePosition, source_position::Position};
use lapwing_service::clock::now;
use tokio::sync::mpsc::Sender;

use super::{
    FilesConfig, PACE, StartAt,
    file::{Bounds, Events, Step, TailedFile},
    identity::{About, Identity},
    watch::{Waker, Watch},
};
use crate::{
    counters::Counters,
    input::{Input, LineRun},
};

/// A file that did not grow for this long is watched instead of polled.
const HOT: Duration = Duration::from_secs(2);
/// A scan may take one part in this many of the time: with very many files they get rarer.
const SCAN_SHARE: u32 = 200;
/// Time between two scans while files wait for a descriptor.
const TURNS: Duration = Duration::from_millis(250);
/// Shortest time between two scans, however many names change.
const SCAN_PAUSE: Duration = Duration::from_millis(50);

/// A turn is handed on when it has so many bytes ...
const TURN_BYTES: usize = 512 << 10;
/// ... or so many inputs.
const TURN_INPUTS: usize = 256;

/// Stops the tailer and gives its thread back.
#[derive(Debug)]
pub struct Tailer {
    stop: Arc<AtomicBool>,
    waker: Waker,
}

impl Tailer {
    /// Starts reading. `held` is what the collector holds of this agent's sources; at the `first_start` it never knew the agent. What is read goes to `out`, which closes
    /// when the tailer was stopped.
    ///
    /// # Errors
    /// When the system has no inotify instance or thread left.
    pub fn start(
        config: FilesConfig,
        max_rows: u32,
        held: Vec<SourcePosition>,
        first_start: bool,
        counters: Arc<Counters>,
        out: Sender<Vec<Input>>,
    ) -> io::Result<Self> {
        let watch = Watch::new().map_err(|error| {
            let hint = "raise fs.inotify.max_user_instances, or the limit of open files";
            io::Error::new(error.kind(), format!("inotify: {error}; {hint}"))
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let tailer = Self { stop: Arc::clone(&stop), waker: watch.waker() };
        let bounds = Bounds { max_line: config.max_line_bytes, max_rows: max_rows.max(1) };
        let held = held.into_iter().filter_map(Held::new).map(|held| (held.key.clone(), held)).collect();
        let run = Run {
            config,
            bounds,
            first_start,
            held,
            watch,
            files: BTreeMap::new(),
            hot: Vec::new(),
            unwatched: HashSet::new(),
            max_files: turns::max_files(),
            resting: HashSet::new(),
            told_of_turns: false,
            complained: HashSet::new(),
            next_scan: Instant::now(),
            counters,
            turn: Vec::new(),
            turn_bytes: 0,
            turn_rows: 0,
            out,
            stop,
        };
        thread::Builder::new().name("tail".to_owned()).spawn(move || run.run())?;
        Ok(tailer)
    }

    /// Stops reading. What is read already still goes its way.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

impl Drop for Tailer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the collector holds of a file.
#[derive(Debug)]
struct Held {
    key: String,
    path: PathBuf,
    position: FilePosition,
    events: Events,
}

impl Held {
    fn new(position: SourcePosition) -> Option<Self> {
        let events = Events { read: position.events_read, truncated: position.events_truncated };
        let (key, path) = (position.source, position.display_name.into());
        match position.position {
            Some(Position::File(position)) => Some(Self { key, path, position, events }),
            _ => None,
        }
    }
}

/// The receiver is gone: nobody wants what is read.
struct Closed;

struct Run {
    config: FilesConfig,
    bounds: Bounds,
    /// The collector never knew this agent.
    first_start: bool,
    held: HashMap<String, Held>,
    watch: Watch,
    files: BTreeMap<String, TailedFile>,
    /// Files that grew lately.
    hot: Vec<String>,
    /// Idle files that could not be watched: each scan looks at them.
    unwatched: HashSet<String>,
    /// Most files held open.
    max_files: usize,
    /// That there are too few descriptors was told.
    told_of_turns: bool,
    /// Files that gave their descriptors to others.
    resting: HashSet<String>,
    /// Paths whose failure was told.
    complained: HashSet<PathBuf>,
    next_scan: Instant,
    counters: Arc<Counters>,
    /// What this turn has read.
    turn: Vec<Input>,
    turn_bytes: usize,
    turn_rows: u32,
    out: Sender<Vec<Input>>,
    stop: Arc<AtomicBool>,
}

impl Run {
    fn run(mut self) {
        if self.first_scan().is_err() {
            return;
        }
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(busy) = self.read_hot() else { return };
            if self.next_scan <= Instant::now() && self.scan().is_err() {
                return;
            }
            if self.end_turn().is_err() {
                return;
            }
            if !busy && let Err(error) = self.wait() {
                tracing::error!("waiting for files: {error}; polling");
                thread::sleep(Duration::from_secs(1));
            }
        }
    }

    /// One turn for each file that grows: a chunk each, so that a large backlog does not starve a small file.
    fn read_hot(&mut self) -> Result<bool, Closed> {
        let mut busy = false;
        for key in std::mem::take(&mut self.hot) {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(true);
            }
            let Some(file) = self.files.get_mut(&key) else { continue };
            match file.step(self.bounds) {
                Ok(Step::Idle) if file.grew.elapsed() > HOT => {
                    self.cool(key);
                    continue;
                }
                Ok(Step::Idle) => {}
                Ok(step) => {
                    // What is written while this turn is handed on waits for the next one: a shipment each would cost more than it is worth.
                    busy |= !matches!(step, Step::Lines { more: false, .. });
                    self.take(&key, step)?;
                }
                Err(error) => {
                    self.complain(&key, &error);
                    self.unwatched.insert(key);
                    continue;
                }
            }
            self.hot.push(key);
        }
        Ok(busy)
    }

    fn take(&mut self, key: &str, step: Step) -> Result<(), Closed> {
        let Some(file) = self.files.get(key) else { return Ok(()) };
        match step {
            Step::Truncated => {
                self.counters.files_truncated.add(1);
                tracing::info!("{}: was truncated, reading it from its beginning", file.path().display());
                Ok(())
            }
            Step::Lines { data, rows, truncated, .. } => {
                self.counters.lines_read.add(u64::from(rows));
                self.counters.bytes_read.add(data.len() as u64);
                self.counters.lines_truncated.add(u64::from(truncated));
                let (source, position) = (file.source(), file.position(false));
                let run = LineRun { source, rows, data, observed_time: now(), truncated, position };
                self.send(Input::Lines(run))
            }
            Step::Searching | Step::Idle => Ok(()),
        }
    }

    /// Adds to the turn, and hands it on when it is large.
    fn send(&mut self, input: Input) -> Result<(), Closed> {
        if let Input::Lines(run) = &input {
            if self.turn_rows + run.rows > self.bounds.max_rows {
                self.end_turn()?;
            }
            self.turn_bytes += run.data.len();
            self.turn_rows += run.rows;
        }
        self.turn.push(input);
        if self.turn_bytes >= TURN_BYTES || self.turn.len() >= TURN_INPUTS { self.end_turn() } else { Ok(()) }
    }

    /// Hands on what was read together: it wakes the pipeline once, and leaves in one batch.
    fn end_turn(&mut self) -> Result<(), Closed> {
        if self.turn.is_empty() {
            return Ok(());
        }
        (self.turn_bytes, self.turn_rows) = (0, 0);
        self.out.blocking_send(std::mem::take(&mut self.turn)).map_err(|_| Closed)
    }

    /// From polling to watching.
    fn cool(&mut self, key: String) {
        let Some(file) = self.files.get(&key) else { return };
        if let Err(error) = self.watch.arm(file) {
            if self.unwatched.is_empty() {
                let hint =
                    "raise fs.inotify.max_user_watches; until then new lines of idle files are seen later";
                tracing::warn!("{}: can't be watched: {error}; {hint}", file.path().display());
            }
            self.unwatched.insert(key);
            return;
        }
        // What came between the last look and the watch makes no event.
        if file.has_more() {
            self.heat(key);
        }
    }

    /// From watching to polling.
    fn heat(&mut self, key: String) {
        let Some(file) = self.files.get_mut(&key) else { return };
        file.grew = Instant::now();
        if !self.hot.contains(&key) {
            self.hot.push(key);
        }
    }

    /// Waits until something is to be read or scanned.
    fn wait(&mut self) -> io::Result<()> {
        let until_scan = self.next_scan.saturating_duration_since(Instant::now());
        let woken = if self.hot.is_empty() {
            self.watch.wait(until_scan)?
        } else {
            self.watch.pause(PACE.min(until_scan))?;
            self.watch.read()?
        };
        for key in woken.files {
            self.heat(key);
        }
        if woken.names_changed {
            self.next_scan = self.next_scan.min(Instant::now() + SCAN_PAUSE);
        }
        Ok(())
    }

    /// The first scan also looks for files that were rotated away while the agent was not there.
    fn first_scan(&mut self) -> Result<(), Closed> {
        self.scan()?;
        self.first_start = false;
        let wanted = |held: &&Held| self.config.globs.matches(&held.path);
        let rest: Vec<(String, Found)> = self
            .held
            .values()
            .filter(wanted)
            .map(|held| (held.key.clone(), find_in_directory(held)))
            .collect();
        for (key, found) in rest {
            match found {
                Found::At(path) => self.open(&key, &path, true)?,
                Found::Gone => self.forget(&key)?,
                Found::Unknown => {}
            }
        }
        Ok(())
    }

    /// A file that is gone has nothing to be read again.
    fn forget(&mut self, key: &str) -> Result<(), Closed> {
        let Some(held) = self.held.remove(key) else { return Ok(()) };
        tracing::info!("{}: is gone; what was not read of it is lost", held.path.display());
        self.send(Input::Position(SourcePosition {
            source: held.key,
            display_name: held.path.to_string_lossy().into_owned(),
            closed: true,
            position: Some(Position::File(held.position)),
            events_read: held.events.read,
            events_truncated: held.events.truncated,
            ..SourcePosition::default()
        }))
    }

    fn scan(&mut self) -> Result<(), Closed> {
        let started = Instant::now();
        let mut present = HashSet::new();
        let mut waiting = Vec::new();
        let mut directories: HashSet<PathBuf> = self.config.globs.roots().into_iter().collect();
        for path in self.config.globs.scan() {
            directories.extend(path.parent().map(Path::to_owned));
            let Ok(about) = About::of_path(&path) else { continue };
            if !about.is_regular {
                continue;
            }
            let key = about.identity.key();
            match self.files.get(&key) {
                // No event may have come: the queue overflowed, or another machine wrote to it.
                Some(file) if file.searched() != about.size => self.heat(key.clone()),
                Some(_) => {}
                None if self.files.len() < self.max_files => self.open(&key, &path, false)?,
                None if self.held.get(&key).is_some_and(|held| held.position.offset == about.size) => {}
                None => waiting.push((key.clone(), path)),
            }
            present.insert(key);
        }
        for directory in directories {
            if let Err(error) = self.watch.directory(&directory) {
                tracing::debug!("{}: can't be watched: {error}", directory.display());
            }
        }
        self.look_at_unwatched();
        self.close_gone(&present)?;
        self.find_resting(&present)?;
        let take_turns = !waiting.is_empty();
        self.take_turns(waiting)?;
        self.counters.files_open.set(self.files.len() as u64);
        let pause = if take_turns { TURNS } else { self.config.rescan_interval };
        self.next_scan = Instant::now() + pause.max(started.elapsed() * SCAN_SHARE);
        Ok(())
    }

    /// Opens the file `key` at `path`; what the collector holds of it stays known until it is open.
    fn open(&mut self, key: &str, path: &Path, gone: bool) -> Result<(), Closed> {
        let held = self.held.get(key);
        // A file that was rotated away keeps the name it is known by.
        let name = held.filter(|_| gone).map_or(path, |held| &held.path);
        let opened = TailedFile::open(path, name).and_then(|file| {
            let Some(mut file) = file else { return Ok(None) };
            if file.key() != key {
                // Another file has the name by now: the next scan takes it.
                return Ok(None);
            }
            self.place(&mut file, held)?;
            Ok(Some(file))
        });
        let is_new = held.is_none();
        let mut file = match opened {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                self.counters.file_errors.add(1);
                if self.complained.insert(path.to_owned()) {
                    tracing::warn!("{}: can't be opened: {error}", path.display());
                }
                return Ok(());
            }
        };
        self.complained.remove(path);
        file.gone_since = gone.then(Instant::now);
        self.held.remove(key);
        if is_new {
            // From here on a restart knows where this file began to be read.
            self.send(Input::Position(file.position(false)))?;
        }
        self.hot.push(key.to_owned());
        self.files.insert(key.to_owned(), file);
        Ok(())
    }

    /// Where reading begins.
    fn place(&self, file: &mut TailedFile, held: Option<&Held>) -> io::Result<()> {
        match held {
            Some(held) => {
                if !file.resume(&held.position, held.events)? {
                    self.counters.files_truncated.add(1);
                    tracing::info!(
                        "{}: has other content than before, reading it from its beginning",
                        file.path().display()
                    );
                }
                Ok(())
            }
            None if self.first_start && self.config.start_at == StartAt::End => file.skip_to_end(),
            None => Ok(()),
        }
    }

    fn look_at_unwatched(&mut self) {
        for key in std::mem::take(&mut self.unwatched) {
            if self.files.get(&key).is_some_and(TailedFile::has_more) {
                self.heat(key);
            } else if self.files.contains_key(&key) {
                self.cool(key);
            }
        }
    }

    /// Files that no glob leads to any more are followed until they are quiet, then closed and forgotten.
    fn close_gone(&mut self, present: &HashSet<String>) -> Result<(), Closed> {
        let mut quiet = Vec::new();
        for (key, file) in &mut self.files {
            if present.contains(key) || file.may_still_have_its_name() {
                file.gone_since = None;
                continue;
            }
            let since = *file.gone_since.get_or_insert_with(Instant::now);
            let limit = self.config.close_after;
            if since.elapsed() >= limit && file.grew.elapsed() >= limit && !file.has_more() {
                quiet.push(key.clone());
            }
        }
        for key in quiet {
            self.close(&key)?;
        }
        Ok(())
    }

    fn close(&mut self, key: &str) -> Result<(), Closed> {
        self.hot.retain(|hot| hot != key);
        self.unwatched.remove(key);
        let Some(file) = self.files.get_mut(key) else { return Ok(()) };
        match file.unfinished_line(self.bounds) {
            Ok(Some(step)) => self.take(key, step)?,
            Ok(None) => {}
            Err(error) => self.complain(key, &error),
        }
        let Some(file) = self.files.remove(key) else { return Ok(()) };
        tracing::debug!("{}: closed (deleted: {})", file.path().display(), file.is_unlinked());
        if !file.is_unlinked() {
            // Should it get its name back, it goes on from here; the collector forgets it, and its counts begin anew.
            let held = Held::new(file.position(false)).map(|held| Held { events: Events::default(), ..held });
            self.held.extend(held.map(|held| (held.key.clone(), held)));
        }
        self.send(Input::Position(file.position(true)))
    }

    fn complain(&self, key: &str, error: &io::Error) {
        self.counters.file_errors.add(1);
        let path = self.files.get(key).map(|file| file.path().display().to_string()).unwrap_or_default();
        tracing::warn!("{path}: can't be read: {error}; trying again at the next scan");
    }
}

enum Found {
    At(PathBuf),
    /// The directory is there, and the file is not in it.
    Gone,
    /// The directory is not there: perhaps it is not mounted.
    Unknown,
}

/// Looks for a file beside its old name. One that still has it is left alone: the globs decide.
fn find_in_directory(held: &Held) -> Found {
    let wanted = Identity::of_position(&held.position).key();
    let Some(entries) = held.path.parent().and_then(|directory| std::fs::read_dir(directory).ok()) else {
        return Found::Unknown;
    };
    let mut paths = entries.flatten().map(|entry| entry.path());
    let same = |path: &PathBuf| About::of_path(path).is_ok_and(|about| about.identity.key() == wanted);
    match paths.find(same) {
        Some(path) if path == held.path => Found::Unknown,
        Some(path) => Found::At(path),
        None => Found::Gone,
    }
}
