//! Columns from the wire become Arrow record batches, almost without copying.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryViewBuilder, Float64Array, Int16Array, Int32Array, Int64Array, ListArray, MapArray,
        StringViewArray, StructArray, TimestampNanosecondArray, make_view,
    },
    buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field},
    error::ArrowError,
    record_batch::RecordBatch,
};
use lapwing::{
    columns::{Attributes, Bodies, Column, Columns, FlowColumns, LogColumns, MetricColumns, Text},
    v1::{Histogram, MetricKind},
};

use crate::schema::{self, Table};

/// Bits of `seq` that number the rows of one journal record.
pub const ROW_BITS: u32 = 20;

/// Most attributes of all rows of a batch together: runs are short on the wire and long in memory.
const MAX_PAIRS: usize = 1 << 23;

/// What is true of all rows of a batch.
#[derive(Debug, Clone)]
pub struct About {
    /// The agent's id.
    pub agent: String,
    /// Resource attributes; `host.name` becomes the column `host`.
    pub resource: Attributes,
    /// The zone of the host's clock, as POSIX's `TZ` has it; empty when it is not known.
    pub time_zone: String,
    /// Index of the journal record.
    pub journal_index: u64,
}

/// The rows of a batch, and their table.
///
/// # Errors
/// When columns of one batch have different lengths.
pub fn record_batch(columns: &Columns, about: &About) -> Result<(Table, RecordBatch), ArrowError> {
    let rows = columns.rows();
    let shared = Shared::new(about, rows)?;
    let (table, arrays) = match columns {
        Columns::Logs(logs) => (Table::Logs, log_arrays(logs, &shared)?),
        Columns::Metrics(metrics) => (Table::Metrics, metric_arrays(metrics, &shared)?),
        Columns::Flows(flows) => (Table::Flows, flow_arrays(flows, &shared)?),
    };
    Ok((table, RecordBatch::try_new(table.schema(), arrays)?))
}

/// Whether rows can be made of the columns: their attributes must fit.
///
/// # Errors
/// When there are too many pairs of all rows together.
pub fn check(columns: &Columns, resource: &Attributes) -> Result<(), ArrowError> {
    let attributes = match columns {
        Columns::Logs(logs) => &logs.attributes,
        Columns::Metrics(metrics) => &metrics.attributes,
        Columns::Flows(flows) => &flows.attributes,
    };
    check_pairs(attributes)?;
    check_pairs(&Column::constant(columns.rows(), resource.clone())).map(|_| ())
}

fn check_pairs(column: &Column<Attributes>) -> Result<usize, ArrowError> {
    let pairs = column.runs().map(|(rows, attributes)| rows.saturating_mul(attributes.len())).sum();
    if pairs <= MAX_PAIRS {
        return Ok(pairs);
    }
    let reason = format!("attributes of all rows are {pairs} pairs, at most {MAX_PAIRS} fit in a batch");
    Err(ArrowError::InvalidArgumentError(reason))
}

/// The columns that every table has.
struct Shared {
    host: ArrayRef,
    agent: ArrayRef,
    resource: ArrayRef,
    seq: ArrayRef,
}

impl Shared {
    fn new(about: &About, rows: usize) -> Result<Self, ArrowError> {
        let host = about.resource.get("host.name").unwrap_or_default();
        let resource: Attributes = about.resource.iter().filter(|(key, _)| *key != "host.name").collect();
        let first = i64::try_from(about.journal_index << ROW_BITS).unwrap_or(i64::MAX);
        Ok(Self {
            host: texts([(rows, host)].into_iter(), rows)?,
            agent: texts([(rows, about.agent.as_str())].into_iter(), rows)?,
            resource: maps(&Column::constant(rows, resource))?,
            seq: Arc::new(Int64Array::from_iter_values((first..).take(rows))),
        })
    }
}

fn log_arrays(logs: &LogColumns, shared: &Shared) -> Result<Vec<ArrayRef>, ArrowError> {
    let (body, raw_body) = bodies(&logs.bodies)?;
    let time = logs.time.iter().zip(logs.observed_time.iter());
    // A record that doesn't say when it happened happened when it was seen.
    let time = time.map(|(time, observed)| signed(if *time == 0 { *observed } else { *time }));
    Ok(vec![
        Arc::new(TimestampNanosecondArray::from_iter_values(time)),
        times(&logs.observed_time),
        Arc::clone(&shared.host),
        text_column(&logs.source)?,
        Arc::new(
            logs.severity_number.iter().map(|n| (*n > 0).then_some(i16::from(*n))).collect::<Int16Array>(),
        ),
        text_column(&logs.severity_text)?,
        body,
        raw_body,
        maps(&logs.attributes)?,
        Arc::clone(&shared.resource),
        Arc::clone(&shared.agent),
        Arc::clone(&shared.seq),
    ])
}

fn metric_arrays(metrics: &MetricColumns, shared: &Shared) -> Result<Vec<ArrayRef>, ArrowError> {
    let rows = metrics.time.rows();
    let histograms: Vec<Option<&Histogram>> = metrics.histogram.iter().map(Option::as_ref).collect();
    let value =
        metrics.value.iter().zip(&histograms).map(|(value, histogram)| histogram.is_none().then_some(*value));
    let bounds = lists::<_, Float64Array>(&histograms, DataType::Float64, |histogram, out: &mut Vec<f64>| {
        out.extend(&histogram.explicit_bounds);
    });
    let counts = lists::<_, Int64Array>(&histograms, DataType::Int64, |histogram, out: &mut Vec<i64>| {
        out.extend(histogram.bucket_counts.iter().map(|count| signed(*count)));
    });
    Ok(vec![
        times(&metrics.time),
        optional_times(&metrics.start_time),
        Arc::clone(&shared.host),
        text_column(&metrics.name)?,
        text_column(&metrics.unit)?,
        texts(metrics.kind.runs().map(|(rows, kind)| (rows, kind_name(*kind))), rows)?,
        Arc::new(value.collect::<Float64Array>()),
        Arc::new(histograms.iter().map(|h| h.map(|h| signed(h.count))).collect::<Int64Array>()),
        Arc::new(histograms.iter().map(|h| h.map(|h| h.sum)).collect::<Float64Array>()),
        bounds?,
        counts?,
        maps(&metrics.attributes)?,
        Arc::clone(&shared.resource),
        Arc::clone(&shared.agent),
        Arc::clone(&shared.seq),
    ])
}

fn flow_arrays(flows: &FlowColumns, shared: &Shared) -> Result<Vec<ArrayRef>, ArrowError> {
    let ports = |column: &Column<u64>| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(
            column.iter().map(|port| i32::try_from(*port).unwrap_or(i32::MAX)),
        ))
    };
    let counts = |column: &Column<u64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(column.iter().map(|count| signed(*count))))
    };
    Ok(vec![
        times(&flows.time),
        optional_times(&flows.start_time),
        Arc::clone(&shared.host),
        text_column(&flows.source_address)?,
        ports(&flows.source_port),
        text_column(&flows.destination_address)?,
        ports(&flows.destination_port),
        text_column(&flows.transport)?,
        counts(&flows.bytes),
        counts(&flows.packets),
        maps(&flows.attributes)?,
        Arc::clone(&shared.resource),
        Arc::clone(&shared.agent),
        Arc::clone(&shared.seq),
    ])
}

/// The kind of a metric as the table names it.
fn kind_name(kind: u8) -> &'static str {
    match MetricKind::try_from(i32::from(kind)).unwrap_or_default() {
        MetricKind::Gauge => "gauge",
        MetricKind::SumMonotonic => "monotonic_sum",
        MetricKind::Sum => "sum",
        MetricKind::Histogram => "histogram",
        MetricKind::Unspecified => "unknown",
    }
}

/// The nearest number that fits: a time after the year 2262 is cut to it, not refused.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn times(column: &Column<u64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter_values(column.iter().map(|time| signed(*time))))
}

fn optional_times(column: &Column<u64>) -> ArrayRef {
    let value = |time: &u64| (*time != 0).then(|| signed(*time));
    Arc::new(column.iter().map(value).collect::<TimestampNanosecondArray>())
}

fn text_column(column: &Column<Text>) -> Result<ArrayRef, ArrowError> {
    texts(column.runs().map(|(rows, text)| (rows, text.as_str())), column.rows())
}

/// Strings by runs: a run's bytes are stored once, whatever its length.
fn texts<'a>(runs: impl Iterator<Item = (usize, &'a str)>, rows: usize) -> Result<ArrayRef, ArrowError> {
    let mut views = Views::with_capacity(rows);
    for (count, text) in runs.filter(|(count, _)| *count > 0) {
        let view = views.push(text)?;
        views.views.extend(std::iter::repeat_n(view, count - 1));
    }
    views.finish()
}

/// A string column under construction.
struct Views {
    views: Vec<u128>,
    bytes: Vec<u8>,
}

impl Views {
    fn with_capacity(rows: usize) -> Self {
        Self { views: Vec::with_capacity(rows), bytes: Vec::new() }
    }

    /// Appends a string and gives its view, to be repeated.
    fn push(&mut self, text: &str) -> Result<u128, ArrowError> {
        let offset =
            u32::try_from(self.bytes.len()).map_err(|_| ArrowError::OffsetOverflowError(self.bytes.len()))?;
        let view = make_view(text.as_bytes(), 0, offset);
        if text.len() > 12 {
            self.bytes.extend_from_slice(text.as_bytes());
        }
        self.views.push(view);
        Ok(view)
    }

    fn finish(self) -> Result<ArrayRef, ArrowError> {
        let (views, bytes) = (ScalarBuffer::from(self.views), Buffer::from(self.bytes));
        Ok(Arc::new(StringViewArray::try_new(views, vec![bytes], None)?))
    }
}

/// Bodies as text, and beside them the bytes of those that are not UTF-8.
fn bodies(bodies: &Bodies) -> Result<(ArrayRef, ArrayRef), ArrowError> {
    let rows = bodies.rows();
    let mut raw = BinaryViewBuilder::with_capacity(rows);
    if std::str::from_utf8(bodies.data()).is_ok()
        && let Ok(text) = body_views(bodies)
    {
        (0..rows).for_each(|_| raw.append_null());
        return Ok((Arc::new(text), Arc::new(raw.finish())));
    }
    let mut texts = Vec::with_capacity(rows);
    for body in bodies.iter() {
        match std::str::from_utf8(body) {
            Ok(text) => {
                raw.append_null();
                texts.push(text.to_owned());
            }
            Err(_) => {
                raw.append_value(body);
                texts.push(String::from_utf8_lossy(body).into_owned());
            }
        }
    }
    Ok((Arc::new(StringViewArray::from_iter_values(texts)), Arc::new(raw.finish())))
}

/// Views into the tail as it came from the wire; an error when one of them is not UTF-8.
fn body_views(bodies: &Bodies) -> Result<StringViewArray, ArrowError> {
    let start = bodies.data().as_ptr() as usize;
    let view = |body: &[u8]| make_view(body, 0, (body.as_ptr() as usize - start) as u32);
    let views: Vec<u128> = bodies.iter().map(view).collect();
    StringViewArray::try_new(ScalarBuffer::from(views), vec![Buffer::from(bodies.data().clone())], None)
}

/// Maps by runs: a run's strings are stored once, whatever its length.
fn maps(column: &Column<Attributes>) -> Result<ArrayRef, ArrowError> {
    let pairs = check_pairs(column)?;
    let mut offsets = Vec::with_capacity(column.rows() + 1);
    let (mut keys, mut values) = (Views::with_capacity(pairs), Views::with_capacity(pairs));
    offsets.push(0i32);
    for (rows, attributes) in column.runs().filter(|(rows, _)| *rows > 0) {
        let first = keys.views.len();
        for (key, value) in attributes.iter() {
            keys.push(key)?;
            values.push(value)?;
        }
        let one = first..keys.views.len();
        for row in 0..rows {
            if row > 0 {
                keys.views.extend_from_within(one.clone());
                values.views.extend_from_within(one.clone());
            }
            offsets.push(keys.views.len() as i32);
        }
    }
    let entries = StructArray::try_new(schema::entries(), vec![keys.finish()?, values.finish()?], None)?;
    let DataType::Map(field, sorted) = schema::map() else {
        return Err(ArrowError::SchemaError("a map".to_owned()));
    };
    Ok(Arc::new(MapArray::try_new(field, OffsetBuffer::new(offsets.into()), entries, None, sorted)?))
}

fn lists<T, A>(
    histograms: &[Option<&Histogram>],
    element: DataType,
    values: impl Fn(&Histogram, &mut Vec<T>),
) -> Result<ArrayRef, ArrowError>
where
    T: Copy,
    Vec<T>: Into<A>,
    A: arrow::array::Array + 'static,
{
    let (mut offsets, mut all) = (vec![0i32], Vec::new());
    for histogram in histograms {
        if let Some(histogram) = histogram {
            values(histogram, &mut all);
        }
        offsets.push(i32::try_from(all.len()).map_err(|_| ArrowError::OffsetOverflowError(all.len()))?);
    }
    let there: NullBuffer = histograms.iter().map(Option::is_some).collect::<Vec<_>>().into();
    let field = Arc::new(Field::new("item", element, true));
    let array: A = all.into();
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::new(offsets.into()), Arc::new(array), Some(there))?))
}
