//! Columns and plain messages are two forms of the same thing.

use std::collections::HashMap;

use super::{
    Attributes, Columns, DecodeError, FlowColumns, LogColumns, MetricColumns, Text, logs::MAX_SEVERITY,
    metrics::check_point,
};
use crate::{
    limits::Limits,
    v1::{self, Signal, log_record::Content},
};

impl Columns {
    /// The same rows as plain messages.
    pub fn to_rows(&self) -> v1::Rows {
        match self {
            Self::Logs(logs) => v1::Rows { logs: log_records(logs), ..Default::default() },
            Self::Metrics(metrics) => v1::Rows { metrics: metric_points(metrics), ..Default::default() },
            Self::Flows(flows) => v1::Rows { flows: flow_messages(flows), ..Default::default() },
        }
    }

    /// The rows of plain messages. A time that is 0 becomes `now` (nanoseconds since the Unix epoch); of a log record only the
    /// observed time does.
    ///
    /// # Errors
    /// When rows of more than one signal are there, or one is over its limit.
    pub fn from_rows(rows: &v1::Rows, now: u64, limits: &Limits) -> Result<Self, DecodeError> {
        let signals = [!rows.logs.is_empty(), !rows.metrics.is_empty(), !rows.flows.is_empty()];
        if signals.iter().filter(|there| **there).count() > 1 {
            return Err(DecodeError::invalid(
                "rows",
                "a batch holds rows of one signal; send one batch for each",
            ));
        }
        let count = rows.logs.len() + rows.metrics.len() + rows.flows.len();
        DecodeError::check("number of rows", count, limits.max_rows)?;
        if signals[1] {
            return Ok(Self::Metrics(metric_columns(&rows.metrics, now, limits)?));
        }
        if signals[2] {
            return Ok(Self::Flows(flow_columns(&rows.flows, now, limits)?));
        }
        Ok(Self::Logs(log_columns(&rows.logs, now, limits)?))
    }

    /// No rows of `signal`.
    pub fn empty(signal: Signal) -> Self {
        match signal {
            Signal::Metrics => Self::Metrics(MetricColumns::default()),
            Signal::Flows => Self::Flows(FlowColumns::default()),
            _ => Self::Logs(LogColumns::lines(Text::default(), 0, 0, bytes::Bytes::new())),
        }
    }
}

impl Attributes {
    /// Attributes from a message, checked against `limits`.
    ///
    /// # Errors
    /// When there are too many, or a key or value is too long.
    pub fn from_map(map: &HashMap<String, String>, limits: &Limits) -> Result<Self, DecodeError> {
        DecodeError::check("number of attributes", map.len(), limits.max_attributes)?;
        for (key, value) in map {
            DecodeError::check("an attribute key", key.len(), limits.max_key_bytes)?;
            DecodeError::check("an attribute value", value.len(), limits.max_value_bytes)?;
        }
        Ok(map.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect())
    }

    /// The same as a message holds them.
    pub fn to_map(&self) -> HashMap<String, String> {
        self.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

fn or(time: u64, other: u64) -> u64 {
    if time == 0 { other } else { time }
}

fn text(what: &'static str, text: &str, limits: &Limits) -> Result<Text, DecodeError> {
    DecodeError::check(what, text.len(), limits.max_value_bytes)?;
    Ok(text.into())
}

fn log_columns(records: &[v1::LogRecord], now: u64, limits: &Limits) -> Result<LogColumns, DecodeError> {
    let bodies = records.iter().map(|record| match &record.content {
        Some(Content::Body(body)) => body.as_bytes(),
        Some(Content::RawBody(body)) => body,
        None => &[],
    });
    for body in bodies.clone() {
        DecodeError::check("a log body", body.len(), limits.max_body_bytes)?;
    }
    for record in records {
        DecodeError::check("a severity number", record.severity_number as usize, MAX_SEVERITY)?;
    }
    let observed = |record: &v1::LogRecord| or(record.observed_time_unix_nano, now);
    Ok(LogColumns {
        // What the record doesn't say may be found in its body later.
        time: records.iter().map(|record| record.time_unix_nano).collect(),
        observed_time: records.iter().map(observed).collect(),
        severity_number: records.iter().map(|record| record.severity_number as u8).collect(),
        severity_text: collect(records, |record| text("a severity text", &record.severity_text, limits))?,
        source: collect(records, |record| text("a source", &record.source, limits))?,
        attributes: collect(records, |record| Attributes::from_map(&record.attributes, limits))?,
        bodies: bodies.collect(),
    })
}

fn collect<R, T: PartialEq>(
    rows: &[R],
    value: impl Fn(&R) -> Result<T, DecodeError>,
) -> Result<super::Column<T>, DecodeError> {
    rows.iter().map(value).collect()
}

fn log_records(logs: &LogColumns) -> Vec<v1::LogRecord> {
    let mut times = logs.time.iter().zip(logs.observed_time.iter());
    let mut severities = logs.severity_number.iter().zip(logs.severity_text.iter());
    let mut rest = logs.source.iter().zip(logs.attributes.iter());
    let record = |body: &[u8]| {
        let (time, observed) = times.next()?;
        let (number, severity) = severities.next()?;
        let (source, attributes) = rest.next()?;
        Some(v1::LogRecord {
            time_unix_nano: *time,
            observed_time_unix_nano: *observed,
            severity_number: u32::from(*number),
            severity_text: severity.as_str().to_owned(),
            source: source.as_str().to_owned(),
            attributes: attributes.to_map(),
            content: Some(match std::str::from_utf8(body) {
                Ok(body) => Content::Body(body.to_owned()),
                Err(_) => Content::RawBody(bytes::Bytes::copy_from_slice(body)),
            }),
        })
    };
    logs.bodies.iter().map_while(record).collect()
}

fn metric_columns(
    points: &[v1::MetricPoint],
    now: u64,
    limits: &Limits,
) -> Result<MetricColumns, DecodeError> {
    for point in points {
        check_point(|| &point.name, point.kind, point.histogram.as_ref())?;
    }
    Ok(MetricColumns {
        time: points.iter().map(|point| or(point.time_unix_nano, now)).collect(),
        start_time: points.iter().map(|point| point.start_time_unix_nano).collect(),
        name: collect(points, |point| text("a metric name", &point.name, limits))?,
        unit: collect(points, |point| text("a unit", &point.unit, limits))?,
        kind: points.iter().map(|point| point.kind as u8).collect(),
        attributes: collect(points, |point| Attributes::from_map(&point.attributes, limits))?,
        value: points.iter().map(|point| point.value).collect(),
        histogram: points.iter().map(|point| point.histogram.clone()).collect(),
    })
}

fn metric_points(metrics: &MetricColumns) -> Vec<v1::MetricPoint> {
    let times = metrics.time.iter().zip(metrics.start_time.iter());
    let names = metrics.name.iter().zip(metrics.unit.iter()).zip(metrics.kind.iter());
    let values = metrics.value.iter().zip(metrics.histogram.iter()).zip(metrics.attributes.iter());
    let rows = times.zip(names).zip(values);
    rows.map(|(((time, start), ((name, unit), kind)), ((value, histogram), attributes))| v1::MetricPoint {
        name: name.as_str().to_owned(),
        unit: unit.as_str().to_owned(),
        kind: i32::from(*kind),
        time_unix_nano: *time,
        start_time_unix_nano: *start,
        value: *value,
        histogram: histogram.clone(),
        attributes: attributes.to_map(),
    })
    .collect()
}

fn flow_columns(flows: &[v1::Flow], now: u64, limits: &Limits) -> Result<FlowColumns, DecodeError> {
    for flow in flows {
        DecodeError::check("a port", flow.source_port.max(flow.destination_port) as usize, 65_535)?;
    }
    let time = |flow: &v1::Flow| or(flow.time_unix_nano, now);
    Ok(FlowColumns {
        start_time: flows.iter().map(|flow| or(flow.start_time_unix_nano, time(flow))).collect(),
        time: flows.iter().map(time).collect(),
        source_address: collect(flows, |flow| text("an address", &flow.source_address, limits))?,
        source_port: flows.iter().map(|flow| u64::from(flow.source_port)).collect(),
        destination_address: collect(flows, |flow| text("an address", &flow.destination_address, limits))?,
        destination_port: flows.iter().map(|flow| u64::from(flow.destination_port)).collect(),
        transport: collect(flows, |flow| text("a transport", &flow.transport, limits))?,
        bytes: flows.iter().map(|flow| flow.bytes).collect(),
        packets: flows.iter().map(|flow| flow.packets).collect(),
        attributes: collect(flows, |flow| Attributes::from_map(&flow.attributes, limits))?,
    })
}

fn flow_messages(flows: &FlowColumns) -> Vec<v1::Flow> {
    let times = flows.start_time.iter().zip(flows.time.iter());
    let from = flows.source_address.iter().zip(flows.source_port.iter());
    let to = flows.destination_address.iter().zip(flows.destination_port.iter());
    let counts = flows.bytes.iter().zip(flows.packets.iter());
    let rest = flows.transport.iter().zip(flows.attributes.iter());
    let rows = times.zip(from).zip(to).zip(counts).zip(rest);
    rows.map(|((((times, from), to), counts), rest)| v1::Flow {
        start_time_unix_nano: *times.0,
        time_unix_nano: *times.1,
        source_address: from.0.as_str().to_owned(),
        source_port: *from.1 as u32,
        destination_address: to.0.as_str().to_owned(),
        destination_port: *to.1 as u32,
        bytes: *counts.0,
        packets: *counts.1,
        transport: rest.0.as_str().to_owned(),
        attributes: rest.1.to_map(),
    })
    .collect()
}
