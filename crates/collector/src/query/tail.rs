//! Records as they arrive, after some of those that were there.
//!
//! Nothing is kept for a tail: it knows up to which row it has read, and reads on from the tables when its caller has room for another
//! message. So a tail that is not read costs the messages that are under way, however much comes meanwhile; what has left memory by the
//! time it reads on is counted and told. One that is not read for [`STALL`] ends, and its connection with it: what is under way could not
//! be taken back otherwise.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use lapwing::{
    status::Kind,
    v1::{FoundLog, LogFilter, TailResponse},
};
use lapwing_service::serve::Link;
use lapwing_store::{Table, Tables};
use prost::Message;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::passing;
use crate::{budget::TAIL, share::Permit};

/// Messages that are made for a tail before it has read them.
pub(super) const QUEUE: usize = 2;
/// A message is sent when it has reached this size: the other end takes four MiB.
const MESSAGE_BYTES: usize = TAIL / QUEUE;
/// Rows that are looked at in one go, on a thread that others need too.
const ROWS: usize = 4096;
/// How long a message may wait for its reader.
const STALL: Duration = Duration::from_secs(30);

/// One caller's tail.
pub(super) struct Tail {
    pub(super) tables: Arc<Tables>,
    /// Changes when rows come.
    pub(super) visible: watch::Receiver<u64>,
    /// Rows of the table before this one are read.
    pub(super) position: u64,
    /// Which rows are wanted.
    pub(super) filter: LogFilter,
    /// `seq` of the newest row of the backlog; later ones are new.
    pub(super) newest: i64,
    /// To the caller.
    pub(super) sender: mpsc::Sender<Result<TailResponse, Status>>,
    /// The caller's connection.
    pub(super) link: Option<Link>,
    /// Of the caller's share of tails.
    pub(super) _share: Option<Permit>,
}

/// The caller is gone, or does not read.
struct Gone;

impl Tail {
    /// Sends the backlog, then what arrives, until the caller is gone or `stop`. Should this program panic over it, its caller is told, and no one else
    /// notices.
    pub(super) async fn start(self, backlog: Vec<FoundLog>, stop: CancellationToken) {
        let sender = self.sender.clone();
        if AssertUnwindSafe(self.run(backlog, stop)).catch_unwind().await.is_err() {
            let status = Kind::Internal.status("the tail failed; the collector's log says why");
            let _ = sender.send(Err(status)).await;
        }
    }

    async fn run(mut self, backlog: Vec<FoundLog>, stop: CancellationToken) {
        let sender = self.sender.clone();
        tokio::select! {
            _ = self.send_all(backlog) => {}
            () = sender.closed() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn send_all(&mut self, backlog: Vec<FoundLog>) -> Result<(), Gone> {
        for part in parts(backlog) {
            self.slot().await?.send(Ok(part));
        }
        loop {
            self.visible.mark_unchanged();
            while self.tables.position(Table::Logs) > self.position {
                // First the room for a message, then the rows: a tail that waits holds none.
                let slot = self.slot().await?;
                let message = self.read();
                if message != TailResponse::default() {
                    slot.send(Ok(message));
                }
                tokio::task::yield_now().await;
            }
            self.visible.changed().await.map_err(|_| Gone)?;
        }
    }

    /// Waits until the caller has room for a message.
    async fn slot(&self) -> Result<mpsc::OwnedPermit<Result<TailResponse, Status>>, Gone> {
        match timeout(STALL, self.sender.clone().reserve_owned()).await {
            Ok(slot) => slot.map_err(|_| Gone),
            Err(_) => {
                if let Some(link) = &self.link {
                    link.leave();
                }
                Err(Gone)
            }
        }
    }

    /// Those of the next rows that are wanted, no more than a message holds, and how many were missed before them.
    fn read(&mut self) -> TailResponse {
        let mut message = TailResponse::default();
        let Some(arrival) = self.tables.after(Table::Logs, self.position) else { return message };
        message.skipped = arrival.position.saturating_sub(self.position);

        let rows = arrival.rows.slice(0, arrival.rows.num_rows().min(ROWS));
        let mut read = rows.num_rows();
        let mut bytes = 0;
        for (row, log) in passing::rows(&rows, &self.filter, self.newest) {
            bytes += log.encoded_len();
            message.logs.push(log);
            if bytes >= MESSAGE_BYTES {
                read = row + 1;
                break;
            }
        }
        self.position = arrival.position + read as u64;
        message
    }
}

/// Records in messages of a bounded size.
fn parts(logs: Vec<FoundLog>) -> Vec<TailResponse> {
    let mut parts = vec![TailResponse::default()];
    let mut bytes = 0;
    for log in logs {
        if bytes >= MESSAGE_BYTES {
            parts.push(TailResponse::default());
            bytes = 0;
        }
        bytes += log.encoded_len();
        if let Some(part) = parts.last_mut() {
            part.logs.push(log);
        }
    }
    parts.retain(|part| !part.logs.is_empty());
    parts
}
