//! How many rows there are of each source.

use std::collections::BTreeMap;

use arrow::{
    array::{AsArray, StringViewArray},
    record_batch::RecordBatch,
};

use crate::Table;

/// What sources of an agent beyond the bound are called together; the books of the journal call them the same.
pub const OTHERS: &str = "(others)";
/// Sources of an agent that are counted one by one ...
const MAX_SOURCES: usize = 20_000;
/// ... and the bytes of their names.
const MAX_NAME_BYTES: usize = 4 << 20;

/// Rows by agent and source. The rows of a table without a column `source` count under the table's name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SourceCounts {
    rows: BTreeMap<(String, String), u64>,
    /// Sources of each agent, and the bytes of their names.
    names: BTreeMap<String, (usize, usize)>,
}

impl SourceCounts {
    /// Counts the rows of a batch.
    pub fn add(&mut self, table: Table, rows: &RecordBatch) {
        let column = |name| rows.column_by_name(name).and_then(|column| column.as_string_view_opt());
        let (agents, sources) = (column("agent"), column("source"));
        let key = |row: usize| (value(agents, row, ""), value(sources, row, table.name()));
        // Rows of a source come in runs.
        let mut start = 0;
        for row in 1..=rows.num_rows() {
            if row == rows.num_rows() || key(row) != key(start) {
                let (agent, source) = key(start);
                self.add_rows(agent, source, (row - start) as u64);
                start = row;
            }
        }
    }

    /// Counts `rows` more rows.
    pub fn add_rows(&mut self, agent: &str, source: &str, rows: u64) {
        let mut key = (agent.to_owned(), source.to_owned());
        if !self.rows.contains_key(&key) {
            let (sources, bytes) = self.names.entry(agent.to_owned()).or_default();
            if *sources >= MAX_SOURCES || *bytes + source.len() > MAX_NAME_BYTES {
                OTHERS.clone_into(&mut key.1);
            } else {
                *sources += 1;
                *bytes += source.len();
            }
        }
        let count = self.rows.entry(key).or_default();
        *count = count.saturating_add(rows);
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(agent, source, rows)| self.add_rows(agent, source, rows));
    }

    /// These counts under the names that they have once they are added to `all`.
    #[must_use]
    pub fn named_as_in(&self, all: &Self) -> Self {
        let is_full = |agent: &str| {
            let other = all.names.get(agent).copied().unwrap_or_default();
            let own = self.names.get(agent).copied().unwrap_or_default();
            other.0 + own.0 > MAX_SOURCES || other.1 + own.1 > MAX_NAME_BYTES
        };
        if !self.names.keys().any(|agent| is_full(agent)) {
            return self.clone();
        }
        let mut named = Self::default();
        let mut together = all.clone();
        for (agent, source, rows) in self.iter() {
            together.add_rows(agent, source, rows);
            let source = if together.rows.contains_key(&(agent.to_owned(), source.to_owned())) {
                source
            } else {
                OTHERS
            };
            named.add_rows(agent, source, rows);
        }
        named
    }

    /// Rows of one source.
    pub fn get(&self, agent: &str, source: &str) -> u64 {
        self.rows.get(&(agent.to_owned(), source.to_owned())).copied().unwrap_or(0)
    }

    /// Rows of all sources of an agent.
    pub fn of_agent(&self, agent: &str) -> u64 {
        let all = self.rows.range((agent.to_owned(), String::new())..);
        all.take_while(|((name, _), _)| name == agent)
            .map(|(_, rows)| rows)
            .fold(0, |sum, rows| sum.saturating_add(*rows))
    }

    /// Agent, source and rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.rows.iter().map(|((agent, source), rows)| (agent.as_str(), source.as_str(), *rows))
    }
}

fn value<'a>(column: Option<&'a StringViewArray>, row: usize, default: &'a str) -> &'a str {
    column.map_or(default, |column| column.value(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_beyond_the_bound_are_counted_together() {
        let mut all = SourceCounts::default();
        (0..MAX_SOURCES + 5).for_each(|n| all.add_rows("evil", &n.to_string(), 2));
        all.add_rows("good", "a.log", 3);
        assert_eq!((all.iter().count(), all.get("evil", OTHERS)), (MAX_SOURCES + 2, 10));
        assert_eq!((all.of_agent("evil"), all.of_agent("good")), (2 * (MAX_SOURCES as u64 + 5), 3));
    }

    #[test]
    fn long_names_reach_the_bound_sooner() {
        let mut all = SourceCounts::default();
        (0..3_000).for_each(|n| all.add_rows("evil", &format!("{n:04000}"), 1));
        let bytes: usize = all.iter().map(|(_, source, _)| source.len()).sum();
        assert!(bytes <= MAX_NAME_BYTES + OTHERS.len(), "{bytes}");
    }

    #[test]
    fn a_flush_names_its_sources_as_the_store_will() {
        let mut all = SourceCounts::default();
        (0..MAX_SOURCES - 1).for_each(|n| all.add_rows("a", &n.to_string(), 1));
        let mut flush = SourceCounts::default();
        ["7", "new", "newer"].into_iter().for_each(|source| flush.add_rows("a", source, 1));
        let named = flush.named_as_in(&all);
        let named: Vec<_> = named.iter().map(|(_, source, rows)| (source, rows)).collect();
        assert_eq!(named, [(OTHERS, 1), ("7", 1), ("new", 1)]);
    }
}
