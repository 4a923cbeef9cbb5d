//! Points under construction.

use lapwing::{
    columns::{Attributes, MetricColumns, Text},
    v1::MetricKind,
};

use lapwing_service::clock::now;

/// Points of one moment.
#[derive(Debug)]
pub(super) struct Points {
    time: u64,
    /// When the machine started, nanoseconds since the Unix epoch: what its totals count from.
    boot: u64,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    unit: &'static str,
    kind: MetricKind,
    start: u64,
    attributes: Attributes,
    value: f64,
}

impl Points {
    pub(super) fn now() -> Self {
        let boot = sysinfo::System::boot_time().unwrap_or(0).saturating_mul(1_000_000_000);
        Self { time: now(), boot, rows: Vec::with_capacity(256) }
    }

    pub(super) fn boot(&self) -> u64 {
        self.boot
    }

    pub(super) fn gauge(
        &mut self,
        name: &'static str,
        unit: &'static str,
        value: f64,
        about: &[(&str, &str)],
    ) {
        self.push(name, unit, MetricKind::Gauge, 0, value, about);
    }

    /// A level that adds up over its attributes, such as memory by state.
    pub(super) fn level(
        &mut self,
        name: &'static str,
        unit: &'static str,
        value: f64,
        about: &[(&str, &str)],
    ) {
        self.push(name, unit, MetricKind::Sum, self.boot, value, about);
    }

    /// A total since the machine started.
    pub(super) fn total(
        &mut self,
        name: &'static str,
        unit: &'static str,
        value: f64,
        about: &[(&str, &str)],
    ) {
        self.push(name, unit, MetricKind::SumMonotonic, self.boot, value, about);
    }

    /// A total since `start`.
    pub(super) fn total_since(
        &mut self,
        start: u64,
        name: &'static str,
        unit: &'static str,
        value: f64,
        about: &[(&str, &str)],
    ) {
        self.push(name, unit, MetricKind::SumMonotonic, start, value, about);
    }

    fn push(
        &mut self,
        name: &'static str,
        unit: &'static str,
        kind: MetricKind,
        start: u64,
        value: f64,
        about: &[(&str, &str)],
    ) {
        let attributes = about.iter().copied().collect();
        self.rows.push(Row { name, unit, kind, start, attributes, value });
    }

    pub(super) fn into_columns(mut self) -> MetricColumns {
        // Equal names together make runs.
        self.rows.sort_by_key(|row| row.name);
        let rows = &self.rows;
        MetricColumns {
            time: rows.iter().map(|_| self.time).collect(),
            start_time: rows.iter().map(|row| row.start).collect(),
            name: rows.iter().map(|row| Text::from(row.name)).collect(),
            unit: rows.iter().map(|row| Text::from(row.unit)).collect(),
            kind: rows.iter().map(|row| row.kind as u8).collect(),
            attributes: rows.iter().map(|row| row.attributes.clone()).collect(),
            value: rows.iter().map(|row| row.value).collect(),
            histogram: rows.iter().map(|_| None).collect(),
        }
    }
}
