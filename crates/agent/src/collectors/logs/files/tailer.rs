//! The thread that finds, reads and follows files.

mod held;
mod late;
mod open_files;
#[cfg(test)]
mod replaced_tests;
mod rest;
mod rotations;
mod scan;
mod succession;
#[cfg(test)]
mod tests;
mod turn;

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

use lapwing::v1::SourcePosition;
use lapwing_service::{
    clock::now,
    said::Said,
    watchdog::{Beat, Fault, Part, Running},
};
use tokio::sync::mpsc::Sender;

use self::{
    held::{ClosedFiles, FileHeld},
    late::LateFiles,
    open_files::{HOT, OpenFiles},
    turn::{Closed, Turn},
};
use super::{
    FilesConfig, PACE,
    discover::Discovery,
    file::{Bounds, Change, Step},
    keys::Keys,
    names,
    watch::{Waker, Watch},
};
use crate::{
    counters::Counters,
    input::{Input, LineRun},
};

/// Time between two lines that say the same of a file.
const AGAIN: Duration = Duration::from_secs(600);

/// What is reported of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Topic {
    Unopened,
    Unread,
    Truncated,
    Lost,
    Gone,
    Utf16,
    Late,
    /// Of no file, but of the system.
    Waiting,
    Unstarted,
}

/// Stops the tailer and gives its thread back.
#[derive(Debug)]
pub struct Tailer {
    stop: Arc<AtomicBool>,
    waker: Waker,
    running: Running,
}

impl Tailer {
    /// Starts reading. `held` is what the collector holds of this agent's sources; at the `first_start` it never knew the agent. What is read goes to `out`, which closes
    /// when the tailer was stopped. The threads are of two parts: the one that reads, and the one that finds files.
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
        (part, finding): (&Part, &Part),
    ) -> io::Result<Self> {
        let hint = |error: io::Error| {
            let hint = "raise fs.inotify.max_user_instances, or the limit of open files";
            io::Error::new(error.kind(), format!("inotify: {error}; {hint}"))
        };
        let watch = Watch::new().map_err(hint)?;
        let stop = Arc::new(AtomicBool::new(false));
        let discovery =
            Discovery::start(&config, watch.waker(), Arc::clone(&counters), finding, Arc::clone(&stop))
                .map_err(hint)?;
        let (stopped, waker) = (Arc::clone(&stop), watch.waker());
        let bounds = Bounds {
            max_line: config.max_line_bytes,
            max_rows: max_rows.max(1),
            unfinished: config.unfinished_line,
            identity: config.identity,
        };
        let held: HashMap<String, FileHeld> =
            held.into_iter().filter_map(FileHeld::new).map(|held| (held.key.clone(), held)).collect();
        let running = part.start_thread(move |beat| {
            let tail = TailLoop {
                config,
                bounds,
                first_start,
                closed: ClosedFiles::default(),
                late: LateFiles::default(),
                keys: Keys::new(
                    held.iter().map(|(key, held): (&String, &FileHeld)| (key.as_str(), held.path.as_path())),
                ),
                held,
                watch,
                discovery,
                present: HashSet::new(),
                waiting: BTreeMap::new(),
                searched: false,
                last_read: HashSet::new(),
                files: OpenFiles::new(),
                said: Said::new(AGAIN),
                next_look: Instant::now(),
                turn: Turn::new(bounds.max_rows, out, beat.clone()),
                counters,
                stop,
                beat: beat.clone(),
            };
            tail.run();
        })?;
        Ok(Self { stop: stopped, waker, running })
    }

    /// Waits until the thread ends or hangs.
    pub async fn fault(&mut self) -> Fault {
        self.running.fault().await
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

/// What the thread knows: what there is, what is open of it, when to look again, and what leaves.
struct TailLoop {
    config: FilesConfig,
    bounds: Bounds,
    /// The collector never knew this agent.
    first_start: bool,
    /// Files that are not open, and up to where the collector holds them.
    held: HashMap<String, FileHeld>,
    closed: ClosedFiles,
    late: LateFiles,
    /// What files are known by.
    keys: Keys,
    watch: Watch,
    discovery: Discovery,
    /// What the walk that goes on has found so far.
    present: HashSet<String>,
    /// Files for which there is no descriptor.
    waiting: BTreeMap<String, PathBuf>,
    /// Files that lost their names while the agent was away were searched for.
    searched: bool,
    /// Files that had their names when the run before ended, until they are found: others may have had these since.
    last_read: HashSet<String>,
    files: OpenFiles,
    /// What was reported of which file.
    said: Said<(Topic, PathBuf)>,
    next_look: Instant,
    turn: Turn,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    beat: Beat,
}

impl TailLoop {
    fn run(mut self) {
        self.beat.work();
        // The end of the wish to read is an end like any other.
        let _ = self.go();
    }

    fn go(&mut self) -> Result<(), Closed> {
        while !self.stop.load(Ordering::Relaxed) {
            let mut busy = self.read_hot()?;
            busy |= self.hear()?;
            if self.next_look <= Instant::now() {
                self.look_over()?;
            }
            self.turn.end()?;
            if !busy && let Err(error) = self.wait() {
                if let Some(left_out) = self.said.again(&(Topic::Waiting, PathBuf::new())) {
                    tracing::error!("waiting for files: {error}; polling{left_out}");
                }
                thread::sleep(Duration::from_secs(1));
            }
        }
        self.close_deleted()?;
        self.turn.end()
    }

    /// One turn for each file that grows: a chunk each, so that a large backlog does not starve a small file.
    fn read_hot(&mut self) -> Result<bool, Closed> {
        let mut busy = false;
        for key in std::mem::take(&mut self.files.hot) {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(true);
            }
            self.beat.beat();
            let is_decided = self.is_decided(&key)?;
            let Some(file) = self.files.open.get_mut(&key) else { continue };
            if !is_decided && file.grew.elapsed() > HOT && file.can_be_watched() {
                self.files.cool(key, &mut self.watch);
                continue;
            }
            if !is_decided {
                self.files.hot.insert(key);
                continue;
            }
            match file.step(self.bounds) {
                Ok(Step::Idle) if file.grew.elapsed() > HOT && file.can_be_watched() => {
                    self.files.cool(key, &mut self.watch);
                    continue;
                }
                Ok(Step::Idle) => {}
                Ok(step) => {
                    // What is written while this turn is handed on waits for the next one: a shipment each would cost more than it is worth.
                    busy |= !matches!(step, Step::Lines { more: false, .. } | Step::Unsupported);
                    self.take(&key, step)?;
                }
                Err(error) => {
                    self.cant_read(&key, &error);
                    self.files.unwatched.insert(key);
                    continue;
                }
            }
            self.files.hot.insert(key);
        }
        Ok(busy)
    }

    fn take(&mut self, key: &str, step: Step) -> Result<(), Closed> {
        let Some(file) = self.files.open.get(key) else { return Ok(()) };
        match step {
            Step::Changed(change) => {
                self.report(file.path(), change);
                Ok(())
            }
            Step::Unsupported => {
                self.counters.file_errors.add(1);
                if let Some(left_out) = self.said.again(&(Topic::Utf16, file.path().to_owned())) {
                    let path = names::display(file.path());
                    tracing::warn!("{path}: is UTF-16, which is not supported yet: it is not read{left_out}");
                }
                let position = file.position(false);
                self.turn.send(Input::Position(position))
            }
            Step::Moved => {
                let position = file.position(false);
                self.turn.send(Input::Position(position))
            }
            Step::Lines { data, rows, truncated, part, .. } => {
                self.counters.lines_read.add(u64::from(rows));
                self.counters.bytes_read.add(data.len() as u64);
                self.counters.lines_truncated.add(u64::from(truncated));
                let (source, position) = (file.source(), file.position(false));
                let observed_time = self.turn.reading(now(), rows);
                let run = LineRun { source, rows, data, observed_time, truncated, part, position };
                self.turn.send(Input::Lines(run))
            }
            Step::Searching | Step::Idle => Ok(()),
        }
    }

    /// Reports that what was read of a file is not what it was.
    fn report(&self, path: &Path, change: Change) {
        let again = |news| self.said.again(&(news, path.to_owned()));
        let path = names::display(path);
        match change {
            Change::InCopy => {
                self.counters.files_truncated.add(1);
                if let Some(left_out) = again(Topic::Truncated) {
                    tracing::info!(
                        "{path}: was truncated; what was not read of it is read from its copy first{left_out}"
                    );
                }
            }
            Change::Anew { lost: 0 } => {
                self.counters.files_truncated.add(1);
                if let Some(left_out) = again(Topic::Truncated) {
                    tracing::info!(
                        "{path}: was truncated or has other content, reading it from its beginning{left_out}"
                    );
                }
            }
            Change::Anew { lost } => {
                self.counters.files_truncated.add(1);
                self.counters.bytes_lost.add(lost);
                if let Some(left_out) = again(Topic::Lost) {
                    tracing::warn!(
                        "{path}: was truncated, and no copy of it is found: at least {lost} bytes were not read and are lost; \
                         reading it from its beginning{left_out}"
                    );
                }
            }
            Change::Overwritten => {
                self.counters.files_overwritten.add(1);
                tracing::debug!(
                    "{path}: was overwritten or cut, reading on where it is not the same any more"
                );
            }
        }
    }

    /// Waits until something is to be read or looked at.
    fn wait(&mut self) -> io::Result<()> {
        let until_look = self.next_look.saturating_duration_since(Instant::now());
        self.beat.rest();
        let woken = if self.files.hot.is_empty() {
            self.watch.wait(until_look)
        } else {
            self.watch.pause(PACE.min(until_look)).and_then(|()| self.watch.read())
        };
        self.beat.work();

        let woken = woken?;
        for key in woken.files {
            self.files.heat(key);
        }
        if woken.lost {
            self.files.heat_all();
        }
        Ok(())
    }
}
