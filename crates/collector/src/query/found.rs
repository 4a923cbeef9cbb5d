//! Rows of the table `logs` as messages.

use std::collections::HashMap;

use arrow::{
    array::{Array, AsArray, MapArray, StringViewArray},
    datatypes::{Int16Type, Int64Type, TimestampNanosecondType},
    record_batch::RecordBatch,
};
use lapwing::v1::{FoundLog, LogRecord, log_record::Content};

/// A record and its place in the order of arrival.
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) log: FoundLog,
}

/// The rows of a batch that has the columns of `logs`; none of one that has others.
pub(super) fn rows(batch: &RecordBatch) -> Vec<Row> {
    let Some(columns) = LogTable::of(batch) else { return Vec::new() };
    (0..batch.num_rows()).map(|row| columns.row(row)).collect()
}

/// The columns by their types.
pub(super) struct LogTable<'a> {
    pub(super) time: &'a arrow::array::TimestampNanosecondArray,
    pub(super) observed: &'a arrow::array::TimestampNanosecondArray,
    pub(super) host: &'a StringViewArray,
    pub(super) source: &'a StringViewArray,
    pub(super) severity: &'a arrow::array::Int16Array,
    pub(super) severity_text: &'a StringViewArray,
    pub(super) body: &'a StringViewArray,
    pub(super) raw_body: &'a arrow::array::BinaryViewArray,
    pub(super) attributes: &'a MapArray,
    pub(super) seq: &'a arrow::array::Int64Array,
}

impl<'a> LogTable<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Option<Self> {
        let column = |name: &str| batch.column_by_name(name);
        Some(Self {
            time: column("time")?.as_primitive_opt::<TimestampNanosecondType>()?,
            observed: column("observed_time")?.as_primitive_opt::<TimestampNanosecondType>()?,
            host: column("host")?.as_string_view_opt()?,
            source: column("source")?.as_string_view_opt()?,
            severity: column("severity")?.as_primitive_opt::<Int16Type>()?,
            severity_text: column("severity_text")?.as_string_view_opt()?,
            body: column("body")?.as_string_view_opt()?,
            raw_body: column("raw_body")?.as_binary_view_opt()?,
            attributes: column("attributes")?.as_map_opt()?,
            seq: column("seq")?.as_primitive_opt::<Int64Type>()?,
        })
    }

    pub(super) fn row(&self, row: usize) -> Row {
        let time = |column: &arrow::array::TimestampNanosecondArray| {
            if column.is_null(row) { 0 } else { u64::try_from(column.value(row)).unwrap_or(0) }
        };
        let text = |column: &StringViewArray| {
            if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
        };
        let content = if self.raw_body.is_null(row) {
            Content::Body(text(self.body))
        } else {
            Content::RawBody(bytes::Bytes::copy_from_slice(self.raw_body.value(row)))
        };
        let severity = if self.severity.is_null(row) { 0 } else { self.severity.value(row) };
        let record = LogRecord {
            time_unix_nano: time(self.time),
            observed_time_unix_nano: time(self.observed),
            severity_number: u32::try_from(severity).unwrap_or(0),
            severity_text: text(self.severity_text),
            source: text(self.source),
            content: Some(content),
            attributes: pairs(self.attributes, row),
        };
        let log = FoundLog { host: text(self.host), record: Some(record) };
        Row { seq: self.seq.value(row), log }
    }
}

fn pairs(map: &MapArray, row: usize) -> HashMap<String, String> {
    if map.is_null(row) {
        return HashMap::new();
    }
    let entries = map.value(row);
    let (Some(keys), Some(values)) =
        (entries.column(0).as_string_view_opt(), entries.column(1).as_string_view_opt())
    else {
        return HashMap::new();
    };
    let pair = |(key, value): (Option<&str>, Option<&str>)| Some((key?.to_owned(), value?.to_owned()));
    keys.iter().zip(values.iter()).filter_map(pair).collect()
}
