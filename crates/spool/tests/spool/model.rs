//! Any sequence of actions, judged by a plain map.

use std::collections::BTreeMap;

use bytes::Bytes;
use lapwing_spool::{Options, Spool, SpoolError, WhenFull, sim::SimDisk};
use proptest::{collection::vec, prelude::*};

use super::{all, in_memory, open_with, options, payload};

#[derive(Debug, Clone)]
enum Action {
    Append(Vec<usize>),
    Sync,
    Flush,
    Trim(u64),
    /// To this many indexes after the next one, or before it.
    Advance(i64),
    /// A clean close.
    Close,
    /// An append whose fsync fails: the process ends.
    FailedSync,
    /// The process is gone: what it wrote stays in the page cache.
    Kill,
    /// Power loss: of the unsynced bytes these first ones stay, with a hole in them that was not written.
    Crash {
        keep: usize,
        hole: (usize, usize),
    },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => vec(0usize..120, 1..4).prop_map(Action::Append),
        3 => Just(Action::Sync),
        1 => Just(Action::Flush),
        2 => (0u64..60).prop_map(Action::Trim),
        1 => (-8i64..8).prop_map(Action::Advance),
        1 => Just(Action::Close),
        1 => Just(Action::FailedSync),
        1 => Just(Action::Kill),
        2 => (0usize..600, (0usize..300, 0usize..40)).prop_map(|(keep, hole)| Action::Crash { keep, hole }),
    ]
}

/// What must be true of the spool.
struct Model {
    disk: SimDisk,
    options: Options,
    spool: Spool,
    /// What was appended and not given up.
    kept: BTreeMap<u64, Bytes>,
    trimmed: u64,
    /// Every record up to here is acknowledged as durable.
    durable: u64,
    /// No index before this one may be given.
    floor: u64,
    /// Makes each payload another one.
    appended: u64,
}

impl Model {
    fn new(options: Options) -> Self {
        let disk = SimDisk::default();
        let (spool, _) = open_with(&disk, options.clone());
        Self { disk, options, spool, kept: BTreeMap::new(), trimmed: 0, durable: 0, floor: 1, appended: 0 }
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Append(sizes) => self.append(sizes)?,
            Action::Sync => self.durable = self.spool.sync().unwrap(),
            Action::Flush => self.flushed(Spool::flush)?,
            Action::Trim(through) => {
                self.spool.trim(*through).unwrap();
                self.give_up((*through).min(self.spool.stats().next - 1));
            }
            Action::Advance(by) => self.advance(*by)?,
            Action::Close => {
                self.flushed(|spool| spool.close().map(|()| spool.stats().durable))?;
                self.reopen(true)?;
            }
            Action::FailedSync => {
                self.append(&[50])?;
                self.disk.fail_next_sync();
                assert!(matches!(self.spool.flush(), Err(SpoolError::Poisoned { .. })));
                self.reopen(false)?;
            }
            Action::Kill => self.reopen(false)?,
            Action::Crash { keep, hole } => {
                self.disk.crash_with(|unsynced| {
                    unsynced.truncate(*keep);
                    unsynced.iter_mut().skip(hole.0).take(hole.1).for_each(|byte| *byte = 0);
                });
                self.reopen(false)?;
            }
        }
        self.floor = self.floor.max(self.durable + 1);
        prop_assert_eq!(&all(&mut self.spool), &self.kept);
        self.check_figures()
    }

    fn append(&mut self, sizes: &[usize]) -> Result<(), TestCaseError> {
        let payloads: Vec<_> = sizes.iter().zip(self.appended..).map(|(size, n)| payload(n, *size)).collect();
        self.appended += sizes.len() as u64;
        let next = self.spool.stats().next;
        let first = self.spool.append(&payloads).unwrap();
        prop_assert_eq!(first, next);
        prop_assert!(first >= self.floor, "index {first} was given again");
        self.kept.extend((first..).zip(payloads));
        Ok(())
    }

    fn flushed(&mut self, act: impl Fn(&mut Spool) -> Result<u64, SpoolError>) -> Result<(), TestCaseError> {
        self.durable = act(&mut self.spool).unwrap();
        let stats = self.spool.stats();
        prop_assert_eq!((self.durable, stats.memory_records), (stats.next - 1, 0));
        Ok(())
    }

    fn advance(&mut self, by: i64) -> Result<(), TestCaseError> {
        let before = self.spool.stats().next;
        let next = before.saturating_add_signed(by).max(1);
        self.spool.advance(next).unwrap();
        prop_assert_eq!(self.spool.stats().next, before.max(next));
        self.floor = self.floor.max(next);
        self.give_up(next - 1);
        Ok(())
    }

    fn give_up(&mut self, through: u64) {
        self.trimmed = self.trimmed.max(through);
        self.kept.retain(|index, _| *index > self.trimmed);
    }

    /// What stays, whatever happened:
    /// - every record that was durable and not trimmed; all of them after a clean close;
    /// - nothing that was not appended, under its own index (a trim that was not finished may bring back what was trimmed);
    /// - what is gone is a suffix: no record outlives one that was appended before it;
    /// - no index that was durable, or before one that `advance` was told, is given again.
    fn reopen(&mut self, clean: bool) -> Result<(), TestCaseError> {
        let (spool, report) = open_with(&self.disk, self.options.clone());
        self.spool = spool;
        let found: BTreeMap<_, _> = all(&mut self.spool).split_off(&(self.trimmed + 1));
        let stayed: BTreeMap<_, _> = self.kept.clone().into_iter().take(found.len()).collect();
        prop_assert_eq!(&found, &stayed);
        let gone = self.kept.keys().nth(found.len());
        prop_assert!(gone.is_none_or(|gone| *gone > self.durable && !clean), "record {gone:?} is gone");
        prop_assert_eq!((report.damaged_records, report.missing_records, report.damaged_segments), (0, 0, 0));
        self.kept = found;
        // What was trimmed in memory and lost with it may be given again: only `advance` prevents that.
        self.trimmed = self.trimmed.min(self.spool.stats().next - 1);
        self.spool.trim(self.trimmed).unwrap();
        self.durable = self.spool.stats().durable;
        prop_assert!(self.spool.stats().next >= self.floor);
        Ok(())
    }

    fn check_figures(&self) -> Result<(), TestCaseError> {
        let stats = self.spool.stats();
        prop_assert!(stats.memory_bytes <= self.options.memory_bytes);
        prop_assert_eq!(stats.dropped_records, 0);
        prop_assert!(stats.first <= stats.next && stats.durable < stats.next);
        prop_assert!(self.kept.keys().next().is_none_or(|first| *first >= stats.first));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_spool_agrees_with_a_map_whatever_happens(actions in vec(action(), 1..40)) {
        let mut model = Model::new(options());
        actions.iter().try_for_each(|action| model.act(action))?;
    }

    #[test]
    fn with_records_in_memory_first_it_agrees_too(memory in 1u64..1000, actions in vec(action(), 1..40)) {
        let mut model = Model::new(in_memory(memory));
        actions.iter().try_for_each(|action| model.act(action))?;
    }

    #[test]
    fn what_is_not_there_was_trimmed_or_counted_as_dropped(
        memory in prop_oneof![Just(0u64), 1u64..600],
        max_bytes in 300u64..2000,
        steps in vec((vec(0usize..120, 0..4), prop::option::of(0usize..300), 0u64..4, any::<bool>()), 1..60),
    ) {
        let disk = SimDisk::default();
        let options = Options { segment_bytes: 200, max_bytes, when_full: WhenFull::DropOldest, memory_bytes: memory };
        let (mut spool, _) = open_with(&disk, options);
        let (mut kept, mut dropped) = (BTreeMap::new(), 0);
        for (sizes, room, trim, flush) in steps {
            disk.set_room(room);
            let payloads: Vec<_> = sizes.iter().zip(0..).map(|(size, n)| payload(n, *size)).collect();
            match spool.append(&payloads) {
                Ok(first) => kept.extend((first..).zip(payloads)),
                Err(error) => prop_assert!(room.is_some() && matches!(error, SpoolError::Disk { .. }), "{}", error),
            }
            if flush {
                let _ = spool.flush();
            }
            let found = all(&mut spool);
            prop_assert!(found.iter().all(|(index, bytes)| kept.get(index) == Some(bytes)));
            dropped += (kept.len() - found.len()) as u64;
            let stats = spool.stats();
            prop_assert_eq!(stats.dropped_records, dropped);
            prop_assert!(stats.memory_bytes <= memory, "{:?}", stats);
            prop_assert!(stats.bytes <= max_bytes + 600, "{:?}", stats);
            kept = found;
            if trim > 0 {
                let through = spool.stats().first + trim - 2;
                let _ = spool.trim(through);
                kept.retain(|index, _| *index > through);
            }
        }
    }
}
