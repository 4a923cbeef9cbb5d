//! Figures in the Prometheus text format, version 0.0.4.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A count that only grows, or a level.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Sets a level.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Collects figures into a page.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Adds a counter with one value per label value.
    pub fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.head(name, help, "counter");
        for (value, count) in values {
            let _ = writeln!(self.0, "{name}{{{label}=\"{value}\"}} {count}");
        }
    }

    /// Adds a gauge with one value per label value.
    pub fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.head(name, help, "gauge");
        for (value, level) in values {
            let _ = writeln!(self.0, "{name}{{{label}=\"{value}\"}} {level}");
        }
    }

    /// Adds a counter.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// Adds a gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// Adds the time until the own certificate ends.
    pub fn certificate(&mut self, seconds: f64) {
        let help = "Seconds until the own certificate expires; negative when it has.";
        self.gauge("lapwing_certificate_expires_seconds", help, seconds.floor());
    }

    /// The page.
    pub fn finish(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }
}
