//! What became of each batch and request, counted.

use lapwing::status::Kind;
use lapwing_service::metrics::{Count, Page};
use lapwing_spool::Stats;
use lapwing_store::tables::TablesStats;

use crate::health::Health;

/// The collector's counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Batches journaled.
    pub batches: Count,
    /// Rows journaled.
    pub rows: Count,
    /// Compressed bytes journaled.
    pub bytes: Count,
    /// Batches that were there before.
    pub duplicates: Count,
    /// Leases given.
    pub leases: Count,
    /// Rows of journal records that could not be turned into rows.
    pub unreadable_records: Count,
    /// Panics of workers, each isolated to its record.
    pub panics: Count,
    /// Journal records that a start could not read, and that are kept in a folder of their own.
    pub records_set_aside: Count,
    refused: [Count; Kind::ALL.len()],
}

impl Counters {
    /// Notes a refused shipment.
    pub fn refused(&self, kind: Kind) {
        self.refused[kind as usize].add(1);
    }

    /// The counts in the Prometheus text format.
    pub fn page(&self, journal: Stats, tables: &TablesStats, health: &Health) -> String {
        let mut page = Page::default();
        page.counter("lapwing_collector_batches_total", "Batches journaled.", self.batches.get());
        page.counter("lapwing_collector_rows_total", "Rows journaled.", self.rows.get());
        page.counter("lapwing_collector_bytes_total", "Compressed bytes journaled.", self.bytes.get());
        let duplicates = self.duplicates.get();
        page.counter(
            "lapwing_collector_duplicate_batches_total",
            "Batches that were there before.",
            duplicates,
        );
        page.counter("lapwing_collector_leases_total", "Leases given to agents.", self.leases.get());
        let refused: Vec<(&str, u64)> =
            Kind::ALL.iter().map(|kind| (kind.reason(), self.refused[*kind as usize].get())).collect();
        page.counters("lapwing_collector_refused_total", "Refused shipments.", "reason", &refused);
        let unreadable = self.unreadable_records.get();
        page.counter(
            "lapwing_collector_unreadable_records_total",
            "Journal records without rows.",
            unreadable,
        );
        page.counter(
            "lapwing_collector_records_set_aside_total",
            "Journal records that this start could not read; they are in DATA_DIR/journal-aside.",
            self.records_set_aside.get(),
        );
        page.counter("lapwing_collector_panics_total", "Panics of workers.", self.panics.get());
        page.gauge("lapwing_collector_journal_bytes", "Size of the journal.", journal.bytes as f64);
        page.gauge(
            "lapwing_collector_journal_durable",
            "Newest durable journal record.",
            journal.durable as f64,
        );
        page.gauge("lapwing_collector_memory_bytes", "Rows in memory.", tables.memory_bytes as f64);
        page.counter("lapwing_collector_flushes_total", "Flushes committed by the store.", tables.flushes);
        let failing = f64::from(u8::from(tables.flush_error.is_some()));
        page.gauge("lapwing_collector_flush_failing", "1 while the store refuses flushes.", failing);
        if let Some(seconds) = health.certificate_seconds() {
            page.certificate(seconds);
        }
        health.write(&mut page);
        page.finish()
    }
}
