//! What is read together and handed on together: it wakes the pipeline once, and leaves in one batch.

use lapwing::v1::SourcePosition;
use lapwing_service::watchdog::Beat;
use tokio::sync::mpsc::Sender;

use crate::input::Input;

/// Bytes of lines from which on a turn is handed on.
const MAX_BYTES: usize = 512 << 10;
/// Inputs from which on a turn is handed on.
const MAX_INPUTS: usize = 256;
/// A clock that was set back by more nanoseconds is followed.
const SET_BACK: u64 = 1_000_000_000;

/// The receiver is gone: nobody wants what is read.
#[derive(Debug)]
pub(super) struct Closed;

/// The inputs of one turn, and the channel they leave by.
#[derive(Debug)]
pub(super) struct Turn {
    inputs: Vec<Input>,
    bytes: usize,
    rows: u32,
    max_rows: u32,
    /// The time behind the last line that was read.
    behind: u64,
    out: Sender<Vec<Input>>,
    beat: Beat,
}

impl Turn {
    /// An empty turn. What leaves together holds at most `max_rows` lines.
    pub(super) fn new(max_rows: u32, out: Sender<Vec<Input>>, beat: Beat) -> Self {
        Self { inputs: Vec::new(), bytes: 0, rows: 0, max_rows, behind: 0, out, beat }
    }

    /// The time of a reading of so many lines. Lines that name no time stand a nanosecond apart, so it is behind all those of the reading before.
    pub(super) fn reading(&mut self, now: u64, rows: u32) -> u64 {
        let is_set_back = self.behind.saturating_sub(now) > SET_BACK;
        let time = if is_set_back { now } else { now.max(self.behind) };
        self.behind = time.saturating_add(rows.into());
        time
    }

    /// Adds to the turn, and hands it on when it is large. A full channel holds the caller back.
    pub(super) fn send(&mut self, input: Input) -> Result<(), Closed> {
        if let Input::Lines(run) = &input {
            if self.rows.saturating_add(run.rows) > self.max_rows {
                self.end()?;
            }

            self.bytes += run.data.len();
            self.rows = self.rows.saturating_add(run.rows);
        }

        self.inputs.push(input);
        if self.bytes >= MAX_BYTES || self.inputs.len() >= MAX_INPUTS { self.end() } else { Ok(()) }
    }

    /// Adds positions that are true only together: they leave in one batch.
    pub(super) fn send_together(&mut self, positions: Vec<SourcePosition>) -> Result<(), Closed> {
        self.inputs.extend(positions.into_iter().map(Input::Position));
        if self.inputs.len() >= MAX_INPUTS { self.end() } else { Ok(()) }
    }

    /// Hands on what there is.
    pub(super) fn end(&mut self) -> Result<(), Closed> {
        if self.inputs.is_empty() {
            return Ok(());
        }

        self.bytes = 0;
        self.rows = 0;
        // A collector that is away may hold this for hours: that is no hang.
        self.beat.rest();
        let sent = self.out.blocking_send(std::mem::take(&mut self.inputs));
        self.beat.work();
        sent.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use lapwing::v1::SourcePosition;
    use lapwing_service::watchdog::Watchdog;
    use tokio::sync::mpsc;

    use super::*;
    use crate::input::{LinePart, LineRun};

    fn lines(rows: u32, bytes: usize) -> Input {
        Input::Lines(LineRun {
            source: "a".to_owned().into(),
            rows,
            data: Bytes::from(vec![b'\n'; bytes]),
            observed_time: 0,
            truncated: false,
            part: LinePart::Whole,
            position: SourcePosition::default(),
        })
    }

    fn turn(max_rows: u32) -> (Turn, mpsc::Receiver<Vec<Input>>) {
        let (out, turns) = mpsc::channel(16);
        let beat = Watchdog::default().part("tail", Duration::MAX).begin();
        (Turn::new(max_rows, out, beat), turns)
    }

    #[test]
    fn a_reading_is_behind_the_lines_of_the_one_before_unless_the_clock_was_set_back() {
        let (mut turn, _turns) = turn(10);
        let times = [(1000, 5), (1003, 5), (1003, 1), (2000, 1), (900, 1)];
        assert_eq!(times.map(|(now, rows)| turn.reading(now, rows)), [1000, 1005, 1010, 2000, 2001]);
        assert_eq!(turn.reading(9 * SET_BACK, 7), 9 * SET_BACK);
        assert_eq!(turn.reading(8 * SET_BACK - 1, 1), 8 * SET_BACK - 1);
        assert_eq!(turn.reading(u64::MAX, 7), u64::MAX);
    }

    #[test]
    fn a_turn_leaves_when_it_is_ended_and_an_empty_one_does_not() {
        let (mut turn, mut turns) = turn(10);
        turn.end().unwrap();
        assert!(turns.try_recv().is_err());
        turn.send(lines(1, 1)).unwrap();
        assert!(turns.try_recv().is_err());
        turn.end().unwrap();
        assert_eq!(turns.try_recv().unwrap().len(), 1);
    }

    #[test]
    fn a_turn_never_holds_more_rows_than_a_batch_takes() {
        let (mut turn, mut turns) = turn(10);
        turn.send(lines(6, 6)).unwrap();
        turn.send(lines(6, 6)).unwrap();
        assert_eq!(turns.try_recv().unwrap().len(), 1);
        turn.send(lines(4, 4)).unwrap();
        assert!(turns.try_recv().is_err());
    }

    #[test]
    fn a_large_turn_leaves_by_itself() {
        let (mut turn, mut turns) = turn(u32::MAX);
        turn.send(lines(1, MAX_BYTES)).unwrap();
        assert_eq!(turns.try_recv().unwrap().len(), 1);
        for _ in 0..MAX_INPUTS {
            turn.send(Input::Position(SourcePosition::default())).unwrap();
        }
        assert_eq!(turns.try_recv().unwrap().len(), MAX_INPUTS);
    }

    #[test]
    fn positions_that_are_true_only_together_leave_together() {
        let (mut turn, mut turns) = turn(10);
        for _ in 1..MAX_INPUTS {
            turn.send(Input::Position(SourcePosition::default())).unwrap();
        }
        turn.send_together(vec![SourcePosition::default(), SourcePosition::default()]).unwrap();
        assert_eq!(turns.try_recv().unwrap().len(), MAX_INPUTS + 1);
    }

    #[test]
    fn a_turn_that_nobody_takes_says_so() {
        let (mut turn, turns) = turn(10);
        drop(turns);
        turn.send(lines(1, 1)).unwrap();
        assert!(turn.end().is_err());
    }
}
