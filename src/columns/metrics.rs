//! Metric points as columns.

use super::{Attributes, Column, DecodeError, Text, column::Coded, reader::RawColumn};
use crate::{
    limits::Limits,
    v1::{Histogram, MetricKind},
};

const TIME: u8 = 1;
const START_TIME: u8 = 2;
const NAME: u8 = 3;
const UNIT: u8 = 4;
const KIND: u8 = 5;
pub(super) const ATTRIBUTES: u8 = 6;
const VALUE: u8 = 7;
pub(super) const HISTOGRAM: u8 = 8;
/// The last column id.
pub(super) const LAST: u8 = HISTOGRAM;

/// Most bounds of a histogram.
pub(super) const MAX_BOUNDS: usize = 1024;

/// Metric points.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricColumns {
    /// When it was observed, nanoseconds since the Unix epoch.
    pub time: Column<u64>,
    /// When the count began, nanoseconds since the Unix epoch; 0 for gauges.
    pub start_time: Column<u64>,
    /// Metric name.
    pub name: Column<Text>,
    /// Unit in UCUM notation.
    pub unit: Column<Text>,
    /// A [`MetricKind`](crate::v1::MetricKind) as its number.
    pub kind: Column<u8>,
    /// What tells this series from others of the same name.
    pub attributes: Column<Attributes>,
    /// The value of a gauge or sum.
    pub value: Column<f64>,
    /// The buckets of a histogram.
    pub histogram: Column<Option<Histogram>>,
}

impl MetricColumns {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.time.encode(TIME, out);
        self.start_time.encode(START_TIME, out);
        self.name.encode(NAME, out);
        self.unit.encode(UNIT, out);
        self.kind.encode(KIND, out);
        self.attributes.encode(ATTRIBUTES, out);
        self.value.encode(VALUE, out);
        self.histogram.encode(HISTOGRAM, out);
    }

    pub(super) fn decode(columns: &[RawColumn], rows: usize, limits: &Limits) -> Result<Self, DecodeError> {
        let metrics = Self {
            time: Column::decode(TIME, columns, rows, limits)?,
            start_time: Column::decode(START_TIME, columns, rows, limits)?,
            name: Column::decode(NAME, columns, rows, limits)?,
            unit: Column::decode(UNIT, columns, rows, limits)?,
            kind: Column::decode(KIND, columns, rows, limits)?,
            attributes: Column::decode(ATTRIBUTES, columns, rows, limits)?,
            value: Column::decode(VALUE, columns, rows, limits)?,
            histogram: Column::decode(HISTOGRAM, columns, rows, limits)?,
        };
        let points = metrics.name.iter().zip(metrics.kind.iter()).zip(metrics.histogram.iter());
        for ((name, kind), histogram) in points {
            check_point(|| name.as_str(), i32::from(*kind), histogram.as_ref())?;
        }
        Ok(metrics)
    }
}

/// Refuses a point that can't be one, whichever form it comes in; `name` is asked for when it is.
pub(super) fn check_point<'a>(
    name: impl FnOnce() -> &'a str,
    kind: i32,
    histogram: Option<&Histogram>,
) -> Result<(), DecodeError> {
    let known = MetricKind::try_from(kind).unwrap_or_default();
    if known == MetricKind::Unspecified {
        let reason = format!("{kind} of metric {:?} is not known", name());
        return Err(DecodeError::invalid("metric kind", reason));
    }
    if (known == MetricKind::Histogram) != histogram.is_some() {
        let reason =
            format!("of metric {:?}: a histogram goes with the kind histogram, and only with it", name());
        return Err(DecodeError::invalid("histogram", reason));
    }
    histogram.map_or(Ok(()), check_buckets)
}

fn check_buckets(histogram: &Histogram) -> Result<(), DecodeError> {
    DecodeError::check("number of histogram bounds", histogram.explicit_bounds.len(), MAX_BOUNDS)?;
    DecodeError::check("number of histogram buckets", histogram.bucket_counts.len(), MAX_BOUNDS + 1)
}
