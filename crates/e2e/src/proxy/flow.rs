//! One direction of one connection.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Direction, Shared};
use crate::random::Random;

/// Bytes taken at a time.
const CHUNK: usize = 16 << 10;
/// Chunks between the two threads of a flow: what the network holds.
const CHUNKS: usize = 64;
/// How soon a change of the weather is noticed.
const LOOK: Duration = Duration::from_millis(10);

/// One direction of one connection.
pub(super) struct Flow {
    pub(super) shared: Arc<Shared>,
    pub(super) direction: Direction,
    pub(super) generation: u64,
    pub(super) from: TcpStream,
    pub(super) to: TcpStream,
}

/// Bytes, and when they are due.
type Parcel = (Instant, Vec<u8>);

impl Flow {
    pub(super) fn start(self) {
        let (parcels, due) = sync_channel(CHUNKS);
        let Ok(from) = self.from.try_clone() else { return };
        let (shared, direction, generation) = (Arc::clone(&self.shared), self.direction, self.generation);
        thread::spawn(move || read(from, &shared, direction, generation, &parcels));
        thread::spawn(move || self.deliver(&due));
    }

    fn deliver(mut self, due: &Receiver<Parcel>) {
        loop {
            let (at, mut bytes) = match due.recv_timeout(LOOK) {
                Ok(parcel) => parcel,
                Err(RecvTimeoutError::Timeout) if !self.is_over() => continue,
                Err(RecvTimeoutError::Timeout) => return self.end(),
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.to.shutdown(Shutdown::Write);
                    return;
                }
            };
            while Instant::now() < at || self.shared.weather(self.direction).stalled {
                if self.is_over() {
                    return self.end();
                }
                thread::sleep(
                    LOOK.min(at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))),
                );
            }
            if self.is_over() {
                // What was held back does not slip through when it heals.
                return self.end();
            }
            let whole = self.spoil(&mut bytes);
            let sent = self.to.write_all(&bytes).is_ok();
            self.shared.bytes[self.direction as usize].fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if !sent || !whole || self.is_over() {
                return self.end();
            }
        }
    }

    /// Cuts the bytes or flips a bit of them where that is due; `false` when the connection ends with them.
    fn spoil(&self, bytes: &mut Vec<u8>) -> bool {
        let mut weather = self.shared.weather(self.direction);
        if let Some(left) = weather.flip_after {
            match bytes.get_mut(usize::try_from(left).unwrap_or(usize::MAX)) {
                Some(byte) => {
                    *byte ^= 1;
                    weather.flip_after = None;
                    self.shared.flips.fetch_add(1, Ordering::Relaxed);
                }
                None => weather.flip_after = Some(left - bytes.len() as u64),
            }
        }
        match weather.cut_after {
            Some(left) if left <= bytes.len() as u64 => {
                bytes.truncate(left as usize);
                weather.cut_after = None;
                self.shared.cuts.fetch_add(1, Ordering::Relaxed);
                false
            }
            left => {
                weather.cut_after = left.map(|left| left - bytes.len() as u64);
                true
            }
        }
    }

    fn is_over(&self) -> bool {
        self.shared.is_over(self.generation)
    }

    fn end(&self) {
        let _ = self.from.shutdown(Shutdown::Both);
        let _ = self.to.shutdown(Shutdown::Both);
    }
}

/// Reads as fast as the weather lets bytes through.
fn read(
    mut from: TcpStream,
    shared: &Shared,
    direction: Direction,
    generation: u64,
    parcels: &SyncSender<Parcel>,
) {
    let _ = from.set_read_timeout(Some(LOOK));
    let mut random = Random::new(generation);
    let mut buffer = vec![0; CHUNK];
    while !shared.is_over(generation) {
        let bytes = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => buffer[..bytes].to_vec(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        let weather = shared.weather(direction).clone();
        if let Some(pause) = (bytes.len() as u64 * 1_000_000).checked_div(weather.rate) {
            thread::sleep(Duration::from_micros(pause));
        }
        let jitter = weather.jitter.mul_f64((random.bits() >> 11) as f64 / (1u64 << 53) as f64);
        if parcels.send((Instant::now() + weather.delay + jitter, bytes)).is_err() {
            return;
        }
    }
}
