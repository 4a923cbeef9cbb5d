//! Times that can't be: no reader of the store need hold them, and no row of the future hides those of the present.

use super::{Attributes, Column, Columns};

/// Marks a row whose time was ahead, and gave way to the time at which it was read.
pub const TIME_AHEAD: &str = "lapwing.time_ahead";

impl Columns {
    /// Replaces each time after `latest` by the time at which the row was read, or, when nothing says when that was, or that is after
    /// `latest`, too, by `received`. Times are nanoseconds since the Unix epoch. The rows are marked by [`TIME_AHEAD`].
    pub fn bound_times(&mut self, received: u64, latest: u64) {
        match self {
            Self::Logs(logs) => {
                bound(&mut logs.observed_time, latest, received);
                let ahead = bound_by(&mut logs.time, latest, &logs.observed_time);
                mark(&mut logs.attributes, &ahead);
            }
            Self::Metrics(metrics) => {
                let ahead = bound(&mut metrics.time, latest, received);
                bound(&mut metrics.start_time, latest, received);
                mark(&mut metrics.attributes, &ahead);
            }
            Self::Flows(flows) => {
                let ahead = bound(&mut flows.time, latest, received);
                bound(&mut flows.start_time, latest, received);
                mark(&mut flows.attributes, &ahead);
            }
        }
    }
}

/// Rows from the first one on, in runs, and whether their time was ahead; empty when none was.
type Ahead = Column<bool>;

fn bound(times: &mut Column<u64>, latest: u64, instead: u64) -> Ahead {
    if times.runs().all(|(_, time)| *time <= latest) {
        return Ahead::default();
    }
    let mut ahead = Ahead::Runs(Vec::new());
    let mut bounded = Column::Runs(Vec::new());
    for (rows, time) in times.runs() {
        let is_ahead = *time > latest;
        ahead.push_run(rows as u32, is_ahead);
        bounded.push_run(rows as u32, if is_ahead { instead } else { *time });
    }
    *times = bounded;
    ahead
}

/// As [`bound`], by another column's time of the same row.
fn bound_by(times: &mut Column<u64>, latest: u64, instead: &Column<u64>) -> Ahead {
    if times.runs().all(|(_, time)| *time <= latest) {
        return Ahead::default();
    }
    let mut ahead = Ahead::Runs(Vec::new());
    let mut bounded = Column::Runs(Vec::new());
    for (time, instead) in times.iter().zip(instead.iter()) {
        let is_ahead = *time > latest;
        ahead.push_run(1, is_ahead);
        bounded.push_run(1, if is_ahead { *instead } else { *time });
    }
    *times = bounded;
    ahead
}

fn mark(attributes: &mut Column<Attributes>, ahead: &Ahead) {
    if ahead.rows() == 0 {
        return;
    }
    let mut marked = Column::Runs(Vec::new());
    for (own, is_ahead) in attributes.iter().zip(ahead.iter()) {
        let pairs = own.iter().chain(is_ahead.then_some((TIME_AHEAD, "true")));
        marked.push_run(1, pairs.collect());
    }
    *attributes = marked;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{Bodies, LogColumns, MetricColumns};

    #[test]
    fn a_time_ahead_gives_way_to_the_time_of_reading_and_is_marked() {
        let own = Attributes::from_iter([("k", "v")]);
        let mut columns = Columns::Logs(LogColumns {
            time: Column::Plain(vec![5, u64::MAX, 200, 100]),
            observed_time: Column::Plain(vec![50, 60, u64::MAX, 70]),
            severity_number: Column::constant(4, 0),
            severity_text: Column::constant(4, "".into()),
            source: Column::constant(4, "a".into()),
            attributes: Column::constant(4, own.clone()),
            bodies: [&b"a"[..], b"b", b"c", b"d"].into_iter().collect::<Bodies>(),
        });
        columns.bound_times(90, 100);
        let Columns::Logs(logs) = columns else { panic!("they are logs") };
        assert_eq!(logs.time, Column::Plain(vec![5, 60, 90, 100]), "an old time is kept");
        assert_eq!(logs.observed_time, Column::Plain(vec![50, 60, 90, 70]));
        let marked: Vec<Option<&str>> = logs.attributes.iter().map(|pairs| pairs.get(TIME_AHEAD)).collect();
        assert_eq!(marked, [None, Some("true"), Some("true"), None]);
        assert!(logs.attributes.iter().all(|pairs| pairs.get("k") == Some("v")));
    }

    #[test]
    fn columns_without_such_a_time_stay_as_they_are() {
        let mut metrics = Columns::Metrics(MetricColumns {
            time: Column::constant(3, 100),
            start_time: Column::constant(3, 0),
            ..MetricColumns::default()
        });
        let before = metrics.clone();
        metrics.bound_times(90, 100);
        assert_eq!(metrics, before);
    }
}
