//! One lease: what is read, packed, numbered and under way. Mirrors `pipeline.rs` around the real sender.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use lapwing::v1::{Batch, Codec, Packed, Resource, Signal, SourcePosition};
use lapwing_delivery::{FULL, Held, Outcome, Sender, is_restored};
use lapwing_spool::Spool;
use prost::Message as _;

use crate::{
    bugs::{self, Driver},
    files::{Files, Tailed},
    host::decode,
    oracle::{Checked, Oracle, Violation},
    random::Trace,
    wire::{self, Address, Answer, Message, Network, Request, rows},
};

/// Most shipments under way.
const IN_FLIGHT: usize = 24;

/// Why a lease ended.
pub(crate) enum End {
    Fenced,
    Renew,
}

/// The content of one batch.
#[derive(Default)]
struct Content {
    rows: Vec<String>,
    positions: Vec<SourcePosition>,
}

pub(crate) struct Session {
    pub(crate) epoch: u64,
    sender: Sender,
    agent: String,
    leased: Vec<SourcePosition>,
    held: Held,
    tailed: Vec<Tailed>,
    logs: Content,
    points: VecDeque<Content>,
    flights: Vec<Batch>,
    /// All batches up to this one are acknowledged.
    acknowledged: u64,
    /// What was acknowledged when a batch was last sent, by its number.
    known: BTreeMap<u64, u64>,
    pub(crate) spool_durable: u64,
}

impl Session {
    pub(crate) fn new(
        agent: String,
        epoch: u64,
        lease: u64,
        held: Held,
        leased: Vec<SourcePosition>,
    ) -> Self {
        Self {
            epoch,
            sender: Sender::new(agent.clone(), epoch, lease, Resource::default()),
            agent,
            leased,
            held,
            tailed: Vec::new(),
            logs: Content::default(),
            points: VecDeque::new(),
            flights: Vec::new(),
            acknowledged: 0,
            known: BTreeMap::new(),
            spool_durable: 0,
        }
    }

    pub(crate) fn positions_only(&self) -> Self {
        let fresh = Self::new(self.agent.clone(), self.epoch, 0, self.held.clone(), Vec::new());
        Self { tailed: self.tailed.clone(), ..fresh }
    }

    /// The bug [`Driver::LocalPositionsBelieved`].
    pub(crate) fn believe(&mut self, last: Option<Self>) {
        self.tailed = last.map(|last| last.tailed).unwrap_or_default();
    }

    /// Reads lines of one file.
    pub(crate) fn read(&mut self, files: &Files, place: usize, max: usize) {
        if !self.logs.rows.is_empty() && self.logs.rows.len() + max > 16 {
            return;
        }
        let Some(file) = files.all.get(place) else { return };
        let known = self.tailed.iter().position(|tailed| tailed.is_of(file));
        let at = known.unwrap_or_else(|| {
            let tailed = Tailed::open(file, &self.leased);
            self.leased.retain(|held| held.source != tailed.key);
            self.tailed.push(tailed);
            self.tailed.len() - 1
        });
        let lines = self.tailed[at].read(file, max);
        if lines.is_empty() {
            return;
        }
        let position = self.tailed[at].position();
        self.logs.rows.extend(lines);
        self.moved(position);
    }

    /// Files that are gone: their positions are closed.
    pub(crate) fn forget_gone(&mut self, files: &Files) {
        let is_there = |tailed: &Tailed| files.all.iter().any(|file| tailed.is_of(file));
        let (there, gone) = std::mem::take(&mut self.tailed).into_iter().partition(is_there);
        self.tailed = there;
        for tailed in gone {
            self.moved(SourcePosition { closed: true, ..tailed.position() });
        }
    }

    fn moved(&mut self, position: SourcePosition) {
        let same = |known: &&mut SourcePosition| known.source == position.source && !known.closed;
        match self.logs.positions.iter_mut().find(same) {
            Some(known) => *known = position,
            None => self.logs.positions.push(position),
        }
    }

    /// Reads points that the collector does not hold.
    pub(crate) fn replay(&mut self, spool: &mut Spool, trace: &mut Trace) {
        let Ok(records) = spool.read(self.held.next, 300) else { return };
        for record in records {
            let Some((first, points)) = decode(&record.payload) else { continue };
            let range = first..first + points.len() as u64;
            let missing = self.held.take(record.index + 1, &range, FULL);
            if missing > 0 {
                trace.mark("loss counted");
                trace.say(format!("{}: {missing} points are missing before {range:?}", self.agent));
            }
            self.points.push_back(Content { rows: points, positions: vec![self.held.position()] });
        }
    }

    /// Numbers a batch and sends it.
    pub(crate) fn ship(&mut self, host: usize, net: &mut Network, trace: &mut Trace) {
        if self.flights.len() >= IN_FLIGHT {
            return;
        }
        let is_points = !self.points.is_empty();
        let content = self.points.pop_front().unwrap_or_else(|| std::mem::take(&mut self.logs));
        if content.positions.is_empty() {
            return;
        }
        let signal = if is_points { Signal::Metrics } else { Signal::Logs };
        let packed = pack(&content.rows, signal);
        let batch = self.sender.number(Some(packed), content.positions);
        if bugs::is(Driver::TrimmedWhenSent)
            && let Some(next) = lapwing_delivery::next_record(&batch.positions)
        {
            self.spool_durable = next;
        }
        trace.say(format!("{} sends {} rows as {:?}", self.agent, content.rows.len(), number(&batch)));
        self.flights.push(batch.clone());
        self.send(host, &batch, net);
    }

    fn send(&mut self, host: usize, batch: &Batch, net: &mut Network) {
        self.known.insert(number(batch).1, self.acknowledged);
        let address = Address { host, epoch: self.epoch };
        net.send(Message::ToCollector(address, Request::Ingest(Bytes::from(batch.encode_to_vec()))));
    }

    /// Sends again what was not answered.
    pub(crate) fn retry(&mut self, host: usize, pick: usize, net: &mut Network, trace: &mut Trace) {
        if self.flights.is_empty() {
            return;
        }
        let place = pick % self.flights.len();
        if bugs::is(Driver::RepackedOnRetry) && !self.logs.rows.is_empty() {
            let batch = &mut self.flights[place];
            let more = std::mem::take(&mut self.logs);
            let all: Vec<String> = rows(batch).into_iter().chain(more.rows).collect();
            let packed = pack(&all, Signal::Logs);
            batch.digest = lapwing::batch::digest(&packed);
            batch.payload = Some(lapwing::v1::batch::Payload::Packed(packed));
            batch.positions.extend(more.positions);
        }
        let batch = self.flights[place].clone();
        trace.say(format!("{} sends {:?} again", self.agent, number(&batch)));
        self.send(host, &batch, net);
    }

    /// Takes an answer.
    pub(crate) fn answered(
        &mut self,
        answer: Answer,
        oracle: &mut Oracle,
        trace: &mut Trace,
    ) -> Result<Option<End>, Violation> {
        let (of, durable, refused) = match answer {
            Answer::Durable { number, durable } => (number, durable, None),
            Answer::Refused { number, kind } => (number, 0, Some(kind)),
            Answer::Early { number, durable } => {
                let known = self.known.get(&number.0).copied().unwrap_or_default();
                return Ok(is_restored(known, durable).then(|| {
                    trace.mark("restore noticed by the agent");
                    End::Renew
                }));
            }
            Answer::Lease { .. } => return Ok(None),
        };
        let Some(place) = self.flights.iter().position(|batch| wire::number(batch) == of) else {
            return Ok(None);
        };
        let batch = self.flights[place].clone();
        let Some(kind) = refused else {
            self.flights.remove(place);
            self.acknowledged(&batch, durable, oracle)?;
            return Ok(None);
        };
        trace.say(format!("{}: {:?} is refused: {kind:?}", self.agent, number(&batch)));
        match Sender::refused(&batch, kind) {
            Outcome::Fenced => Ok(Some(End::Fenced)),
            Outcome::Renew => Ok(Some(End::Renew)),
            Outcome::Hold => Ok(None),
            Outcome::SetAside => {
                trace.mark("set aside");
                for row in rows(&batch) {
                    oracle.aside.insert(oracle.known(&row)?);
                }
                self.flights[place] = self.sender.replace(&batch);
                Ok(None)
            }
        }
    }

    fn acknowledged(&mut self, batch: &Batch, durable: u64, oracle: &mut Oracle) -> Checked {
        let (epoch, sequence) = number(batch);
        oracle.acknowledge((self.agent.clone(), epoch, sequence), &batch.digest, &rows(batch))?;
        self.acknowledged = self.acknowledged.max(durable);
        if let Some(next) = self.sender.acknowledged(batch, durable) {
            self.spool_durable = self.spool_durable.max(next);
        }
        Ok(())
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.logs.positions.is_empty() && self.points.is_empty()
    }
}

fn number(batch: &Batch) -> (u64, u64) {
    batch.origin.as_ref().map_or((0, 0), |origin| (origin.epoch, origin.sequence))
}

fn pack(rows: &[String], signal: Signal) -> Packed {
    let data: String = rows.iter().map(|row| format!("{row}\n")).collect();
    Packed {
        codec: Codec::None as i32,
        signal: signal as i32,
        rows: rows.len() as u32,
        uncompressed_size: data.len() as u32,
        data: data.into(),
    }
}
