//! A watchdog for the threads and tasks of a program: one that ends or hangs is reported, and started again where it can be.
//!
//! - Each thread or task that a program relies on is a [`Part`] with a name and a *bound*. Each time it is started it gets a [`Beat`].
//! - A part that **ended**, by a panic or because it returned, is known at once. One **hangs** when it is at work and gave no beat
//!   within its bound. Who waits for work rests, and can't hang.
//! - Time is what the watchdog saw pass itself, one look after the other. A machine that stands still, or a process that was stopped, stops
//!   the watchdog as well: no alarm comes of it.
//! - [`Watchdog::trouble`] names what is wrong. It stays wrong until what was started again has run for [`SOUND`].
//! - What can't be started again ends the process, in order if it can, and else by force: whoever supervises the process starts it anew.
//!
//! Builds with debug assertions can be told to panic or to hang (`plant`), so that tests can try each part of the real programs.

mod keep;
mod part;
mod plant;

use std::{
    borrow::Cow,
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::{sync::watch, time::sleep};

pub use self::{
    keep::{Pauses, keep, keep_thread, once},
    part::{Beat, Fault, Part, Running, Working},
};
use self::{part::State, plant::Plants};
use crate::metrics::Page;

/// How long what was started again must run before all is well.
pub const SOUND: Duration = Duration::from_secs(5);
/// Time between two looks, as the bounds count it.
const LOOK: Duration = Duration::from_secs(1);
/// Time between two beats of a runtime. Each wakes it up, also when there is nothing to do.
const RUNTIME_BEAT: Duration = Duration::from_secs(3);
/// A part that can't be started again and hangs ends the process after this many of its bounds.
const PATIENCE: u32 = 3;
/// How long the process has to end in order before it is ended by force.
const ORDER: Duration = Duration::from_secs(60);
/// Beats of a runtime without a look between them after which the program gives the watchdog up.
const BLIND: u32 = 10;
/// Threads of a part that may hang beside the one that was started in their place.
const MAX_HANGING: usize = 3;

/// Knows the parts of a program. Clones are the same watchdog.
#[derive(Debug, Clone, Default)]
pub struct Watchdog(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    states: Mutex<Vec<Arc<State>>>,
    probes: Mutex<Vec<Probe>>,
    /// Why the process must end.
    fatal: Arc<watch::Sender<Option<String>>>,
    /// What passed since there is such a reason.
    ending: Mutex<Duration>,
    plants: Plants,
    /// Looks so far.
    looks: AtomicU64,
}

/// What is wrong with a part that does not run here.
struct Probe {
    part: Part,
    trouble: Box<dyn Fn() -> Option<String> + Send>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.part).finish()
    }
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            states: Mutex::default(),
            probes: Mutex::default(),
            fatal: Arc::new(watch::Sender::new(None)),
            ending: Mutex::default(),
            plants: Plants::from_environment(),
            looks: AtomicU64::new(0),
        }
    }
}

impl Watchdog {
    /// Registers a thread or task, which is to beat once within `bound` while it is at work.
    pub fn part(&self, name: impl Into<Cow<'static, str>>, bound: Duration) -> Part {
        self.register(State::new(name.into(), bound, None))
    }

    /// Registers a thread or task that can't be started again: when it fails, or hangs for long, the process ends.
    pub fn vital_part(&self, name: impl Into<Cow<'static, str>>, bound: Duration) -> Part {
        self.register(State::new(name.into(), bound, Some(Arc::clone(&self.0.fatal))))
    }

    fn register(&self, state: State) -> Part {
        let state = Arc::new(state);
        lock(&self.0.states).push(Arc::clone(&state));
        Part::new(state, Arc::clone(&self.0.fatal))
    }

    /// Asks `of` at each look what is wrong with a part that runs elsewhere, for as long as others keep `of`. `trouble` must not block.
    pub fn ask<T: Send + Sync + 'static>(&self, part: Part, of: &Arc<T>, trouble: fn(&T) -> Option<String>) {
        let of = Arc::downgrade(of);
        let trouble = Box::new(move || of.upgrade().and_then(|of| trouble(&of)));
        lock(&self.0.probes).push(Probe { part, trouble });
    }

    /// Which parts are not well, and why; `None` when all are.
    pub fn trouble(&self) -> Option<String> {
        let troubles: Vec<String> = lock(&self.0.states).iter().filter_map(|state| state.trouble()).collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    /// Why the process must end, when a part says so that can't be started again.
    pub fn fatal(&self) -> Option<String> {
        self.0.fatal.borrow().clone()
    }

    /// Waits until the process must end.
    pub async fn ends(&self) -> String {
        let mut fatal = self.0.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The sender lives as long as this watchdog.
            Err(_) => std::future::pending().await,
        }
    }

    /// Starts a thread that looks at the parts, and runs what is to go on `beside` it whatever happens to the program's own runtime.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(&self, beside: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let watchdog = self.clone();
        let run = async move { tokio::join!(watchdog.run(), beside) };
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || runtime.block_on(run)).map(drop)
    }

    /// Looks at the parts, for ever.
    async fn run(&self) {
        let pause = self.0.plants.pause().unwrap_or(LOOK);
        loop {
            sleep(pause).await;
            self.look(LOOK);
        }
    }

    /// Beats for the runtime it runs on, `part`: when no task of it gets its turn, neither does this one. And looks whether the watchdog itself is alive.
    pub async fn watch_runtime(&self, part: Part) {
        let beat = part.begin();
        let pause = self.0.plants.pause().unwrap_or(RUNTIME_BEAT);
        let mut looks = 0;
        let mut silent = 0;
        loop {
            beat.work();
            sleep(pause).await;
            let now = self.0.looks.load(Relaxed);
            silent = if now == looks { silent + 1 } else { 0 };
            looks = now;
            if silent >= BLIND {
                part.give_up(&Fault::Failed("the watchdog is gone".to_owned()));
            }
        }
    }

    /// One look, which counts as `passed`.
    pub fn look(&self, passed: Duration) {
        self.0.looks.fetch_add(1, Relaxed);
        for probe in lock(&self.0.probes).iter() {
            if let Some(reason) = (probe.trouble)() {
                probe.part.fail(&Fault::Failed(reason));
            }
        }
        for state in lock(&self.0.states).iter() {
            self.0.plants.plant(state);
            state.look(passed);
        }
        if let Some(reason) = self.fatal() {
            let mut ending = lock(&self.0.ending);
            *ending += passed;
            if *ending >= ORDER {
                tracing::error!("{reason}; the process does not end in order, so it is ended");
                std::process::exit(1);
            }
        }
    }

    /// Adds the parts' figures to a page; `program` begins their names.
    pub fn write(&self, page: &mut Page, program: &str) {
        let states = lock(&self.0.states);
        let well: Vec<(&str, u64)> =
            states.iter().map(|state| (&*state.name, u64::from(state.trouble().is_none()))).collect();
        let restarts: Vec<(&str, u64)> =
            states.iter().map(|state| (&*state.name, state.restarts())).collect();
        page.gauges(
            &format!("{program}_part_healthy"),
            "1 while a thread or task runs, 0 after it ended or while it hangs.",
            "part",
            &well,
        );
        page.counters(
            &format!("{program}_part_restarts_total"),
            "Times a thread or task was started again.",
            "part",
            &restarts,
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
