//! What can go wrong, and how it is done.

use std::collections::BTreeSet;

use super::{Backup, World};
use crate::{collector::Ground, files::LogFile, host::Host, oracle::Checked, wire::Message};

/// What can go wrong. Each seed leaves out about half of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    KillAgent,
    AgentPower,
    KillCollector,
    CollectorPower,
    Drop,
    Duplicate,
    Cut,
    FsyncFails,
    DirectoryFsyncFails,
    DiskFull,
    Narrow,
    Zombie,
    Rotate,
    CopyTruncate,
    CommitUnheard,
    SpoolLost,
    ClockJumps,
    StoreBehind,
}

pub(super) const FAULTS: [Fault; 18] = [
    Fault::KillAgent,
    Fault::AgentPower,
    Fault::KillCollector,
    Fault::CollectorPower,
    Fault::Drop,
    Fault::Duplicate,
    Fault::Cut,
    Fault::FsyncFails,
    Fault::DirectoryFsyncFails,
    Fault::DiskFull,
    Fault::Narrow,
    Fault::Zombie,
    Fault::Rotate,
    Fault::CopyTruncate,
    Fault::CommitUnheard,
    Fault::SpoolLost,
    Fault::ClockJumps,
    Fault::StoreBehind,
];

impl World {
    pub(super) fn fail(&mut self, host: usize) -> Checked {
        if self.faults.is_empty() {
            return Ok(());
        }
        let fault = self.faults[self.random.below(self.faults.len())];
        self.trace.say(format!("{fault:?} at host {host}"));
        let random = &mut self.random;
        match fault {
            Fault::KillAgent if random.one_in(3) => {
                self.hosts[host].stop(random, &mut self.oracle, &mut self.trace)
            }
            Fault::KillAgent => self.hosts[host].kill(false, false, random),
            Fault::AgentPower => self.hosts[host].kill(true, false, random),
            Fault::Zombie => self.hosts[host].kill(false, true, random),
            Fault::KillCollector => self.collector = None,
            Fault::CollectorPower => {
                self.collector = None;
                self.ground.disk.crash_randomly(|limit| random.below(limit));
            }
            Fault::Drop => self.net.messages.clear(),
            Fault::Duplicate => {}
            Fault::Cut => {
                self.net.cut_to_agent = random.one_in(2);
                self.net.cut_to_collector = random.one_in(2);
            }
            Fault::FsyncFails if random.one_in(2) => self.ground.disk.fail_next_sync(),
            Fault::FsyncFails => self.hosts[host].disk.fail_next_sync(),
            Fault::DirectoryFsyncFails => self.ground.disk.fail_next_sync_dir(),
            Fault::DiskFull => {
                let room = random.one_in(2).then(|| random.below(900));
                self.ground.disk.set_room(room);
                self.hosts[host].disk.set_room(room);
            }
            Fault::Narrow => self.ground.narrow = !self.ground.narrow,
            Fault::StoreBehind => self.store_behind = !self.store_behind,
            Fault::Rotate => self.rotate(host),
            Fault::CopyTruncate => self.truncate(host),
            Fault::CommitUnheard => {
                self.flush()?;
                self.collector = None;
            }
            Fault::SpoolLost => self.lose_spool(host),
            Fault::ClockJumps => {
                let now = random.next();
                self.collector.iter_mut().for_each(|collector| collector.jump_clock(now));
            }
        }
        Ok(())
    }

    /// The name goes to a new file; the oldest goes when all of it is safe, and its inode is used again.
    fn rotate(&mut self, host: usize) {
        let files = &self.hosts[host].files;
        if files.all.len() > 2 && self.is_safe(&files.all[0].lines()) {
            self.trace.mark("inode freed");
            self.hosts[host].files.remove_oldest();
            self.forget_gone(host);
        }
        self.trace.mark("rotated");
        self.hosts[host].files.rotate();
    }

    fn forget_gone(&mut self, host: usize) {
        let Host { files, process, zombie, .. } = &mut self.hosts[host];
        let session = process.as_mut().and_then(|process| process.session.as_mut());
        session.into_iter().chain(zombie).for_each(|session| session.forget_gone(files));
    }

    /// What is read and safe is truncated in place.
    fn truncate(&mut self, host: usize) {
        let lines = self.hosts[host].files.newest().map(|file| file.lines()).unwrap_or_default();
        if self.is_safe(&lines)
            && let Some(file) = self.hosts[host].files.newest()
        {
            self.trace.mark("truncated in place");
            file.bytes.clear();
        }
    }

    /// The collector's disk and store are copied, or set back to the copy.
    pub(super) fn back_up_or_restore(&mut self) -> Checked {
        match self.backup.take() {
            Some(backup) if self.restores.one_in(2) => self.restore(backup),
            _ => self.back_up(),
        }
    }

    fn back_up(&mut self) -> Checked {
        self.sync()?;
        let Some(collector) = &self.collector else { return Ok(()) };
        let disk = self.ground.disk.backup();
        let ground = Ground { disk, stored: self.ground.stored.clone(), ..Ground::default() };
        self.backup = Some(Backup {
            held: collector.held(&self.ground),
            journaled: self.oracle.journaled.clone(),
            ground: Ground { committed: self.ground.committed, ..ground },
        });
        self.trace.say("the collector is copied".to_owned());
        Ok(())
    }

    /// What the old process answered does not come any more: its connections ended with it.
    fn restore(&mut self, backup: Backup) -> Checked {
        self.sync()?;
        let Some(collector) = self.collector.take() else { return Ok(()) };
        self.trace.mark("collector restored");
        self.trace.say("the collector is set back to its copy".to_owned());
        self.net.messages.retain(|message| matches!(message, Message::ToCollector(..)));

        let Backup { ground, held, journaled } = backup;
        let files: Vec<String> =
            self.hosts.iter().flat_map(|host| &host.files.all).flat_map(LogFile::lines).collect();
        let files: BTreeSet<&str> = files.iter().map(String::as_str).collect();
        let before = collector.held(&self.ground);
        self.oracle.set_back(&before, &held, &journaled, |line| files.contains(line));
        self.ground = Ground { narrow: self.ground.narrow, restored: true, ..ground };
        Ok(())
    }

    fn is_safe(&self, lines: &[String]) -> bool {
        let Some(collector) = &self.collector else { return false };
        let held = collector.held(&self.ground);
        lines.iter().all(|line| {
            self.oracle.known(line).is_ok_and(|id| held.contains(&id) || self.oracle.aside.contains(&id))
        })
    }

    /// The state directory is lost.
    fn lose_spool(&mut self, host: usize) {
        self.trace.mark("spool lost");
        let random = &mut self.random;
        self.hosts[host].kill(false, false, random);
        self.hosts[host].disk = Default::default();
        (self.oracle.count_lost, self.oracle.numbers_lost) = (true, true);
    }
}
