//! Answers on their way to a client: a part at a time, made when there is room for it.
//!
//! A query keeps its share of the memory until its last part has left, and a client that takes nothing for [`STALLED`], or does not come to the
//! end within [`READING`], gets no more: its answer ends with an error, never as if it were complete.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use arrow::{datatypes::Schema, error::ArrowError, record_batch::RecordBatch};
use futures::Stream;
use lapwing_store::{engine::QueryError, process::Rows};
use tokio::{sync::mpsc, time::timeout};

/// Parts that are made before the client has taken those before them.
const QUEUE: usize = 2;
/// How long a client may take for one part.
const STALLED: Duration = Duration::from_secs(30);
/// How long a client may take for all of them.
const READING: Duration = Duration::from_secs(600);

/// How the rows of an answer are written.
pub(crate) trait Form: Send + 'static {
    /// A part of the answer.
    type Part: Send + 'static;

    /// What comes before the rows.
    fn begin(&mut self, schema: &Schema) -> Result<Vec<Self::Part>, ArrowError>;

    /// Some rows.
    fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<Self::Part>, ArrowError>;

    /// What comes behind them; `truncated` says that the row limit cut them.
    fn end(&mut self, truncated: bool) -> Result<Vec<Self::Part>, ArrowError>;
}

enum Sent<P> {
    Part(P),
    Complete { truncated: bool },
    Failed(QueryError),
}

/// The parts of an answer. An error, and nothing after it, says that the answer is not complete.
pub(crate) struct Parts<P> {
    receiver: mpsc::Receiver<Sent<P>>,
    ended: bool,
    truncated: Option<bool>,
}

impl<P: Send + 'static> Parts<P> {
    /// The rows as parts of a form.
    pub(crate) fn of(rows: Rows, form: impl Form<Part = P>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(send(rows, form, sender));
        Self { receiver, ended: false, truncated: None }
    }

    /// Whether the row limit cut the answer, once its last part was taken.
    pub(crate) fn truncated(&self) -> Option<bool> {
        self.truncated
    }
}

impl<P> Stream for Parts<P> {
    type Item = Result<P, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let sent = std::task::ready!(self.receiver.poll_recv(context));
        if let Some(Sent::Part(part)) = sent {
            return Poll::Ready(Some(Ok(part)));
        }
        self.ended = true;
        Poll::Ready(match sent {
            Some(Sent::Complete { truncated }) => {
                self.truncated = Some(truncated);
                None
            }
            Some(Sent::Failed(error)) => Some(Err(error)),
            _ => Some(Err(QueryError::Failed(format!(
                "its answer was not read: nothing for {} s, or not all of it within {} s",
                STALLED.as_secs(),
                READING.as_secs()
            )))),
        })
    }
}

/// Sends an answer, until it is read, the client is gone, or it takes too long.
async fn send<F: Form>(mut rows: Rows, form: F, sender: mpsc::Sender<Sent<F::Part>>) {
    let _slot = rows.take_slot();
    let sending = async {
        let last = match send_rows(&mut rows, form, &sender).await {
            Ok(Some(truncated)) => Sent::Complete { truncated },
            Ok(None) => return,
            Err(error) => Sent::Failed(error),
        };
        // What this task was made for is done when the client has taken it.
        if timeout(STALLED, sender.send(last)).await.is_ok() {
            let _ = timeout(STALLED, sender.reserve_many(QUEUE)).await;
        }
    };
    tokio::select! {
        _ = timeout(READING, sending) => {}
        () = sender.closed() => {}
    }
}

/// Whether the row limit cut them, when all rows were taken; `None` when the client does not read.
async fn send_rows<F: Form>(
    rows: &mut Rows,
    mut form: F,
    sender: &mpsc::Sender<Sent<F::Part>>,
) -> Result<Option<bool>, QueryError> {
    let failed = |error: ArrowError| QueryError::Failed(format!("the answer can't be written: {error}"));
    let mut parts = form.begin(&rows.schema()).map_err(failed)?;
    loop {
        for part in parts {
            if !matches!(timeout(STALLED, sender.send(Sent::Part(part))).await, Ok(Ok(()))) {
                return Ok(None);
            }
        }
        let Some(batch) = rows.next().await? else { break };
        parts = form.rows(&batch).map_err(failed)?;
    }

    let truncated = rows.truncated().unwrap_or_default();
    for part in form.end(truncated).map_err(failed)? {
        if !matches!(timeout(STALLED, sender.send(Sent::Part(part))).await, Ok(Ok(()))) {
            return Ok(None);
        }
    }
    Ok(Some(truncated))
}
