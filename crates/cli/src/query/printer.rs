//! Prints an answer part by part.

use std::io::{self, Write};

use lapwing::v1::SqlResponse;
use prost_types::ListValue;
use serde_json::Value as Json;

use super::{
    Format,
    cell::{self, Column, Object},
    table::Table,
};
use crate::{escape, output::Palette};

/// Prints an answer in one format. All but the table are written as they come.
pub(crate) struct Printer<W> {
    out: W,
    format: Format,
    width: Option<usize>,
    palette: Palette,
    columns: Option<Vec<Column>>,
    /// Rows kept, because the widths of a table are known only at its end.
    table: Vec<Vec<Option<String>>>,
    rows: u64,
}

impl<W: Write> Printer<W> {
    /// Prints to `out`; a table is at most `width` wide.
    pub(crate) fn new(out: W, format: Format, width: Option<usize>, palette: Palette) -> Self {
        Self { out, format, width, palette, columns: None, table: Vec::new(), rows: 0 }
    }

    /// Prints one part. The first one has the columns.
    pub(crate) fn print(&mut self, part: SqlResponse) -> io::Result<()> {
        let columns = match self.columns.take() {
            Some(columns) => columns,
            None => self.begin(Column::all(&part.columns))?,
        };
        let printed = part.rows.into_iter().try_for_each(|row| self.row(&columns, row));
        self.columns = Some(columns);
        printed
    }

    /// Ends the answer; returns how many rows it had.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        match self.format {
            Format::Table => {
                let columns = self.columns.take().unwrap_or_default();
                Table::new(&columns, &self.table).write(&mut self.out, self.width, self.palette)?;
            }
            Format::Json => self.out.write_all(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })?,
            Format::Ndjson | Format::Csv => {}
        }
        self.out.flush()?;
        Ok(self.rows)
    }

    fn begin(&mut self, columns: Vec<Column>) -> io::Result<Vec<Column>> {
        if self.format == Format::Csv && !columns.is_empty() {
            let names = columns.iter().map(|column| Some(column.name.clone()));
            writeln!(self.out, "{}", csv(names))?;
        }
        Ok(columns)
    }

    fn row(&mut self, columns: &[Column], row: ListValue) -> io::Result<()> {
        let values: Vec<Json> =
            columns.iter().zip(row.values).map(|(column, value)| column.json(value)).collect();
        self.rows += 1;
        match self.format {
            Format::Table => self.table.push(values.iter().map(cell::text).collect()),
            Format::Csv => writeln!(self.out, "{}", csv(values.iter().map(cell::text)))?,
            Format::Ndjson => writeln!(self.out, "{}", object(columns, &values)?)?,
            Format::Json => {
                let before = if self.rows == 1 { "[\n" } else { ",\n" };
                write!(self.out, "{before}{}", object(columns, &values)?)?;
            }
        }
        Ok(())
    }
}

fn object(columns: &[Column], values: &[Json]) -> io::Result<String> {
    Ok(escape::json(serde_json::to_string(&Object(columns, values))?))
}

/// A CSV record. NULL is nothing at all, an empty text is `""`.
fn csv(fields: impl Iterator<Item = Option<String>>) -> String {
    let quoted = |field: Option<String>| match field {
        None => String::new(),
        Some(text) if text.is_empty() || text.contains(['"', ',', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Some(text) => text,
    };
    fields.map(quoted).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use prost_types::Value;

    use super::*;
    use crate::query::cell::tests::columns;

    fn printed(format: Format, rows: Vec<Vec<Value>>) -> String {
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, format, None, Palette::none());
        let columns = columns(&[("time", "Timestamp(ns)"), ("body", "Utf8View"), ("n", "Int64")]);
        // The columns come first, the rows in parts of their own.
        printer.print(SqlResponse { columns, ..SqlResponse::default() }).unwrap();
        let count = rows.len() as u64;
        for row in rows {
            let rows = vec![ListValue { values: row }];
            printer.print(SqlResponse { rows, ..SqlResponse::default() }).unwrap();
        }
        assert_eq!(printer.finish().unwrap(), count);
        String::from_utf8(out).unwrap()
    }

    fn rows() -> Vec<Vec<Value>> {
        let text = |text: &str| Value::from(text.to_owned());
        let null = || Value { kind: None };
        let first = vec![text("t1"), text("a, \"b\"\n\u{9b}"), Value::from(1.0)];
        vec![first, vec![text("t2"), text(""), null()]]
    }

    #[test]
    fn objects_have_their_keys_in_the_order_of_the_columns() {
        let first = r#"{"time":"t1","body":"a, \"b\"\n\u009b","n":1}"#;
        let second = r#"{"time":"t2","body":"","n":null}"#;
        assert_eq!(printed(Format::Ndjson, rows()), format!("{first}\n{second}\n"));
        assert_eq!(printed(Format::Json, rows()), format!("[\n{first},\n{second}\n]\n"));
    }

    #[test]
    fn csv_tells_nothing_from_an_empty_text() {
        assert_eq!(printed(Format::Csv, rows()), "time,body,n\nt1,\"a, \"\"b\"\"\n\u{9b}\",1\nt2,\"\",\n");
    }

    #[test]
    fn an_answer_without_rows_is_still_one() {
        assert_eq!(printed(Format::Json, vec![]), "[]\n");
        assert_eq!(printed(Format::Ndjson, vec![]), "");
        assert_eq!(printed(Format::Csv, vec![]), "time,body,n\n");
        assert_eq!(printed(Format::Table, vec![]), "time │ body │ n\n─────┼──────┼──\n");
    }
}
