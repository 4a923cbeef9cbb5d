//! What waits to be packed.

use std::collections::VecDeque;

use bytes::Bytes;
use lapwing::{
    batch,
    codec::{CodecError, Compressor},
    columns::{Attributes, Bodies, Column, Columns, LogColumns, Text},
    v1::{Packed, SourcePosition},
};
use tokio::time::Instant;

use super::TARGET_BYTES;
use crate::input::{Input, LinePart, LineRun};

/// Sources at which a batch is full, however little is in it: thousands of files may move at once.
const MAX_SOURCES: usize = 512;
/// Marks a line that was cut at the limit.
const TRUNCATED: &str = "lapwing.truncated";
/// Marks a part of a line: first, next or last.
const PART: &str = "lapwing.part";

/// What has come and has not left.
#[derive(Debug)]
pub(super) struct Open {
    logs: Logs,
    /// Rows at which a batch is full, however short they are.
    max_rows: usize,
    metrics: VecDeque<(Instant, Content)>,
}

/// The content of one batch.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) rows: usize,
    pub(super) positions: Vec<SourcePosition>,
    /// `None` when only positions moved.
    columns: Option<Columns>,
    tail: Vec<Bytes>,
}

impl Content {
    pub(super) fn pack(&self, compressor: &mut Compressor) -> Result<Option<Packed>, CodecError> {
        let Some(columns) = &self.columns else { return Ok(None) };
        let tail: Vec<&[u8]> = self.tail.iter().map(|part| &part[..]).collect();
        batch::pack_parts(columns, &tail, compressor).map(Some)
    }
}

impl Open {
    /// Nothing yet; a batch is full at so many rows.
    pub(super) fn new(max_rows: usize) -> Self {
        Self { logs: Logs::default(), max_rows, metrics: VecDeque::new() }
    }

    pub(super) fn add(&mut self, input: Input) {
        match input {
            Input::Lines(run) => self.logs.add(run),
            Input::Position(position) => self.logs.moved(position),
            Input::Metrics { columns, position } => {
                let content = Content {
                    rows: columns.time.rows(),
                    positions: vec![position],
                    columns: Some(Columns::Metrics(columns)),
                    tail: Vec::new(),
                };
                self.metrics.push_back((Instant::now(), content));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.since().is_none()
    }

    /// A log batch is full, or a batch of another kind waits that can't grow.
    pub(super) fn is_full(&self) -> bool {
        self.logs.bytes >= TARGET_BYTES
            || self.logs.rows >= self.max_rows
            || self.logs.positions.len() >= MAX_SOURCES
            || !self.metrics.is_empty()
    }

    /// Log events in it.
    pub(super) fn rows(&self) -> usize {
        self.logs.rows
    }

    /// When the oldest of it came.
    pub(super) fn since(&self) -> Option<Instant> {
        self.metrics.front().map(|(since, _)| *since).into_iter().chain(self.logs.since).min()
    }

    /// The next batch.
    pub(super) fn take(&mut self) -> Option<Content> {
        if let Some((_, content)) = self.metrics.pop_front() {
            return Some(content);
        }
        self.logs.since?;
        Some(std::mem::take(&mut self.logs).into_content())
    }
}

/// Runs of lines, and the positions behind them.
#[derive(Debug, Default)]
struct Logs {
    since: Option<Instant>,
    rows: usize,
    bytes: usize,
    sources: Column<Text>,
    times: Column<u64>,
    attributes: Column<Attributes>,
    tail: Vec<Bytes>,
    positions: Vec<SourcePosition>,
}

impl Logs {
    fn add(&mut self, run: LineRun) {
        self.rows += run.rows as usize;
        self.bytes += run.data.len();
        self.attributes.push_run(run.rows, attributes(&run));
        self.sources.push_run(run.rows, run.source);
        self.times.push_run(run.rows, run.observed_time);
        self.tail.push(run.data);
        self.moved(run.position);
    }

    fn moved(&mut self, position: SourcePosition) {
        self.since.get_or_insert_with(Instant::now);
        // A source that was closed is another one when its name comes again.
        match self.positions.iter_mut().find(|known| known.source == position.source && !known.closed) {
            Some(known) => *known = position,
            None => self.positions.push(position),
        }
    }

    fn into_content(self) -> Content {
        let rows = self.rows;
        let columns = LogColumns {
            // When a line happened is in the line; the collector looks there.
            time: Column::constant(rows, 0),
            observed_time: self.times,
            severity_number: Column::constant(rows, 0),
            severity_text: Column::constant(rows, Text::default()),
            source: self.sources,
            attributes: self.attributes,
            // The lines themselves stay where they are, in `tail`.
            bodies: Bodies::Lines { rows: rows as u32, data: Bytes::new() },
        };
        Content {
            rows,
            positions: self.positions,
            columns: (rows > 0).then_some(Columns::Logs(columns)),
            tail: self.tail,
        }
    }
}

fn attributes(run: &LineRun) -> Attributes {
    let part = match run.part {
        LinePart::Whole => None,
        LinePart::First => Some("first"),
        LinePart::Next => Some("next"),
        LinePart::Last => Some("last"),
    };
    let marks = [(PART, part), (TRUNCATED, run.truncated.then_some("true"))];
    Attributes::from_iter(marks.into_iter().filter_map(|(key, value)| Some((key, value?))))
}
