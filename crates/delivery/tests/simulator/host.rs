//! A host: its files, the disk of its agent, and the agent's process. Mirrors `agent.rs`, `session.rs` and `recorder.rs`.

use bytes::Bytes;
use lapwing_delivery::Held;
use lapwing_spool::{Options, Spool, SpoolError, WhenFull, sim::SimDisk};

use crate::{
    bugs::{self, Driver},
    files::Files,
    oracle::{Checked, Oracle},
    random::{Random, Trace},
    session::{End, Session},
    wire::{Address, Answer, Message, Network, Request},
};

pub(crate) const SPOOL_BYTES: u64 = 4 << 10;
const SPOOL_MEMORY: u64 = 600;
/// Points of one record.
pub(crate) const MOST_POINTS: u64 = 8;

/// A host and what is on its disks.
pub(crate) struct Host {
    pub(crate) number: usize,
    pub(crate) id: String,
    pub(crate) files: Files,
    pub(crate) disk: SimDisk,
    pub(crate) process: Option<Process>,
    /// A run that was taken over from and does not know it: of a cloned machine, or of a process that hung.
    pub(crate) zombie: Option<Session>,
    /// Points that the last process had counted.
    counted: u64,
    last_epoch: u64,
    last_session: Option<Session>,
}

/// An agent's process.
pub(crate) struct Process {
    pub(crate) spool: Spool,
    /// Until the first lease.
    opened_next: Option<u64>,
    observed: u64,
    opened_observed: u64,
    dropped: u64,
    resuming: Option<u64>,
    pub(crate) session: Option<Session>,
    /// Another run has the lease: this one waits for its operator.
    pub(crate) fenced: bool,
}

/// A record of the spool: the number of the first point, then the points.
fn encode(first: u64, points: &[String]) -> Bytes {
    let mut record = first.to_le_bytes().to_vec();
    points.iter().for_each(|point| record.extend_from_slice(format!("{point}\n").as_bytes()));
    record.into()
}

pub(crate) fn decode(record: &[u8]) -> Option<(u64, Vec<String>)> {
    let first = u64::from_le_bytes(record.get(..8)?.try_into().ok()?);
    let points = String::from_utf8_lossy(record.get(8..)?).lines().map(str::to_owned).collect();
    Some((first, points))
}

impl Host {
    pub(crate) fn new(number: usize, has_birth_times: bool) -> Self {
        Self {
            number,
            id: format!("host-{number}"),
            files: Files::new(has_birth_times),
            disk: SimDisk::default(),
            process: None,
            zombie: None,
            counted: 0,
            last_epoch: 0,
            last_session: None,
        }
    }

    /// Starts the agent.
    pub(crate) fn start(&mut self, oracle: &mut Oracle, trace: &mut Trace) {
        let options = Options {
            segment_bytes: SPOOL_BYTES / 8,
            max_bytes: SPOOL_BYTES,
            when_full: WhenFull::DropOldest,
            memory_bytes: SPOOL_MEMORY,
        };
        let opened = Spool::open(Box::new(self.disk.clone()), "spool".into(), options);
        let Ok((mut spool, recovery)) = opened else { return };
        if recovery.torn_bytes > 0 {
            trace.mark("torn tail of the spool");
        }
        let next = spool.stats().next;
        let Ok(last) = spool.read(next - 1, 1 << 10) else { return };
        let last = last.last().and_then(|record| decode(&record.payload));
        let observed = last.map_or(0, |(first, points)| first + points.len() as u64);
        oracle.count_lost |= observed < self.counted;
        trace.say(format!("{} up: spool {:?}, {observed} observed", self.id, spool.stats()));
        self.process = Some(Process {
            spool,
            opened_next: Some(next),
            observed,
            opened_observed: observed,
            dropped: 0,
            resuming: None,
            session: None,
            fenced: false,
        });
    }

    /// The process is gone. With `power` the disk loses what was not synced.
    pub(crate) fn kill(&mut self, power: bool, zombie: bool, random: &mut Random) {
        if let Some(process) = self.process.take() {
            self.counted = process.observed;
            self.last_session = process.session.as_ref().map(Session::positions_only);
            if zombie {
                self.zombie = process.session;
            }
        }
        if power {
            self.zombie = None;
            self.disk.crash_randomly(|limit| random.below(limit));
        }
    }

    /// The process ends in order.
    pub(crate) fn stop(&mut self, random: &mut Random, oracle: &mut Oracle, trace: &mut Trace) {
        if let Some(process) = &mut self.process {
            let _ = process.spool.close();
            process.note_drops(oracle, trace);
        }
        self.kill(false, false, random);
    }

    /// Points are observed, and go to the spool.
    pub(crate) fn observe(&mut self, points: &[String], oracle: &mut Oracle, trace: &mut Trace) {
        let Some(process) = &mut self.process else {
            oracle.losses += points.len() as u64;
            oracle.count_lost = true;
            return;
        };
        if process.spool.stats().memory_records > 0 {
            let _ = process.spool.flush();
        }
        let first = process.observed;
        process.observed += points.len() as u64;
        if process.spool.append(&[encode(first, points)]).is_err() {
            trace.mark("spool refused points");
            oracle.losses += points.len() as u64;
        }
        process.note_drops(oracle, trace);
        trace.say(format!("{} observes {first}..{}: {:?}", self.id, process.observed, process.spool.stats()));
    }

    /// Asks for a lease; asked again with the same epoch until it is answered.
    pub(crate) fn resume(&mut self, random: &mut Random, net: &mut Network) {
        let Some(process) = &mut self.process else { return };
        if process.fenced || process.session.is_some() {
            return;
        }
        let reused = bugs::is(Driver::EpochReused) && self.last_epoch != 0;
        let fresh = if reused { self.last_epoch } else { random.next().max(1) };
        let epoch = *process.resuming.get_or_insert(fresh);
        self.last_epoch = epoch;
        net.send(Message::ToCollector(Address { host: self.number, epoch }, Request::Resume));
    }

    /// An answer of the collector.
    pub(crate) fn answered(
        &mut self,
        epoch: u64,
        answer: Answer,
        oracle: &mut Oracle,
        trace: &mut Trace,
    ) -> Checked {
        if let Some(zombie) = self.zombie.as_mut().filter(|zombie| zombie.epoch == epoch) {
            if zombie.answered(answer, oracle, trace)?.is_some() {
                self.zombie = None;
            }
            return Ok(());
        }
        let Some(process) = &mut self.process else { return Ok(()) };
        if process.resuming == Some(epoch) && matches!(answer, Answer::Refused { .. }) {
            process.fenced = true;
            return Ok(());
        }
        if let Answer::Lease { number, positions } = &answer {
            if process.resuming == Some(epoch) {
                process.resuming = None;
                let held = Held::new(positions);
                if process.carry_over(&held).is_err() {
                    // The agent ends, and is started again.
                    trace.mark("agent ended by its spool");
                    self.counted = process.observed;
                    self.process = None;
                    return Ok(());
                }
                let mut session = Session::new(self.id.clone(), epoch, *number, held, positions.clone());
                if bugs::is(Driver::LocalPositionsBelieved) {
                    session.believe(self.last_session.take());
                }
                process.session = Some(session);
            }
            return Ok(());
        }
        let Some(session) = process.session.as_mut().filter(|session| session.epoch == epoch) else {
            return Ok(());
        };
        let next = match session.answered(answer, oracle, trace)? {
            Some(End::Fenced) => {
                process.fenced = true;
                process.session = None;
                return Ok(());
            }
            Some(End::Renew) => {
                trace.mark("lease renewed");
                self.last_session = process.session.take();
                return Ok(());
            }
            None => session.spool_durable,
        };
        if process.spool.stats().first < next {
            let _ = process.spool.trim(next - 1);
        }
        Ok(())
    }
}

impl Process {
    fn note_drops(&mut self, oracle: &mut Oracle, trace: &mut Trace) {
        let dropped = self.spool.stats().dropped_records;
        if dropped > self.dropped {
            trace.mark("oldest points dropped");
            oracle.losses += (dropped - self.dropped) * MOST_POINTS;
        }
        self.dropped = dropped;
    }

    fn carry_over(&mut self, held: &Held) -> Result<(), SpoolError> {
        let opened = self.opened_next.take();
        if opened.is_some() {
            self.observed += held.points().saturating_sub(self.opened_observed);
        }
        let Some(from) = opened.filter(|from| *from < held.next) else {
            return self.spool.advance(held.next);
        };
        let records = self.spool.read(from, 1 << 20)?;
        let own: Vec<Bytes> = records.into_iter().map(|record| record.payload).collect();
        self.spool.advance(held.next.max(self.spool.stats().next))?;
        own.into_iter().try_for_each(|payload| self.spool.append(&[payload]).map(|_| ()))?;
        self.spool.flush().map(drop)
    }
}
