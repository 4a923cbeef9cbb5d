//! A thread or task, and its heart.

use std::{
    any::Any,
    borrow::Cow,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::sync::{Notify, oneshot, watch};

use super::{MAX_HANGING, PATIENCE, SOUND, lock, plant};

/// What the process ends for.
pub(super) type Fatal = Arc<watch::Sender<Option<String>>>;

/// Why a part does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It returned, though nobody told it to.
    Ended,
    /// It panicked with these words.
    Panicked(String),
    /// It was at work and gave no sign of life for this long.
    Hangs(Duration),
    /// It says itself what is wrong.
    Failed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("ended without being told to"),
            Self::Panicked(words) => write!(f, "panicked: {words}"),
            Self::Hangs(silent) => write!(f, "hangs: no sign of life for {} s", silent.as_secs()),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl Fault {
    /// What a caught panic said.
    pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        Self::Panicked(words.unwrap_or("without a word").to_owned())
    }
}

/// What the watchdog knows of a part.
#[derive(Debug)]
pub(super) struct State {
    pub(super) name: Cow<'static, str>,
    bound: Duration,
    /// Where a part that can't be started again says that the process must end.
    vital: Option<Fatal>,
    seen: Mutex<Seen>,
    hangs: Notify,
    /// Threads that were started for it and have not ended.
    threads: AtomicUsize,
    /// The fault that a test wants next.
    pub(super) planted: AtomicU8,
}

#[derive(Debug, Default)]
struct Seen {
    /// The heart of what was started last.
    pulse: Arc<AtomicU64>,
    last: u64,
    /// For how long the pulse has not changed while it was at work.
    silent: Duration,
    /// What went wrong last, until what was started in its place has run for a while.
    fault: Option<Fault>,
    /// For how long what was started in its place has run.
    sound: Option<Duration>,
    starts: u64,
}

impl State {
    pub(super) fn new(name: Cow<'static, str>, bound: Duration, vital: Option<Fatal>) -> Self {
        Self {
            name,
            bound,
            vital,
            seen: Mutex::default(),
            hangs: Notify::new(),
            threads: AtomicUsize::new(0),
            planted: AtomicU8::new(0),
        }
    }

    /// Counts `passed` as silence when there was no beat.
    pub(super) fn look(&self, passed: Duration) {
        let mut seen = lock(&self.seen);
        let pulse = seen.pulse.load(Relaxed);
        let silent = pulse & AT_WORK != 0 && pulse == seen.last;
        seen.last = pulse;
        seen.silent = if silent { seen.silent + passed } else { Duration::ZERO };

        if seen.silent >= self.bound {
            if !matches!(seen.fault, Some(Fault::Hangs(_))) {
                tracing::error!("{}: {}", self.name, Fault::Hangs(seen.silent));
            }
            seen.fault = Some(Fault::Hangs(seen.silent));
            seen.sound = Some(Duration::ZERO);
            self.hangs.notify_one();
            self.end_process_after(&seen);
        } else if let Some(sound) = seen.sound {
            let sound = sound + passed;
            seen.sound = Some(sound);
            if sound > SOUND {
                tracing::info!("{}: runs again", self.name);
                seen.fault = None;
                seen.sound = None;
            }
        }
    }

    fn end_process_after(&self, seen: &Seen) {
        if let Some(fatal) = &self.vital
            && seen.silent >= self.bound * PATIENCE
        {
            end(fatal, &self.name, &Fault::Hangs(seen.silent));
        }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.seen).fault.as_ref().map(|fault| format!("{}: {fault}", self.name))
    }

    pub(super) fn restarts(&self) -> u64 {
        lock(&self.seen).starts.saturating_sub(1)
    }

    fn fail(&self, fault: &Fault) {
        let mut seen = lock(&self.seen);
        if seen.fault.as_ref() != Some(fault) {
            tracing::error!("{}: {fault}", self.name);
        }
        seen.fault = Some(fault.clone());
        seen.sound = None;
        if let Some(fatal) = &self.vital {
            end(fatal, &self.name, fault);
        }
    }
}

fn end(fatal: &Fatal, name: &str, fault: &Fault) {
    fatal.send_if_modified(|reason| {
        let is_first = reason.is_none();
        reason.get_or_insert_with(|| {
            format!("{name}: {fault}; it can't be started again, so the process ends")
        });
        is_first
    });
}

/// Handle to a registered thread or task, for whoever starts it. Clones are the same part.
#[derive(Debug, Clone)]
pub struct Part {
    state: Arc<State>,
    fatal: Fatal,
}

impl Part {
    pub(super) fn new(state: Arc<State>, fatal: Fatal) -> Self {
        Self { state, fatal }
    }

    /// A heart for what is started now. What was started before counts no more.
    pub fn begin(&self) -> Beat {
        let mut seen = lock(&self.state.seen);
        seen.pulse = Arc::default();
        seen.last = 0;
        seen.silent = Duration::ZERO;
        seen.starts += 1;
        if seen.fault.is_some() {
            seen.sound = Some(Duration::ZERO);
        }
        Beat { pulse: Arc::clone(&seen.pulse), state: Arc::clone(&self.state) }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Reports what went wrong. It stands until a new start has run for [`SOUND`].
    pub fn fail(&self, fault: &Fault) {
        self.state.fail(fault);
    }

    /// Waits until it hangs.
    pub async fn hangs(&self) -> Fault {
        loop {
            if let Some(hangs) = self.hangs_now() {
                return hangs;
            }
            self.state.hangs.notified().await;
        }
    }

    fn hangs_now(&self) -> Option<Fault> {
        let silent = lock(&self.state.seen).silent;
        (silent >= self.state.bound).then_some(Fault::Hangs(silent))
    }

    /// Says that it can't be started again: the process must end.
    pub fn give_up(&self, fault: &Fault) {
        end(&self.fatal, &self.state.name, fault);
    }

    /// Whether so many of its threads hang that no other may be started. The process must end then, and is told so.
    pub fn is_used_up(&self) -> bool {
        let hanging = self.state.threads.load(Relaxed);
        let used_up = hanging > MAX_HANGING;
        if used_up {
            self.give_up(&Fault::Failed(format!("{hanging} threads of it hang")));
        }
        used_up
    }

    /// Runs `body` on a thread of the part's name. A panic in it is reported at once.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start_thread(&self, body: impl FnOnce(&Beat) + Send + 'static) -> io::Result<Running> {
        let beat = self.begin();
        let (ended, end) = oneshot::channel();
        self.state.threads.fetch_add(1, Relaxed);
        let alive = Alive(Arc::clone(&self.state));
        thread::Builder::new().name(self.state.name.to_string()).spawn(move || {
            let _alive = alive;
            let fault = match catch_unwind(AssertUnwindSafe(|| body(&beat))) {
                Ok(()) => Fault::Ended,
                Err(panic) => Fault::of_panic(&*panic),
            };
            beat.rest();
            let _ = ended.send(fault);
        })?;
        Ok(Running { part: self.clone(), end })
    }
}

/// A thread of a part.
#[derive(Debug)]
struct Alive(Arc<State>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.threads.fetch_sub(1, Relaxed);
    }
}

/// A thread that [`Part::start_thread`] has started.
#[derive(Debug)]
pub struct Running {
    part: Part,
    end: oneshot::Receiver<Fault>,
}

impl Running {
    /// Waits until the thread ends or hangs. Whoever has not told it to end reports the fault.
    pub async fn fault(&mut self) -> Fault {
        tokio::select! {
            ended = &mut self.end => ended.unwrap_or(Fault::Ended),
            hangs = self.part.hangs() => hangs,
        }
    }

    /// Whether the thread hangs at this moment, for whoever can't wait for that.
    pub fn hangs_now(&self) -> Option<Fault> {
        self.part.hangs_now()
    }

    /// How the thread has ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<Fault> {
        match self.end.try_recv() {
            Ok(fault) => Some(fault),
            Err(oneshot::error::TryRecvError::Empty) => None,
            // It was reported before.
            Err(oneshot::error::TryRecvError::Closed) => Some(Fault::Ended),
        }
    }

    /// The part that the thread is of.
    pub fn part(&self) -> &Part {
        &self.part
    }
}

/// The lowest bit of a pulse: whether the part is at work. The others count beats.
const AT_WORK: u64 = 1;
const BEAT: u64 = 2;

/// The heart of a thread or task that runs.
#[derive(Debug, Clone)]
pub struct Beat {
    pulse: Arc<AtomicU64>,
    state: Arc<State>,
}

impl Beat {
    /// Is at work from now on, and alive.
    pub fn work(&self) {
        self.pulse.fetch_or(AT_WORK, Relaxed);
        self.beat();
    }

    /// Is alive.
    pub fn beat(&self) {
        self.pulse.fetch_add(BEAT, Relaxed);
        plant::strike(self);
    }

    /// Waits from now on, for work or for others: that may take as long as it likes.
    pub fn rest(&self) {
        self.pulse.fetch_and(!AT_WORK, Relaxed);
    }

    /// Is at work until the guard is dropped.
    pub fn working(&self) -> Working<'_> {
        self.work();
        Working(self)
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }
}

/// A part is at work while this lives.
#[derive(Debug)]
pub struct Working<'a>(&'a Beat);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.rest();
    }
}
