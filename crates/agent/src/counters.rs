//! What became of each event, counted by cause.
//!
//! Once everything has settled: read = acknowledged + dead letters + dropped.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use lapwing_service::{
    metrics::{Count, Page},
    watchdog::Watchdog,
};

/// A part of the agent that can be in trouble of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Batches that the collector refuses, and that can't be set aside.
    DeadLetters,
    /// Metrics on their way into the spool.
    Recording,
    /// Metrics on their way out of it.
    Replaying,
    /// Shipments.
    Shipping,
}

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
    /// Disk space of dead letters.
    pub dead_letter_bytes: Count,
    /// Batches on the collector's disk.
    pub batches_acknowledged: Count,
    /// Tries beyond the first.
    pub retries: Count,
    /// Compressed bytes of acknowledged batches.
    pub bytes_acknowledged: Count,
    /// Leases taken.
    pub leases: Count,
    /// What is wrong at the moment, by part.
    troubles: Mutex<BTreeMap<Part, String>>,
    shipping: Count,
}

impl Counters {
    /// Notes that shipments go through.
    pub fn set_shipping(&self) {
        self.shipping.set(1);
        self.clear_trouble(Part::Shipping);
    }

    /// Notes why shipments do not go through.
    pub fn set_trouble(&self, reason: String) {
        self.shipping.set(0);
        self.set_trouble_of(Part::Shipping, reason);
    }

    /// Notes what is wrong with a part. `true` when it is news.
    pub fn set_trouble_of(&self, part: Part, reason: String) -> bool {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = troubles.get(&part) != Some(&reason);
        troubles.insert(part, reason);
        is_news
    }

    /// Notes that a part is well. `true` when it was not.
    pub fn clear_trouble(&self, part: Part) -> bool {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).remove(&part).is_some()
    }

    /// `Ok` while shipments go through and every part is well, else what is wrong, a line for each.
    ///
    /// # Errors
    /// The reasons.
    pub fn health(&self) -> Result<(), String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if !troubles.is_empty() {
            return Err(troubles.values().map(String::as_str).collect::<Vec<_>>().join("\n"));
        }
        match self.shipping.get() {
            1 => Ok(()),
            _ => Err("waiting for the collector's first answer".to_owned()),
        }
    }

    /// The counts, for the Prometheus text format, with whether all is well.
    pub fn page(&self, healthy: bool, watchdog: &Watchdog) -> Page {
        let mut page = Page::default();
        self.write_events(&mut page);
        self.write_files(&mut page);
        self.write_disk(&mut page);
        let healthy = f64::from(u8::from(healthy));
        page.gauge("lapwing_agent_healthy", "1 while /healthz says ok.", healthy);
        watchdog.write(&mut page, "lapwing_agent");
        page
    }

    fn write_events(&self, page: &mut Page) {
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
    }

    fn write_files(&self, page: &mut Page) {
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
    }

    fn write_disk(&self, page: &mut Page) {
        page.counter(
            "lapwing_agent_spool_dropped_records_total",
            "Records of metrics dropped because the spool was full.",
            self.records_dropped.get(),
        );
        page.gauge(
            "lapwing_agent_spool_bytes",
            "Metrics not acknowledged, in bytes.",
            self.spool_bytes.get() as f64,
        );
        page.gauge(
            "lapwing_agent_dead_letter_bytes",
            "Disk space of batches that the collector refused for good.",
            self.dead_letter_bytes.get() as f64,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipments_that_go_through_do_not_hide_the_trouble_of_another_part() {
        let counters = Counters::default();
        assert!(counters.health().is_err(), "nothing was shipped yet");
        assert!(counters.set_trouble_of(Part::Recording, "the spool is broken".to_owned()));
        assert!(!counters.set_trouble_of(Part::Recording, "the spool is broken".to_owned()), "it is no news");
        counters.set_shipping();
        assert_eq!(counters.health(), Err("the spool is broken".to_owned()));
        let page = counters.page(counters.health().is_ok(), &Watchdog::default());
        assert!(page.finish().contains("lapwing_agent_healthy 0"));
        assert!(counters.clear_trouble(Part::Recording));
        assert_eq!(counters.health(), Ok(()));
    }
}
