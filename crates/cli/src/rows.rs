//! The rows of a batch as objects for programs, under the names that the columns of the tables have.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use lapwing::{
    columns::Columns,
    limits::Limits,
    v1::{Flow, FoundLog, Histogram, MetricKind, MetricPoint},
};
use serde::Serialize;

use crate::{escape, tail, time};

/// Bounds on what is read from this machine's own disk: those of the network but for the length of bodies, which a collector
/// may have lowered.
pub(crate) fn limits() -> Limits {
    let usual = Limits::journaled();
    Limits { max_body_bytes: usual.max_uncompressed_bytes, ..usual }
}

/// Each row as a line of JSON.
pub(crate) fn json(columns: &Columns, host: &str) -> io::Result<Vec<String>> {
    let rows = columns.to_rows();
    let logs = rows.logs.into_iter().map(|record| {
        let log = FoundLog { host: host.to_owned(), record: Some(record) };
        tail::line::json(&log)
    });
    let metrics = rows.metrics.iter().map(|point| metric(point, host));
    let flows = rows.flows.iter().map(|each| flow(each, host));
    logs.chain(metrics).chain(flows).collect()
}

fn metric(point: &MetricPoint, host: &str) -> io::Result<String> {
    let object = Metric {
        time: time::rfc3339(point.time_unix_nano),
        start_time: Some(point.start_time_unix_nano).filter(|nanos| *nanos > 0).map(time::rfc3339),
        host,
        name: &point.name,
        unit: &point.unit,
        kind: match point.kind() {
            MetricKind::Gauge | MetricKind::Unspecified => "gauge",
            MetricKind::SumMonotonic => "monotonic_sum",
            MetricKind::Sum => "sum",
            MetricKind::Histogram => "histogram",
        },
        value: Some(point.value).filter(|_| point.histogram.is_none()),
        histogram: point.histogram.as_ref().map(Buckets::of),
        attributes: sorted(&point.attributes),
    };
    Ok(escape::json(serde_json::to_string(&object)?))
}

#[derive(Serialize)]
struct Metric<'a> {
    time: String,
    start_time: Option<String>,
    host: &'a str,
    name: &'a str,
    unit: &'a str,
    kind: &'a str,
    value: Option<f64>,
    #[serde(flatten)]
    histogram: Option<Buckets<'a>>,
    attributes: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Buckets<'a> {
    histogram_count: u64,
    histogram_sum: f64,
    histogram_bounds: &'a [f64],
    histogram_counts: &'a [u64],
}

impl<'a> Buckets<'a> {
    fn of(histogram: &'a Histogram) -> Self {
        Self {
            histogram_count: histogram.count,
            histogram_sum: histogram.sum,
            histogram_bounds: &histogram.explicit_bounds,
            histogram_counts: &histogram.bucket_counts,
        }
    }
}

fn flow(flow: &Flow, host: &str) -> io::Result<String> {
    let object = Traffic {
        time: time::rfc3339(flow.time_unix_nano),
        start_time: Some(flow.start_time_unix_nano).filter(|nanos| *nanos > 0).map(time::rfc3339),
        host,
        source_address: &flow.source_address,
        source_port: flow.source_port,
        destination_address: &flow.destination_address,
        destination_port: flow.destination_port,
        transport: &flow.transport,
        bytes: flow.bytes,
        packets: flow.packets,
        attributes: sorted(&flow.attributes),
    };
    Ok(escape::json(serde_json::to_string(&object)?))
}

#[derive(Serialize)]
struct Traffic<'a> {
    time: String,
    start_time: Option<String>,
    host: &'a str,
    source_address: &'a str,
    source_port: u32,
    destination_address: &'a str,
    destination_port: u32,
    transport: &'a str,
    bytes: u64,
    packets: u64,
    attributes: BTreeMap<&'a str, &'a str>,
}

fn sorted(attributes: &HashMap<String, String>) -> BTreeMap<&str, &str> {
    attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use lapwing::v1::Rows;

    use super::*;

    fn object(rows: &Rows) -> serde_json::Value {
        let columns = Columns::from_rows(rows, 5, &Limits::default()).unwrap();
        let lines = json(&columns, "web-1").unwrap();
        assert_eq!(lines.len(), 1);
        serde_json::from_str(&lines[0]).unwrap()
    }

    #[test]
    fn a_point_and_a_flow_have_the_names_of_the_columns() {
        let point = MetricPoint {
            name: "cpu".to_owned(),
            kind: MetricKind::SumMonotonic.into(),
            time_unix_nano: 1_767_225_600_000_000_000,
            value: 1.5,
            ..MetricPoint::default()
        };
        let told = object(&Rows { metrics: vec![point], ..Rows::default() });
        assert_eq!((&told["time"], &told["kind"]), (&"2026-01-01T00:00:00Z".into(), &"monotonic_sum".into()));
        assert_eq!((&told["host"], &told["value"]), (&"web-1".into(), &1.5.into()));
        let flow = Flow { source_address: "::1".to_owned(), source_port: 9, bytes: 7, ..Flow::default() };
        let told = object(&Rows { flows: vec![flow], ..Rows::default() });
        assert_eq!((&told["source_address"], &told["bytes"]), (&"::1".into(), &7.into()));
    }

    #[test]
    fn a_histogram_has_its_buckets_and_no_value() {
        let histogram =
            Histogram { count: 3, sum: 4.5, explicit_bounds: vec![1.0], bucket_counts: vec![1, 2] };
        let point = MetricPoint {
            name: "latency".to_owned(),
            kind: MetricKind::Histogram.into(),
            histogram: Some(histogram),
            ..MetricPoint::default()
        };
        let told = object(&Rows { metrics: vec![point], ..Rows::default() });
        assert_eq!(told["value"], serde_json::Value::Null);
        assert_eq!((&told["histogram_count"], &told["histogram_counts"][1]), (&3.into(), &2.into()));
    }
}
