//! The order of a file as an order of times: lines without a time of their own follow the line before them.

use crate::Time;

/// Times for the lines of one source in one reading, so that sorted by time they stand in the order of the
/// file.
///
/// A line without a time (a stack trace, the rest of a table) is placed one nanosecond behind the line before
/// it, as Loki's agent does: it was written with it, so it is found beside it. At the beginning of a reading
/// it has the time it was read at. It takes no severity over: a trace of thirty lines is one error, not
/// thirty.
///
/// A timeline is made anew for each reading, so that reading the same lines again gives the same times.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeline {
    last: Option<i64>,
}

impl Timeline {
    /// The time of the next line, given its own, if it has one, and when it was read.
    ///
    /// A line of the same second as the one before a trace comes behind the trace: its time moves by less
    /// than it is written to.
    pub fn place(&mut self, own: Option<&Time>, observed_unix_nano: i64) -> i64 {
        let behind_last = self.last.and_then(|last| last.checked_add(1));
        let placed = match (own, self.last) {
            (Some(own), Some(last)) if own.unix_nano < last && last.abs_diff(own.unix_nano) < own.step => {
                behind_last
            }
            (Some(own), _) => Some(own.unix_nano),
            (None, _) => behind_last,
        };
        let placed = placed.unwrap_or(observed_unix_nano);
        self.last = Some(placed);
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(own: &[Option<i64>]) -> Vec<i64> {
        let mut timeline = Timeline::default();
        let time = |unix_nano| Time { unix_nano, step: 100, zone_assumed: false, year_assumed: false };
        own.iter().map(|own| timeline.place(own.map(time).as_ref(), 1000)).collect()
    }

    #[test]
    fn lines_without_a_time_are_a_nanosecond_apart() {
        assert_eq!(placed(&[None, None, None]), [1000, 1001, 1002]);
    }

    #[test]
    fn lines_without_a_time_follow_the_line_before_them() {
        assert_eq!(placed(&[None, Some(500), None, None, Some(700), None]), [1000, 500, 501, 502, 700, 701]);
    }

    #[test]
    fn a_line_of_the_same_second_as_a_trace_comes_behind_it() {
        assert_eq!(
            placed(&[Some(500), None, None, Some(500), Some(500), Some(600)]),
            [500, 501, 502, 503, 504, 600]
        );
    }

    #[test]
    fn times_that_are_written_stay_as_they_are() {
        assert_eq!(placed(&[Some(500), Some(500), Some(300), Some(900)]), [500, 500, 300, 900]);
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        assert_eq!(placed(&[Some(i64::MAX), None]), [i64::MAX, 1000]);
    }
}
