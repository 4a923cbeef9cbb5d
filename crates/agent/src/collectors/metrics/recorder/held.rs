//! What the collector holds of the spool, and what is missing in it.

use std::collections::HashMap;

use lapwing::v1::{SourcePosition, source_position::Position};

use super::{SOURCE, points::Points};

/// What a person knows the spool by: the table its events are in.
const METRICS: &str = "metrics";
/// Points are missing because the spool was full.
pub(super) const FULL: &str = "spool_full";
/// Points are missing because their record was damaged.
pub(super) const DAMAGED: &str = "spool_damaged";

/// What the collector holds of the spool.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The record that it wants next.
    pub next: u64,
    /// Points up to there, with those that are missing.
    pub(super) points: u64,
    /// Of these, those that are missing, by cause.
    dropped: HashMap<String, u64>,
}

impl Held {
    /// Finds it among the positions of a lease.
    pub fn new(positions: &[SourcePosition]) -> Self {
        let held = |position: &SourcePosition| match position.position {
            Some(Position::SpoolIndex(next)) if position.source == SOURCE => {
                let dropped = position.events_dropped.clone();
                Some(Self { next, points: position.events_read, dropped })
            }
            _ => None,
        };
        positions.iter().find_map(held).unwrap_or(Self::at(1))
    }

    /// Nothing before record `next`, and no points.
    pub(super) fn at(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// Goes on to the record before `next` and gives how many points are missing before it.
    pub(super) fn take(&mut self, next: u64, points: &Points, cause: &str) -> u64 {
        // With a state directory that is behind numbers may be, too: they tell nothing then.
        let missing = points.first.saturating_sub(self.points);
        if missing > 0 {
            *self.dropped.entry(cause.to_owned()).or_default() += missing;
        }
        self.next = next;
        self.points += missing + points.rows();
        missing
    }

    pub(super) fn position(&self) -> SourcePosition {
        SourcePosition {
            source: SOURCE.to_owned(),
            position: Some(Position::SpoolIndex(self.next)),
            display_name: METRICS.to_owned(),
            events_read: self.points,
            events_dropped: self.dropped.clone(),
            ..SourcePosition::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use lapwing::columns::MetricColumns;

    use super::*;

    fn points(first: u64) -> Points {
        Points { first, columns: MetricColumns::default() }
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
