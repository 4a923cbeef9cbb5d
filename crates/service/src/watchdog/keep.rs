//! Threads and tasks that are started again when they end.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    part::{Beat, Fault, Part, Running},
    plant,
};

/// Pause before something is started again. It doubles while what is started does not last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// What ran for this long begins with the first pause again.
const LASTED: Duration = Duration::from_secs(60);
/// How long a task that hangs has to go when it is told to.
const LEAVE: Duration = Duration::from_secs(5);

/// Pauses between a fault and the next start.
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
    started: Instant,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: FIRST_PAUSE, started: Instant::now() }
    }
}

impl Pauses {
    /// How long to wait now, after a fault.
    pub fn after_fault(&mut self) -> Duration {
        if self.started.elapsed() > LASTED {
            self.next = FIRST_PAUSE;
        }
        let pause = self.next;
        self.next = (pause * 2).min(MAX_PAUSE);
        pause
    }

    /// Notes that it is started again.
    pub fn started(&mut self) {
        self.started = Instant::now();
    }

    /// Waits; `false` when it is to stop.
    async fn wait(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! { () = sleep(self.after_fault()) => {}, () = stop.cancelled() => return false }
        self.started();
        true
    }
}

/// Runs what `start` makes until `stop`, and again each time it ends or hangs before. After `stop` it waits until the task is through.
pub async fn keep<F>(part: Part, stop: CancellationToken, mut start: impl FnMut(Beat) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pauses = Pauses::default();
    loop {
        let fault = match once(&part, &mut start).await {
            Ok(()) if stop.is_cancelled() => return,
            Ok(()) => Fault::Ended,
            Err(fault) => fault,
        };
        part.fail(&fault);
        if !pauses.wait(&stop).await {
            return;
        }
    }
}

/// Runs what `start` makes to its end, on a task of its own.
///
/// A task that hangs without giving its thread of the runtime back can't be replaced: the process ends.
///
/// # Errors
/// The fault, when it panicked or hangs.
pub async fn once<F>(part: &Part, start: impl FnOnce(Beat) -> F) -> Result<F::Output, Fault>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let beat = part.begin();
    // A set, since it takes its task with it when it is dropped.
    let mut task = JoinSet::new();
    task.spawn(Watched { beat: beat.clone(), hangs: false, task: Box::pin(start(beat)) });
    tokio::select! {
        ended = task.join_next() => match ended {
            Some(Ok(output)) => Ok(output),
            Some(Err(error)) if error.is_panic() => Err(Fault::of_panic(&*error.into_panic())),
            _ => Err(Fault::Ended),
        },
        hangs = part.hangs() => {
            task.abort_all();
            if timeout(LEAVE, task.join_next()).await.is_err() {
                part.give_up(&hangs);
            }
            Err(hangs)
        }
    }
}

/// Starts a thread with `start` until `stop`, and again each time it ends or hangs before. What `start` gives with the thread tells it to end when
/// it is dropped. After `stop` this waits until the thread is through.
pub async fn keep_thread<T>(
    part: Part,
    stop: CancellationToken,
    mut start: impl FnMut() -> io::Result<(T, Running)>,
) {
    let mut pauses = Pauses::default();
    loop {
        let fault = match start() {
            Ok((handle, mut running)) => {
                let fault =
                    tokio::select! { fault = running.fault() => Some(fault), () = stop.cancelled() => None };
                drop(handle);
                let Some(fault) = fault else {
                    running.fault().await;
                    return;
                };
                fault
            }
            Err(error) => Fault::Failed(format!("can't be started: {error}")),
        };
        part.fail(&fault);
        if part.is_used_up() || !pauses.wait(&stop).await {
            return;
        }
    }
}

/// A task that tests can make panic and hang.
struct Watched<F> {
    beat: Beat,
    hangs: bool,
    task: Pin<Box<F>>,
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.hangs || plant::strike_task(&self.beat) {
            self.beat.work();
            self.hangs = true;
            return Poll::Pending;
        }
        self.task.as_mut().poll(context)
    }
}
