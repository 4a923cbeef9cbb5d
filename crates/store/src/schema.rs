//! The tables and their columns, the same on every store.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// A table of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Log records.
    Logs,
    /// Metric points.
    Metrics,
    /// Network flows.
    Flows,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 3] = [Self::Logs, Self::Metrics, Self::Flows];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Flows => "flows",
        }
    }

    /// Its columns. Times are UTC, in nanoseconds; `seq` is a row's place in the order of arrival and its own alone.
    pub fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<[SchemaRef; 3]> = LazyLock::new(|| [logs(), metrics(), flows()]);
        Arc::clone(&SCHEMAS[self as usize])
    }
}

/// A timestamp in nanoseconds, UTC by definition.
pub(crate) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, None)
}

/// The pairs of a map column.
pub(crate) fn entries() -> Fields {
    vec![Field::new("key", DataType::Utf8View, false), Field::new("value", DataType::Utf8View, true)].into()
}

pub(crate) fn map() -> DataType {
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries()), false)), false)
}

pub(crate) fn list(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", element, true)))
}

fn table(columns: &[(&str, DataType)]) -> SchemaRef {
    let field =
        |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), !matches!(*name, "time" | "seq"));
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn logs() -> SchemaRef {
    table(&[
        ("time", time()),
        ("observed_time", time()),
        ("host", DataType::Utf8View),
        ("source", DataType::Utf8View),
        ("severity", DataType::Int16),
        ("severity_text", DataType::Utf8View),
        ("body", DataType::Utf8View),
        ("raw_body", DataType::BinaryView),
        ("attributes", map()),
        ("resource", map()),
        ("agent", DataType::Utf8View),
        ("seq", DataType::Int64),
    ])
}

fn metrics() -> SchemaRef {
    table(&[
        ("time", time()),
        ("start_time", time()),
        ("host", DataType::Utf8View),
        ("name", DataType::Utf8View),
        ("unit", DataType::Utf8View),
        ("kind", DataType::Utf8View),
        ("value", DataType::Float64),
        ("histogram_count", DataType::Int64),
        ("histogram_sum", DataType::Float64),
        ("histogram_bounds", list(DataType::Float64)),
        ("histogram_counts", list(DataType::Int64)),
        ("attributes", map()),
        ("resource", map()),
        ("agent", DataType::Utf8View),
        ("seq", DataType::Int64),
    ])
}

fn flows() -> SchemaRef {
    table(&[
        ("time", time()),
        ("start_time", time()),
        ("host", DataType::Utf8View),
        ("source_address", DataType::Utf8View),
        ("source_port", DataType::Int32),
        ("destination_address", DataType::Utf8View),
        ("destination_port", DataType::Int32),
        ("transport", DataType::Utf8View),
        ("bytes", DataType::Int64),
        ("packets", DataType::Int64),
        ("attributes", map()),
        ("resource", map()),
        ("agent", DataType::Utf8View),
        ("seq", DataType::Int64),
    ])
}
