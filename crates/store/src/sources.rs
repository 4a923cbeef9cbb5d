//! How many rows there are of each source.

use std::collections::BTreeMap;

use arrow::{
    array::{AsArray, StringViewArray},
    record_batch::RecordBatch,
};

use crate::Table;

/// Rows by agent and source. The rows of a table without a column `source` count under the table's name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SourceCounts(BTreeMap<(String, String), u64>);

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
        *self.0.entry((agent.to_owned(), source.to_owned())).or_default() += rows;
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(agent, source, rows)| self.add_rows(agent, source, rows));
    }

    /// Rows of one source.
    pub fn get(&self, agent: &str, source: &str) -> u64 {
        self.0.get(&(agent.to_owned(), source.to_owned())).copied().unwrap_or(0)
    }

    /// Agent, source and rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.0.iter().map(|((agent, source), rows)| (agent.as_str(), source.as_str(), *rows))
    }
}

fn value<'a>(column: Option<&'a StringViewArray>, row: usize, default: &'a str) -> &'a str {
    column.map_or(default, |column| column.value(row))
}
