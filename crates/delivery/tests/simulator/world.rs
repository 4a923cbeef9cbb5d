//! A run: what may happen next is drawn from the seed; then the faults end, and everything must arrive.

mod faults;

use std::collections::{BTreeMap, BTreeSet};

use self::faults::{FAULTS, Fault};
use crate::{
    collector::{Collector, Ended, Ground},
    host::{Host, MOST_POINTS, SPOOL_BYTES},
    oracle::{Checked, Oracle, Violation, broken},
    random::{Random, Trace},
    session::Session,
    wire::{Message, Network, Request},
};

/// Steps with faults.
const STEPS: usize = 350;
/// Rounds without faults in which everything must arrive.
const ROUNDS: usize = 500;

pub(crate) struct World {
    random: Random,
    pub(crate) trace: Trace,
    oracle: Oracle,
    net: Network,
    hosts: Vec<Host>,
    ground: Ground,
    collector: Option<Collector>,
    faults: Vec<Fault>,
    store_behind: bool,
    /// Decides when the collector is copied and set back. Numbers of its own, so that seeds that do neither do what they always did.
    restores: Random,
    /// Whether it is at all, in this seed.
    has_restores: bool,
    backup: Option<Backup>,
}

/// A copy of a collector, and what it held.
struct Backup {
    ground: Ground,
    held: BTreeSet<usize>,
    journaled: BTreeMap<(String, u64, u64), Vec<u8>>,
}

impl World {
    pub(crate) fn new(seed: u64, print: bool) -> Self {
        let mut random = Random::new(seed);
        let faults = FAULTS.into_iter().filter(|_| random.one_in(2)).collect();
        let hosts = (0..1 + random.below(2)).map(|number| Host::new(number, random.one_in(2))).collect();
        let mut trace = Trace::new(print);
        trace.say(format!("seed {seed}: {faults:?}"));
        Self {
            random,
            trace,
            oracle: Oracle::default(),
            net: Network::default(),
            hosts,
            ground: Ground::default(),
            collector: None,
            faults,
            store_behind: false,
            restores: Random::new(!seed),
            has_restores: seed % 4 == 3,
            backup: None,
        }
    }

    /// Runs to the end, or to the first promise that is broken.
    pub(crate) fn run(&mut self) -> Checked {
        for _ in 0..STEPS {
            self.step()?;
            if self.has_restores && self.restores.one_in(60) {
                self.back_up_or_restore()?;
            }
            self.check()?;
        }
        self.settle()
    }

    fn step(&mut self) -> Checked {
        let host = self.random.below(self.hosts.len());
        match self.random.below(100) {
            0..12 => self.write_lines(host),
            12..20 => self.observe(host),
            20..30 => self.read(host),
            30..42 => self.ship(host),
            42..46 => self.retry(host),
            46..70 => self.deliver()?,
            70..79 => self.sync()?,
            79..81 => self.flush()?,
            81..83 => self.trim()?,
            83..94 => self.recover(host)?,
            94 => self.give_up_waiting(),
            _ => self.fail(host)?,
        }
        Ok(())
    }

    fn write_lines(&mut self, host: usize) {
        for _ in 0..1 + self.random.below(4) {
            let line = self.oracle.issue_line(self.random.below(53));
            if let Some(file) = self.hosts[host].files.newest() {
                file.bytes.extend_from_slice(format!("{line}\n").as_bytes());
            }
        }
    }

    fn observe(&mut self, host: usize) {
        let filler = self.random.below(50);
        let points: Vec<String> = (0..1 + self.random.below(MOST_POINTS as usize))
            .map(|_| self.oracle.issue_point(filler))
            .collect();
        self.hosts[host].observe(&points, &mut self.oracle, &mut self.trace);
    }

    fn read(&mut self, host: usize) {
        let Host { files, process, zombie, .. } = &mut self.hosts[host];
        let (place, max) = (self.random.below(files.all.len()), 1 + self.random.below(8));
        if let Some(zombie) = zombie {
            zombie.read(files, place, max);
        }
        let Some(process) = process else { return };
        if let Some(session) = &mut process.session {
            session.read(files, place, max);
            session.replay(&mut process.spool, &mut self.trace);
        }
    }

    fn ship(&mut self, host: usize) {
        let Host { number, process, zombie, .. } = &mut self.hosts[host];
        let session = process.as_mut().and_then(|process| process.session.as_mut());
        for session in session.into_iter().chain(zombie) {
            session.ship(*number, &mut self.net, &mut self.trace);
        }
        if let Some(process) = process
            && let Some(session) = &process.session
            && session.spool_durable > 0
        {
            let _ = process.spool.trim(session.spool_durable - 1);
        }
    }

    fn retry(&mut self, host: usize) {
        let pick = self.random.below(64);
        self.retry_one(host, pick);
    }

    /// Sends again what is under way at a place.
    fn retry_one(&mut self, host: usize, pick: usize) {
        let Host { number, process, zombie, .. } = &mut self.hosts[host];
        let session = process.as_mut().and_then(|process| process.session.as_mut());
        for session in session.into_iter().chain(zombie) {
            session.retry(*number, pick, &mut self.net, &mut self.trace);
        }
    }

    fn deliver(&mut self) -> Checked {
        if self.net.messages.is_empty() {
            return Ok(());
        }
        let place = self.random.below(self.net.messages.len());
        let message = self.net.messages.swap_remove(place);
        if self.has(Fault::Narrow) && self.random.one_in(20) {
            self.ground.narrow = !self.ground.narrow;
        }
        let often = matches!(message, Message::ToCollector(_, Request::Resume));
        if self.has(Fault::Duplicate) && self.random.one_in(if often { 2 } else { 8 }) {
            self.trace.mark("message twice");
            self.net.messages.push(message.clone());
        }
        if self.has(Fault::Drop) && self.random.one_in(8) {
            return Ok(());
        }
        match message {
            Message::ToAgent(to, answer) => {
                self.hosts[to.host].answered(to.epoch, answer, &mut self.oracle, &mut self.trace)
            }
            Message::ToCollector(from, request) => {
                let Some(collector) = &mut self.collector else { return Ok(()) };
                let id = &self.hosts[from.host].id;
                let handled =
                    collector.handle(from, id, request, &mut self.ground, &mut self.net, &mut self.trace);
                self.ended(handled)
            }
        }
    }

    fn sync(&mut self) -> Checked {
        let Some(collector) = &mut self.collector else { return Ok(()) };
        let synced = collector
            .sync(&mut self.ground, &mut self.oracle, &mut self.net, &mut self.trace)
            .and_then(|()| collector.wake(&mut self.net, &mut self.trace));
        self.ended(synced)
    }

    fn flush(&mut self) -> Checked {
        match &mut self.collector {
            Some(collector) if !self.store_behind => collector.flush(&mut self.ground, &mut self.trace),
            _ => Ok(()),
        }
    }

    /// What is under way becomes durable first, and nothing else comes before the trim.
    fn trim(&mut self) -> Checked {
        let Some(collector) = &mut self.collector else { return Ok(()) };
        let trimmed = collector
            .sync(&mut self.ground, &mut self.oracle, &mut self.net, &mut self.trace)
            .and_then(|()| collector.trim(&self.ground, &mut self.trace));
        self.ended(trimmed)
    }

    fn give_up_waiting(&mut self) {
        if let Some(collector) = &mut self.collector {
            collector.give_up_waiting(&self.ground, &mut self.net);
        }
    }

    /// A process whose journal is broken ends; systemd starts it again.
    fn ended(&mut self, result: Result<(), Ended>) -> Checked {
        match result {
            Ok(()) => Ok(()),
            Err(Ended::Violated(violation)) => Err(violation),
            Err(Ended::Poisoned) => {
                self.trace.mark("journal poisoned, collector restarted");
                self.trace.say("the journal is broken".to_owned());
                self.collector = None;
                Ok(())
            }
        }
    }

    /// Whatever is down comes up; an operator looks after a host that was fenced.
    fn recover(&mut self, host: usize) -> Checked {
        if self.collector.is_none() {
            match Collector::start(&mut self.ground, &mut self.oracle, &mut self.trace) {
                Ok(collector) => self.collector = Some(collector),
                Err(ended) => self.ended(Err(ended))?,
            }
        }
        let host = &mut self.hosts[host];
        if host.process.as_ref().is_some_and(|process| process.fenced) {
            self.trace.mark("fenced agent restarted");
            host.stop(&mut self.random, &mut self.oracle, &mut self.trace);
        }
        if host.process.is_none() {
            host.start(&mut self.oracle, &mut self.trace);
        }
        host.resume(&mut self.random, &mut self.net);
        Ok(())
    }

    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn check(&self) -> Checked {
        if let Some(collector) = &self.collector {
            collector.check_budget()?;
        }
        for host in &self.hosts {
            let bytes = host.process.as_ref().map_or(0, |process| process.spool.stats().bytes);
            if bytes > SPOOL_BYTES + SPOOL_BYTES / 4 {
                return Err(broken("within the byte budget", format!("the spool has {bytes} bytes")));
            }
        }
        Ok(())
    }

    /// No more faults: everything must arrive, and what arrived must outlive a last power loss.
    fn settle(&mut self) -> Checked {
        self.trace.say("no more faults".to_owned());
        self.faults.clear();
        (self.net.cut_to_agent, self.net.cut_to_collector) = (false, false);
        (self.ground.narrow, self.store_behind) = (false, false);
        self.ground.disk.set_room(None);
        for host in 0..self.hosts.len() {
            self.hosts[host].disk.set_room(None);
            let process = self.hosts[host].process.as_mut();
            if process.is_some_and(|process| process.spool.flush().is_err()) {
                self.trace.mark("broken spool opened again");
                self.hosts[host].stop(&mut self.random, &mut self.oracle, &mut self.trace);
            }
            self.recover(host)?;
            // A gap is told by what comes behind it.
            self.observe(host);
        }
        let rounds =
            (0..ROUNDS).try_fold(false, |done, round| if done { Ok(true) } else { self.round(round) })?;
        if !rounds {
            let missing = self.oracle.missing(&self.held()).unwrap_or("nothing, but something is under way");
            return Err(broken("everything arrives", format!("after {ROUNDS} rounds: {missing}")));
        }
        self.collector = None;
        let random = &mut self.random;
        self.ground.disk.crash_randomly(|limit| random.below(limit));
        self.recover(0)?;
        let counted = self.collector.as_ref().map_or(0, Collector::points_dropped);
        self.oracle.check_end(&self.held(), counted)
    }

    fn held(&self) -> BTreeSet<usize> {
        self.collector.as_ref().map_or_else(BTreeSet::new, |collector| collector.held(&self.ground))
    }

    /// Everyone has a turn. Whether all is done.
    fn round(&mut self, round: usize) -> Result<bool, Violation> {
        for host in 0..self.hosts.len() {
            self.recover(host)?;
            self.retry(host);
            if self.ground.restored {
                // What waits for it is given up now and then. An agent sends again all that is under way, and so the oldest, too.
                self.retry_one(host, 0);
            }
            self.read(host);
            self.ship(host);
        }
        for _ in 0..8 {
            self.deliver()?;
        }
        if self.ground.restored && round % 16 == 15 {
            self.give_up_waiting();
        }
        self.sync()?;
        self.flush()?;
        self.trim()?;
        for _ in 0..8 {
            self.deliver()?;
        }
        let idle = |host: &Host| {
            let process = host.process.as_ref();
            host.zombie.as_ref().is_none_or(Session::is_idle)
                && process
                    .and_then(|process| process.session.as_ref())
                    .is_some_and(|session| session.is_idle())
        };
        let quiet = self.collector.as_ref().is_some_and(Collector::is_quiet) && self.net.messages.is_empty();
        Ok(quiet && self.hosts.iter().all(idle) && self.oracle.missing(&self.held()).is_none())
    }
}
