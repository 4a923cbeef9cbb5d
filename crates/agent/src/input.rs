//! What collectors hand to the pipeline: columns with positions.

use bytes::Bytes;
use lapwing::{columns::MetricColumns, columns::Text, v1::SourcePosition};

/// Something to ship, and up to where its source is read with it.
#[derive(Debug)]
pub enum Input {
    /// Lines of a file.
    Lines(LineRun),
    /// A source moved without a row: it starts, or it ends.
    Position(SourcePosition),
    /// Metric points, from the agent's own spool.
    Metrics {
        /// The points.
        columns: MetricColumns,
        /// The spool's position behind them.
        position: SourcePosition,
    },
}

/// What a run is of its lines. A line without an end is given out in parts, which together are the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinePart {
    /// Whole lines.
    #[default]
    Whole,
    /// The beginning of a line that has no end yet.
    First,
    /// What came to it, and it still has no end.
    Next,
    /// What came to it up to its end.
    Last,
}

/// Whole lines of one file as they stood in it.
#[derive(Debug)]
pub struct LineRun {
    /// The file's path.
    pub source: Text,
    /// How many lines.
    pub rows: u32,
    /// The lines, each with its `\n`.
    pub data: Bytes,
    /// When they were read, nanoseconds since the Unix epoch.
    pub observed_time: u64,
    /// The one line in it was cut at the limit.
    pub truncated: bool,
    /// Whether it is whole lines, or a part of one.
    pub part: LinePart,
    /// Up to where the file is read with them.
    pub position: SourcePosition,
}
