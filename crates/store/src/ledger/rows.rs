//! The table `ledger`: what agents and journal know, beside what the tables hold.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::{ArrayRef, Int64Array, StringViewArray, TimestampNanosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    record_batch::RecordBatch,
};
use lapwing::batch;

use super::{Ledger, LedgerEntry, Told};
use crate::{OTHERS, SourceCounts, schema};

/// Its name in SQL.
pub(crate) const NAME: &str = "ledger";

/// Its columns.
pub(crate) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let text = ["agent", "source", "kind"].map(|name| Field::new(name, DataType::Utf8View, false));
        let counts = [
            "read",
            "truncated",
            "dropped",
            "spooled",
            "sent",
            "acknowledged",
            "journaled",
            "unnumbered",
            "stored",
            "in_memory",
        ]
        .map(|name| Field::new(name, DataType::Int64, true));
        let rest = [
            Field::new("missing", DataType::Int64, false),
            Field::new("dropped_by", DataType::Utf8View, true),
            Field::new("epoch", DataType::Utf8View, true),
            Field::new("sequence", DataType::Int64, true),
            Field::new("time", schema::time(), false),
        ];
        Arc::new(Schema::new(text.into_iter().chain(counts).chain(rest).collect::<Vec<_>>()))
    });
    Arc::clone(&SCHEMA)
}

/// The ledger as rows, beside what is stored and what is in memory.
pub(crate) fn record_batch(
    ledger: &Ledger,
    stored: Option<&SourceCounts>,
    memory: &SourceCounts,
) -> Result<RecordBatch, ArrowError> {
    let sources = ledger.sources.iter().map(|entry| (entry, true));
    let entries: Vec<(&LedgerEntry, bool)> =
        sources.chain(ledger.gaps.iter().map(|entry| (entry, false))).collect();
    let text = |of: &dyn Fn(&LedgerEntry) -> String| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(entries.iter().map(|(entry, _)| of(entry))))
    };
    let told = |of: &dyn Fn(&Told) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter(
            entries.iter().map(|(entry, _)| entry.told.as_ref().map(of).map(signed)),
        ))
    };
    // Of a gap only what is missing is known.
    let held = |of: &dyn Fn(&LedgerEntry) -> Option<u64>| -> ArrayRef {
        let value = |(entry, is_source): &(&LedgerEntry, bool)| of(entry).filter(|_| *is_source).map(signed);
        Arc::new(Int64Array::from_iter(entries.iter().map(value)))
    };
    let optional = |of: &dyn Fn(&LedgerEntry) -> Option<String>| -> ArrayRef {
        Arc::new(StringViewArray::from_iter(entries.iter().map(|(entry, _)| of(entry))))
    };
    let numbered = |entry: &LedgerEntry| (entry.number.0 != 0).then_some(entry.number);
    let kinds = entries.iter().map(|(_, is_source)| if *is_source { "source" } else { "gap" });
    let columns = vec![
        text(&|entry| entry.agent.clone()),
        text(&|entry| entry.source.clone()),
        Arc::new(StringViewArray::from_iter_values(kinds)),
        told(&|told| told.read),
        told(&|told| told.truncated),
        Arc::new(Int64Array::from_iter(entries.iter().map(|(entry, _)| dropped(entry).map(signed)))),
        told(&|told| told.spooled),
        Arc::new(Int64Array::from_iter(entries.iter().map(|(entry, _)| sent(entry).map(signed)))),
        told(&|told| told.acknowledged),
        held(&|entry| Some(entry.journaled)),
        held(&|entry| Some(entry.unnumbered)),
        held(&|entry| stored.map(|stored| rows_of(entry, ledger, stored))),
        held(&|entry| Some(rows_of(entry, ledger, memory))),
        Arc::new(Int64Array::from_iter_values(entries.iter().map(|(entry, _)| entry.missing))),
        optional(&|entry| (!entry.dropped.is_empty()).then(|| causes(&entry.dropped))),
        optional(&|entry| numbered(entry).map(|(epoch, _)| format!("{epoch:016x}"))),
        Arc::new(Int64Array::from_iter(
            entries.iter().map(|(entry, _)| numbered(entry).map(|(_, sequence)| signed(sequence))),
        )),
        Arc::new(TimestampNanosecondArray::from_iter_values(
            entries.iter().map(|(entry, _)| signed(entry.time_unix_nano)),
        )),
    ];
    RecordBatch::try_new(schema(), columns)
}

/// Rows of a source; of the sources that share an entry, those of all that have none of their own.
fn rows_of(entry: &LedgerEntry, ledger: &Ledger, counts: &SourceCounts) -> u64 {
    if entry.source != OTHERS {
        return counts.get(&entry.agent, &entry.source);
    }
    let others = ledger.sources.iter().filter(|other| other.agent == entry.agent && other.source != OTHERS);
    let own = others.map(|other| counts.get(&other.agent, &other.source)).fold(0, u64::saturating_add);
    counts.of_agent(&entry.agent).saturating_sub(own)
}

/// Events that were dropped; of a client that keeps no numbers nobody knows, unless there are some.
fn dropped(entry: &LedgerEntry) -> Option<u64> {
    let known = entry.told.is_some() || !entry.dropped.is_empty();
    known.then(|| sum(entry.dropped.values()))
}

/// Events in batches: all but those that were dropped before. A dead letter was sent, and refused; what is unreadable even was taken.
fn sent(entry: &LedgerEntry) -> Option<u64> {
    let was_sent = |cause: &str| [batch::DEAD_LETTER, batch::UNREADABLE].contains(&cause);
    let before = entry.dropped.iter().filter(|(cause, _)| !was_sent(cause)).map(|(_, events)| events);
    entry.told.as_ref().map(|told| told.read.saturating_sub(sum(before)))
}

/// What agents claim may be any number.
fn sum<'a>(events: impl Iterator<Item = &'a u64>) -> u64 {
    events.fold(0, |sum, events| sum.saturating_add(*events))
}

/// As JSON.
fn causes(dropped: &BTreeMap<String, u64>) -> String {
    serde_json::to_string(dropped).unwrap_or_default()
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
