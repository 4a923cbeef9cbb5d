//! What the collector holds of the spool, and what is missing in it.

use std::{collections::HashMap, ops::Range};

use lapwing::v1::{SourcePosition, source_position::Position};

use crate::planted::{self, Bug};

/// The name of the agent's spool as a source.
pub const SPOOL: &str = "spool";
/// What a person knows the spool by: the table its events are in.
const METRICS: &str = "metrics";
/// Points are missing because the spool was full.
pub const FULL: &str = "spool_full";
/// Points are missing because the agent ended before their record was on its disk.
pub const CRASHED: &str = "agent_crashed";
/// Points are missing because their record was damaged.
pub const DAMAGED: &str = "spool_damaged";

/// Points are missing because they were acknowledged, so that the agent gave them up, by a collector that was then restored from an
/// older copy.
pub const RESTORED: &str = "collector_restored";

/// What the collector holds of the spool.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The record that it wants next.
    pub next: u64,
    /// Points up to there, with those that are missing.
    points: u64,
    /// Of these, those that are missing, by cause.
    dropped: HashMap<String, u64>,
}

impl Held {
    /// Finds it among the positions of a lease.
    pub fn new(positions: &[SourcePosition]) -> Self {
        let held = |position: &SourcePosition| match position.position {
            Some(Position::SpoolIndex(next)) if position.source == SPOOL => {
                let dropped = position.events_dropped.clone();
                Some(Self { next, points: position.events_read, dropped })
            }
            _ => None,
        };
        positions.iter().find_map(held).unwrap_or(Self::at(1))
    }

    /// Nothing before record `next`, and no points.
    pub fn at(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// Points up to where they are held, with those that are missing.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// Goes on to the record before `next`, with these of all points ever observed, and gives how many points are missing before it.
    pub fn take(&mut self, next: u64, points: &Range<u64>, cause: &str) -> u64 {
        // With a state directory that is behind numbers may be, too: they tell nothing then.
        let missing = points.start.saturating_sub(self.points);
        if missing > 0 && !planted::is(Bug::GapNotCounted) {
            *self.dropped.entry(cause.to_owned()).or_default() += missing;
        }
        self.next = next;
        self.points += missing + (points.end - points.start);
        missing
    }

    /// As the position that a batch carries.
    pub fn position(&self) -> SourcePosition {
        SourcePosition {
            source: SPOOL.to_owned(),
            position: Some(Position::SpoolIndex(self.next)),
            display_name: METRICS.to_owned(),
            events_read: self.points,
            events_dropped: self.dropped.clone(),
            ..SourcePosition::default()
        }
    }
}

/// The record of the spool that the collector wants next, by what it holds; `None` when nothing of it moved.
pub fn next_record(moved: &[SourcePosition]) -> Option<u64> {
    moved.iter().find_map(|position| match position.position {
        Some(Position::SpoolIndex(next)) if position.source == SPOOL => Some(next),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(first: u64) -> Range<u64> {
        first..first
    }

    #[test]
    fn missing_points_are_counted_by_cause_and_over_restarts() {
        let mut held = Held::new(&[]);
        assert_eq!(held.take(2, &points(0), FULL), 0);
        assert_eq!(held.take(5, &points(30), FULL), 30);
        let mut again = Held::new(&[held.position()]);
        assert_eq!((again.next, again.points), (5, 30));
        assert_eq!(again.take(9, &points(37), DAMAGED), 7);
        let position = again.position();
        assert_eq!(position.events_read, 37);
        assert_eq!((position.events_dropped[FULL], position.events_dropped[DAMAGED]), (30, 7));
    }

    #[test]
    fn numbers_that_are_behind_tell_nothing() {
        let mut held = Held { points: 100, ..Held::new(&[]) };
        assert_eq!(held.take(2, &points(3), FULL), 0);
        assert_eq!(held.points, 100);
    }
}
