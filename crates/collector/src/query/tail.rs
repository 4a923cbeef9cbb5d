//! Records as they arrive, after some of those that were there.

use lapwing::v1::{FoundLog, LogFilter, TailResponse};
use lapwing_store::{Table, tables::Arrival};
use prost::Message;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{filter, found};

/// A message is sent when it has reached this size: the other end takes four MiB.
const MESSAGE_BYTES: usize = 256 << 10;

/// One caller's tail.
pub(super) struct Tail {
    /// Rows that arrive.
    pub(super) arrivals: broadcast::Receiver<Arrival>,
    /// Which of them are wanted.
    pub(super) filter: LogFilter,
    /// `seq` of the newest row of the backlog; later ones are new.
    pub(super) newest: i64,
    /// To the caller.
    pub(super) sender: mpsc::Sender<Result<TailResponse, Status>>,
}

/// The caller is gone.
struct Gone;

impl Tail {
    /// Sends the backlog, then what arrives, until the caller is gone or `stop`.
    pub(super) async fn run(mut self, backlog: Vec<FoundLog>, stop: CancellationToken) {
        if self.send(backlog, 0).await.is_err() {
            return;
        }
        let mut seen: Option<u64> = None;
        loop {
            let arrival = tokio::select! {
                arrival = self.arrivals.recv() => arrival,
                () = self.sender.closed() => return,
                () = stop.cancelled() => return,
            };
            let arrival = match arrival {
                Ok(arrival) if arrival.table == Table::Logs => arrival,
                // How many were missed, the next arrival tells.
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let skipped = seen.map_or(0, |seen| arrival.before.saturating_sub(seen));
            seen = Some(arrival.before + arrival.rows.num_rows() as u64);
            if self.send(self.passing(&arrival), skipped).await.is_err() {
                return;
            }
        }
    }

    /// The records of an arrival that are wanted and were not in the backlog.
    fn passing(&self, arrival: &Arrival) -> Vec<FoundLog> {
        let rows = found::rows(&arrival.rows).into_iter().filter(|row| row.seq > self.newest);
        rows.filter(|row| filter::passes(&self.filter, &row.log)).map(|row| row.log).collect()
    }

    /// Sends records in messages of a bounded size, the first of them with how many were skipped.
    async fn send(&self, logs: Vec<FoundLog>, skipped: u64) -> Result<(), Gone> {
        let mut part = TailResponse { logs: Vec::new(), skipped };
        let mut bytes = 0;
        for log in logs {
            bytes += log.encoded_len();
            part.logs.push(log);
            if bytes >= MESSAGE_BYTES {
                self.sender.send(Ok(std::mem::take(&mut part))).await.map_err(|_| Gone)?;
                bytes = 0;
            }
        }
        if part == TailResponse::default() {
            return Ok(());
        }
        self.sender.send(Ok(part)).await.map_err(|_| Gone)
    }
}
