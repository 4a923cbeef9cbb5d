//! Tables that this program fills itself, in the forms that answers to SQL have.

use std::io;

use lapwing::v1::{SqlColumn, SqlResponse};
use prost_types::{ListValue, Value};

use crate::{
    exit::Failure,
    output::{self, Palette},
    query::{Format, Printer},
};

/// A table under way.
pub(crate) struct Listing {
    columns: Vec<SqlColumn>,
    rows: Vec<ListValue>,
}

impl Listing {
    /// A table with columns by name; `true` for those that hold whole numbers.
    pub(crate) fn new(columns: &[(&str, bool)]) -> Self {
        let column = |(name, whole): &(&str, bool)| SqlColumn {
            name: (*name).to_owned(),
            r#type: if *whole { "Int64" } else { "Utf8" }.to_owned(),
        };
        Self { columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, values: Vec<Value>) {
        self.rows.push(ListValue { values });
    }

    /// Prints it: in `format`, else as a table on a terminal and as NDJSON elsewhere.
    pub(crate) fn print(self, format: Option<Format>) -> Result<(), Failure> {
        let usual = if output::is_terminal() { Format::Table } else { Format::Ndjson };
        self.write(io::stdout().lock(), format.unwrap_or(usual), output::width()).map_err(output::failed)
    }

    /// Writes it to `out`.
    pub(crate) fn write(self, out: impl io::Write, format: Format, width: Option<usize>) -> io::Result<()> {
        let mut printer = Printer::new(out, format, width, Palette::for_stdout());
        printer.print(SqlResponse { columns: self.columns, rows: self.rows, ..SqlResponse::default() })?;
        printer.finish().map(|_| ())
    }
}

/// A whole number as a cell; larger ones than a double holds stand as text.
pub(crate) fn number(number: u64) -> Value {
    const EXACT: u64 = 1 << 53;
    if number <= EXACT { Value::from(number as f64) } else { Value::from(number.to_string()) }
}

/// A text as a cell; nothing when it is empty.
pub(crate) fn text(text: impl Into<String>) -> Value {
    let text = text.into();
    if text.is_empty() { nothing() } else { Value::from(text) }
}

/// An empty cell.
pub(crate) fn nothing() -> Value {
    Value { kind: None }
}
