//! A collector: real journal, real admission, real records. Mirrors `ingest/door.rs` and `collector.rs`; tables and store are a model.

use std::collections::{BTreeMap, BTreeSet};

use lapwing::{
    status::Kind,
    v1::{Batch, SourcePosition, source_position::Position},
};
use lapwing_delivery::{
    Admission, Agent, Snapshots, WINDOW,
    accounts::SourceRows,
    check_held, check_numbers,
    journal::{BatchRecord, LeaseRecord, Record},
    replay_from, trim_through,
};
use lapwing_spool::{Options, Spool, SpoolError, WhenFull, sim::SimDisk};
use prost::Message as _;

use crate::{
    bugs::{self, Driver},
    oracle::{Checked, Oracle, Violation, broken},
    random::Trace,
    wire::{Address, Answer, Message, Network, Request, number, rows},
};

pub(crate) const JOURNAL_BYTES: u64 = 12 << 10;
const SEGMENT: u64 = JOURNAL_BYTES / 8;
/// Bytes at which batches are refused: the rest is for leases and snapshots, which are large here.
const JOURNAL_ROOM: u64 = JOURNAL_BYTES / 2;
/// A batch with more rows is too large while the limits are narrow.
const NARROW_ROWS: usize = 6;

/// What outlives a collector's process: its disk and its store.
#[derive(Default)]
pub(crate) struct Ground {
    pub(crate) disk: SimDisk,
    /// Rows and the journal position that they reach, written together.
    pub(crate) stored: BTreeSet<usize>,
    pub(crate) committed: u64,
    pub(crate) narrow: bool,
    /// It was once set back to an older copy. Without that what a batch that came too early is told has no effect, and is left out.
    pub(crate) restored: bool,
}

/// A record that is written and not yet durable. Its sender is locked meanwhile.
struct Pending {
    address: Address,
    sender: String,
    index: u64,
    record: Record,
}

/// A collector's process.
pub(crate) struct Collector {
    journal: Spool,
    agents: BTreeMap<String, Agent>,
    pending: Vec<Pending>,
    /// Early batches, and those whose sender is locked.
    waiting: Vec<(Address, Batch)>,
    /// Rows that are not in the store, by journal record.
    tables: BTreeMap<u64, Vec<usize>>,
    now: u64,
    /// What the store had committed when the journal was last trimmed.
    trimmed_at: Option<u64>,
}

/// Why a process ended.
pub(crate) enum Ended {
    Violated(Violation),
    Poisoned,
}

impl From<Violation> for Ended {
    fn from(violation: Violation) -> Self {
        Self::Violated(violation)
    }
}

impl Collector {
    /// Opens the journal and rebuilds what was held.
    pub(crate) fn start(ground: &mut Ground, oracle: &mut Oracle, trace: &mut Trace) -> Result<Self, Ended> {
        let options = Options {
            segment_bytes: SEGMENT,
            max_bytes: JOURNAL_BYTES,
            when_full: WhenFull::Block,
            memory_bytes: 0,
        };
        let opened = Spool::open(Box::new(ground.disk.clone()), "journal".into(), options);
        let Ok((mut journal, recovery)) = opened else { return Err(Ended::Poisoned) };
        if recovery.torn_bytes > 0 {
            trace.mark("torn tail of the journal");
        }
        let next = ground.committed + 1;
        if journal.stats().next < next {
            trace.mark("journal behind the store");
            journal.advance(next).map_err(|_| Ended::Poisoned)?;
        }
        let (agents, tables) = (BTreeMap::new(), BTreeMap::new());
        let mut collector = Self {
            journal,
            agents,
            pending: Vec::new(),
            waiting: Vec::new(),
            tables,
            now: 1,
            trimmed_at: None,
        };
        let first = replay_from(collector.journal.stats().first, next);
        collector.replay(first, next, oracle)?;
        trace.say(format!(
            "collector up: journal {:?}, replay from {first}, rows from {next}",
            collector.journal.stats()
        ));
        oracle.check_held(&collector.held(ground))?;
        collector.check_booked(ground)?;
        Ok(collector)
    }

    fn replay(&mut self, first: u64, uncommitted: u64, oracle: &mut Oracle) -> Result<(), Ended> {
        let mut next = first;
        loop {
            let records = self.journal.read(next, 4 << 10).map_err(|_| Ended::Poisoned)?;
            let Some(last) = records.last() else { return Ok(()) };
            next = last.index + 1;
            for found in records {
                let record = Record::decode(&found.payload)
                    .map_err(|error| broken("records are read as written", error.to_string()))?;
                for (sender, moved) in record.moves() {
                    self.agents.entry(sender.to_owned()).or_default().replay(moved);
                }
                self.nothing(found.index, uncommitted);
                if let Record::Batch(record) = &record {
                    let batch = record.batch.clone().unwrap_or_default();
                    note_journaled(&batch, oracle);
                    if found.index >= uncommitted {
                        self.take_rows(found.index, &batch, oracle)?;
                    }
                }
            }
        }
    }

    /// A record without rows is passed by.
    fn nothing(&mut self, index: u64, uncommitted: u64) {
        if index >= uncommitted {
            self.tables.insert(index, Vec::new());
        }
    }

    fn take_rows(&mut self, index: u64, batch: &Batch, oracle: &Oracle) -> Checked {
        let ids: Result<Vec<usize>, Violation> = rows(batch).iter().map(|row| oracle.known(row)).collect();
        self.tables.insert(index, ids?);
        Ok(())
    }

    /// Rows in the store and in the tables.
    pub(crate) fn held(&self, ground: &Ground) -> BTreeSet<usize> {
        ground.stored.iter().chain(self.tables.values().flatten()).copied().collect()
    }

    pub(crate) fn handle(
        &mut self,
        address: Address,
        host: &str,
        request: Request,
        ground: &mut Ground,
        net: &mut Network,
        trace: &mut Trace,
    ) -> Result<(), Ended> {
        match request {
            Request::Resume => {
                if self.pending.iter().any(|pending| pending.sender == host) {
                    // It waits for the lock; the agent asks again.
                    return Ok(());
                }
                let agent = self.agents.entry(host.to_owned()).or_default();
                if let Err((kind, _)) = agent.may_lease(address.epoch) {
                    trace.mark("lease refused");
                    net.send(Message::ToAgent(address, Answer::Refused { number: Default::default(), kind }));
                    return Ok(());
                }
                let number = agent.lease_number(address.epoch).unwrap_or_else(|| net.draw_lease());
                let lease = LeaseRecord {
                    agent_id: host.to_owned(),
                    epoch: address.epoch,
                    received_unix_nano: self.now,
                    number,
                };
                self.write(address, host.to_owned(), Record::Lease(lease), trace)
            }
            Request::Ingest(bytes) => {
                let Ok(batch) = Batch::decode(bytes) else { return Ok(()) };
                let narrow = ground.narrow && rows(&batch).len() > NARROW_ROWS;
                let refusal =
                    check_numbers(&batch).err().map(|(kind, _)| kind).or(narrow.then_some(Kind::TooLarge));
                if let Some(kind) = refusal {
                    trace.mark("refused for good");
                    refuse(address, &batch, kind, net);
                    return Ok(());
                }
                self.admit(address, batch, net, trace)
            }
        }
    }

    fn admit(
        &mut self,
        address: Address,
        batch: Batch,
        net: &mut Network,
        trace: &mut Trace,
    ) -> Result<(), Ended> {
        let origin = batch.origin.clone().unwrap_or_default();
        let locked = self.pending.iter().any(|pending| pending.sender == origin.agent_id);
        if locked && !bugs::is(Driver::AppliedBeforeDurable) {
            trace.mark("sender locked");
            self.waiting.push((address, batch));
            return Ok(());
        }
        let agent = self.agents.entry(origin.agent_id.clone()).or_default();
        if agent.epoch() == Some(origin.epoch)
            && let Err((kind, _)) = check_held(batch.acknowledged_sequence, agent.durable())
        {
            trace.mark("restore noticed by the collector");
            refuse(address, &batch, kind, net);
            return Ok(());
        }
        match agent.admit(&origin, &batch.digest) {
            Admission::Append if self.journal.stats().bytes >= JOURNAL_ROOM => {
                trace.mark("journal full");
                trace.say("the journal has no room".to_owned());
            }
            Admission::Append => {
                let rows = rows_by_source(&batch);
                let (sender, received_unix_nano) = (origin.agent_id, self.now);
                let record =
                    BatchRecord { batch: Some(batch), received_unix_nano, sender: sender.clone(), rows };
                self.write(address, sender, Record::Batch(Box::new(record)), trace)?;
            }
            Admission::Duplicate => {
                trace.mark("duplicate");
                let durable = agent.durable();
                net.send(Message::ToAgent(address, Answer::Durable { number: number(&batch), durable }));
            }
            Admission::Early if origin.sequence > agent.durable() + 1 + WINDOW => {
                trace.mark("beyond the window")
            }
            Admission::Early => {
                trace.mark("early batch");
                self.waiting.push((address, batch));
            }
            Admission::Refused(kind, _) => {
                match kind {
                    Kind::Fenced => trace.mark("fenced"),
                    Kind::Conflict => trace.mark("conflict"),
                    _ => trace.mark("resume first"),
                }
                refuse(address, &batch, kind, net);
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        address: Address,
        sender: String,
        record: Record,
        trace: &mut Trace,
    ) -> Result<(), Ended> {
        match self.journal.append(&[record.encode()]) {
            Ok(index) => {
                if bugs::is(Driver::AppliedBeforeDurable) {
                    self.apply(&record);
                }
                self.pending.push(Pending { address, sender, index, record });
                Ok(())
            }
            Err(SpoolError::Full { .. } | SpoolError::Disk { .. }) => {
                trace.mark("disk full");
                Ok(())
            }
            Err(_) => Err(Ended::Poisoned),
        }
    }

    fn apply(&mut self, record: &Record) {
        for (sender, moved) in record.moves() {
            self.agents.entry(sender.to_owned()).or_default().replay(moved);
        }
    }

    /// Makes the group durable; then state moves, and answers leave.
    pub(crate) fn sync(
        &mut self,
        ground: &mut Ground,
        oracle: &mut Oracle,
        net: &mut Network,
        trace: &mut Trace,
    ) -> Result<(), Ended> {
        if self.journal.sync().is_err() {
            trace.mark("fsync failed");
            return Err(Ended::Poisoned);
        }
        for pending in std::mem::take(&mut self.pending) {
            if !bugs::is(Driver::AppliedBeforeDurable) {
                self.apply(&pending.record);
            }
            self.nothing(pending.index, 0);
            let Some(agent) = self.agents.get(&pending.sender) else { continue };
            let answer = match &pending.record {
                Record::Batch(record) => {
                    let batch = record.batch.clone().unwrap_or_default();
                    note_journaled(&batch, oracle);
                    check_books(agent)?;
                    let durable = agent.durable();
                    self.take_rows(pending.index, &batch, oracle)?;
                    let number = number(&batch);
                    trace.say(format!("journaled {} of {} at {}", number.0, pending.sender, pending.index));
                    Answer::Durable { number, durable }
                }
                _ => {
                    trace.say(format!("lease {:x} of {}", pending.address.epoch, pending.sender));
                    let number = agent.lease_number(pending.address.epoch).unwrap_or_default();
                    Answer::Lease { number, positions: agent.positions() }
                }
            };
            net.send(Message::ToAgent(pending.address, answer));
        }
        self.check_booked(ground)?;
        Ok(())
    }

    /// Those that waited for a lock or for a batch before them have their turn.
    pub(crate) fn wake(&mut self, net: &mut Network, trace: &mut Trace) -> Result<(), Ended> {
        for (address, batch) in std::mem::take(&mut self.waiting) {
            self.admit(address, batch, net, trace)?;
        }
        Ok(())
    }

    /// What has waited too long is refused with a delay: the agent sends it again.
    pub(crate) fn give_up_waiting(&mut self, ground: &Ground, net: &mut Network) {
        for (address, batch) in std::mem::take(&mut self.waiting) {
            let origin = batch.origin.clone().unwrap_or_default();
            let agent = self.agents.get(&origin.agent_id);
            if let Some(agent) = agent.filter(|agent| ground.restored && agent.epoch() == Some(origin.epoch))
            {
                let answer = Answer::Early { number: number(&batch), durable: agent.durable() };
                net.send(Message::ToAgent(address, answer));
            }
        }
    }

    /// Commits rows and journal position to the store, together.
    pub(crate) fn flush(&mut self, ground: &mut Ground, trace: &mut Trace) -> Checked {
        let through = self.tables.last_key_value().map_or(ground.committed, |(index, _)| *index);
        for id in std::mem::take(&mut self.tables).into_values().flatten() {
            if !ground.stored.insert(id) {
                return Err(broken("stored once", format!("row {id} is stored twice")));
            }
        }
        ground.committed = ground.committed.max(through);
        trace.say(format!("committed through {through}"));
        Ok(())
    }

    /// Trims the journal behind the store and behind a snapshot, when the store has committed more since the last time, or when it
    /// failed. Waits for the batches under way.
    pub(crate) fn trim(&mut self, ground: &Ground, trace: &mut Trace) -> Result<(), Ended> {
        if !self.pending.is_empty() || self.trimmed_at == Some(ground.committed) {
            return Ok(());
        }
        if self.journal.stats().bytes < SEGMENT {
            self.trimmed_at = Some(ground.committed);
            return Ok(());
        }
        let mut snapshots = Snapshots::default();
        self.agents.iter().for_each(|(id, agent)| snapshots.add(id, agent));
        let first = match self.journal.append(&snapshots.finish()) {
            Ok(first) => first,
            Err(error @ (SpoolError::Full { .. } | SpoolError::Disk { .. })) => {
                trace.say(format!("no snapshot: {error}"));
                return Ok(());
            }
            Err(_) => return Err(Ended::Poisoned),
        };
        let synced = self.journal.sync().map_err(|_| Ended::Poisoned)?;
        if synced < first {
            return Err(broken("acknowledged is durable", "a snapshot was not synced").into());
        }
        (first..=synced).for_each(|index| self.nothing(index, 0));
        let before = self.journal.stats().first;
        match self.journal.trim(trim_through(ground.committed, Some(first))) {
            Ok(()) => self.trimmed_at = Some(ground.committed),
            Err(SpoolError::Disk { .. }) => {}
            Err(_) => return Err(Ended::Poisoned),
        }
        if self.journal.stats().first > before {
            trace.mark("snapshot and trim");
        }
        trace.say(format!("trimmed: {:?}", self.journal.stats()));
        Ok(())
    }

    pub(crate) fn check_budget(&self) -> Checked {
        let bytes = self.journal.stats().bytes;
        // A segment's header, and a new segment for a record, come on top.
        if bytes > JOURNAL_BYTES + SEGMENT {
            return Err(broken("within the byte budget", format!("the journal has {bytes} bytes")));
        }
        Ok(())
    }

    /// Points that agents counted as dropped.
    pub(crate) fn points_dropped(&self) -> u64 {
        let dropped = |agent: &Agent| -> u64 {
            let lost = |position: &SourcePosition| match position.position {
                Some(Position::SpoolIndex(_)) => position.events_dropped.values().sum(),
                _ => 0,
            };
            agent.positions().iter().map(lost).sum()
        };
        self.agents.values().map(dropped).sum()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.pending.is_empty() && self.waiting.is_empty()
    }

    pub(crate) fn jump_clock(&mut self, now: u64) {
        self.now = now;
    }

    /// What the journal booked, in the records that move the positions, is what is stored or waits for it.
    fn check_booked(&self, ground: &Ground) -> Checked {
        let held = ground.stored.len() + self.tables.values().map(Vec::len).sum::<usize>();
        let mut journaled = 0;
        for agent in self.agents.values() {
            journaled += agent.accounts().iter().0.map(|account| account.journaled).sum::<u64>();
        }
        if journaled != held as u64 {
            let text = format!("{journaled} rows are booked, {held} are held");
            return Err(broken("positions and rows move together", text));
        }
        Ok(())
    }
}

fn refuse(address: Address, batch: &Batch, kind: Kind, net: &mut Network) {
    net.send(Message::ToAgent(address, Answer::Refused { number: number(batch), kind }));
}

fn note_journaled(batch: &Batch, oracle: &mut Oracle) {
    let origin = batch.origin.clone().unwrap_or_default();
    oracle.journaled.insert((origin.agent_id, origin.epoch, origin.sequence), batch.digest.to_vec());
}

/// Every event that was read is dropped or journaled.
fn check_books(agent: &Agent) -> Checked {
    match agent.accounts().iter().0.find(|account| account.missing != 0) {
        Some(account) => Err(broken("the books close", format!("{account:?}"))),
        None => Ok(()),
    }
}

fn rows_by_source(batch: &Batch) -> Vec<SourceRows> {
    let rows = rows(batch).len() as u64;
    let source = batch.positions.first().map(|position| position.display_name.clone()).unwrap_or_default();
    if rows == 0 { Vec::new() } else { vec![SourceRows { source, rows }] }
}
