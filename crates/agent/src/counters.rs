//! What became of each event, counted by cause.
//!
//! Once everything has settled: read = acknowledged + dead letters + dropped.

use std::sync::{Mutex, PoisonError};

use lapwing_service::metrics::{Count, Page};

/// The agent's counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Lines read from files.
    pub lines_read: Count,
    /// Bytes read from files.
    pub bytes_read: Count,
    /// Lines cut at the limit.
    pub lines_truncated: Count,
    /// Times a file was truncated or replaced while it was read.
    pub files_truncated: Count,
    /// Times what was read of a file already was overwritten or cut, and reading went on where it was the same.
    pub files_overwritten: Count,
    /// Bytes that are known to have been in files and that nobody can read any more.
    pub bytes_lost: Count,
    /// Files that could not be opened or read.
    pub file_errors: Count,
    /// Links that were not followed because anybody may have planted them.
    pub links_refused: Count,
    /// Patterns that match no file.
    pub patterns_unmatched: Count,
    /// Paths that do not answer: network mounts that are gone.
    pub folders_hung: Count,
    /// Files held open.
    pub files_open: Count,
    /// Metric points observed.
    pub points_read: Count,
    /// Records of metric points that had to go because the spool was full.
    pub records_dropped: Count,
    /// Metric points that are missing for it, or because their record was damaged.
    pub points_dropped: Count,
    /// Bytes of metric points in memory and on the disk that are not acknowledged.
    pub spool_bytes: Count,
    /// Events handed to the transport.
    pub events_sent: Count,
    /// Events that are on the collector's disk.
    pub events_acknowledged: Count,
    /// Events set aside because the collector refused them for good.
    pub events_dead: Count,
    /// Batches on the collector's disk.
    pub batches_acknowledged: Count,
    /// Tries beyond the first.
    pub retries: Count,
    /// Compressed bytes of acknowledged batches.
    pub bytes_acknowledged: Count,
    /// Leases taken.
    pub leases: Count,
    /// Why nothing goes through at the moment.
    trouble: Mutex<Option<String>>,
    shipping: Count,
}

impl Counters {
    /// Notes that shipments go through.
    pub fn set_shipping(&self) {
        self.shipping.set(1);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Notes why shipments do not go through.
    pub fn set_trouble(&self, reason: String) {
        self.shipping.set(0);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// `Ok` while shipments go through, else why not.
    ///
    /// # Errors
    /// The reason.
    pub fn health(&self) -> Result<(), String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match trouble {
            Some(reason) => Err(reason),
            None if self.shipping.get() == 1 => Ok(()),
            None => Err("waiting for the collector's first answer".to_owned()),
        }
    }

    /// The counts, for the Prometheus text format.
    pub fn page(&self) -> Page {
        let mut page = Page::default();
        let events = [
            ("read", self.lines_read.get() + self.points_read.get()),
            ("truncated", self.lines_truncated.get()),
            ("sent", self.events_sent.get()),
            ("acknowledged", self.events_acknowledged.get()),
            ("dead_letter", self.events_dead.get()),
            ("dropped", self.points_dropped.get()),
        ];
        page.counters("lapwing_agent_events_total", "Events by what became of them.", "cause", &events);
        let read = [("logs", self.lines_read.get()), ("metrics", self.points_read.get())];
        page.counters("lapwing_agent_read_total", "Events read, by signal.", "signal", &read);
        page.counter("lapwing_agent_read_bytes_total", "Bytes read from files.", self.bytes_read.get());
        page.counter(
            "lapwing_agent_sent_bytes_total",
            "Compressed bytes of acknowledged batches.",
            self.bytes_acknowledged.get(),
        );
        page.counter("lapwing_agent_batches_total", "Acknowledged batches.", self.batches_acknowledged.get());
        page.counter("lapwing_agent_retries_total", "Tries beyond the first.", self.retries.get());
        page.counter("lapwing_agent_leases_total", "Leases taken from the collector.", self.leases.get());
        page.counter(
            "lapwing_agent_spool_dropped_records_total",
            "Records of metrics dropped because the spool was full.",
            self.records_dropped.get(),
        );
        page.counter(
            "lapwing_agent_files_truncated_total",
            "Times a file was truncated or replaced while it was read.",
            self.files_truncated.get(),
        );
        page.counter(
            "lapwing_agent_files_overwritten_total",
            "Times what was read of a file already was overwritten or cut, and reading went on where it was the same.",
            self.files_overwritten.get(),
        );
        page.counter(
            "lapwing_agent_lost_bytes_total",
            "Bytes that are known to have been in files and that nobody can read any more.",
            self.bytes_lost.get(),
        );
        page.counter(
            "lapwing_agent_file_errors_total",
            "Files that could not be opened or read.",
            self.file_errors.get(),
        );
        page.counter(
            "lapwing_agent_links_refused_total",
            "Links that were not followed because anybody may have planted them.",
            self.links_refused.get(),
        );
        page.gauge(
            "lapwing_agent_patterns_unmatched",
            "Patterns of [collectors.logs] files that match no file.",
            self.patterns_unmatched.get() as f64,
        );
        page.gauge(
            "lapwing_agent_paths_hung",
            "Paths that do not answer, left out until they do.",
            self.folders_hung.get() as f64,
        );
        page.gauge("lapwing_agent_files_open", "Files held open.", self.files_open.get() as f64);
        page.gauge(
            "lapwing_agent_spool_bytes",
            "Metrics not acknowledged, in bytes.",
            self.spool_bytes.get() as f64,
        );
        page.gauge("lapwing_agent_healthy", "1 while shipments go through.", self.shipping.get() as f64);
        page
    }
}
