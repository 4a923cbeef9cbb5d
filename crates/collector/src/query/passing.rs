//! A filter of log records on the columns they lie in: of a record that does not pass nothing is made.

use std::collections::HashMap;

use arrow::{
    array::{Array, AsArray},
    record_batch::RecordBatch,
};
use lapwing::v1::{FoundLog, LogFilter};

use super::{filter::glob_matches, found::LogTable};

/// The records that pass and whose `seq` is greater than `newest`, each with its row, made when they are asked for.
pub(super) fn rows<'a>(
    batch: &'a RecordBatch,
    filter: &'a LogFilter,
    newest: i64,
) -> impl Iterator<Item = (usize, FoundLog)> + 'a {
    let columns = LogTable::of(batch);
    let text = filter.text.to_lowercase();
    (0..batch.num_rows()).filter_map(move |row| {
        let columns = columns.as_ref()?;
        let is_wanted = columns.seq.value(row) > newest && passes(columns, row, filter, &text);
        is_wanted.then(|| (row, columns.row(row).log))
    })
}

/// Whether every condition holds for a row; `text` is that of the filter in lower case.
fn passes(columns: &LogTable<'_>, row: usize, filter: &LogFilter, text: &str) -> bool {
    let severity = if columns.severity.is_null(row) { 0 } else { columns.severity.value(row) };
    let host = if columns.host.is_null(row) { "" } else { columns.host.value(row) };
    let source = if columns.source.is_null(row) { "" } else { columns.source.value(row) };
    u32::try_from(severity).unwrap_or(0) >= filter.min_severity_number
        && (filter.host.is_empty() || filter.host == host)
        && (filter.source.is_empty() || glob_matches(filter.source.as_bytes(), source.as_bytes()))
        && (filter.attributes.is_empty() || has_attributes(columns, row, &filter.attributes))
        && (text.is_empty() || body_contains(columns, row, text))
}

fn body_contains(columns: &LogTable<'_>, row: usize, text: &str) -> bool {
    if !columns.raw_body.is_null(row) {
        return contains(&String::from_utf8_lossy(columns.raw_body.value(row)), text);
    }
    !columns.body.is_null(row) && contains(columns.body.value(row), text)
}

/// Whether a body contains `text`, which is in lower case; upper case counts as that.
fn contains(body: &str, text: &str) -> bool {
    if !body.is_ascii() {
        return body.to_lowercase().contains(text);
    }
    body.as_bytes().windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
}

fn has_attributes(columns: &LogTable<'_>, row: usize, wanted: &HashMap<String, String>) -> bool {
    if columns.attributes.is_null(row) {
        return false;
    }
    let entries = columns.attributes.value(row);
    let (Some(keys), Some(values)) =
        (entries.column(0).as_string_view_opt(), entries.column(1).as_string_view_opt())
    else {
        return false;
    };
    wanted.iter().all(|(key, value)| {
        let is_it = |(k, v): (Option<&str>, Option<&str>)| k == Some(key) && v == Some(value);
        keys.iter().zip(values.iter()).any(is_it)
    })
}

#[cfg(test)]
mod tests {
    use lapwing::columns::{Attributes, Bodies, Column, Columns, LogColumns, Text};
    use lapwing_store::rows::{About, record_batch};

    use super::*;

    fn batch(bodies: &[&[u8]]) -> RecordBatch {
        let rows = bodies.len();
        let columns = Columns::Logs(LogColumns {
            time: Column::constant(rows, 1),
            observed_time: Column::constant(rows, 1),
            severity_number: Column::constant(rows, 9),
            severity_text: Column::constant(rows, Text::default()),
            source: Column::constant(rows, Text::from("/a.log")),
            attributes: Column::constant(rows, [("k", "v"), ("l", "w")].into_iter().collect::<Attributes>()),
            bodies: bodies.iter().copied().collect::<Bodies>(),
        });
        let resource = [("host.name", "h")].into_iter().collect();
        let about = About { agent: "a".to_owned(), resource, time_zone: String::new(), journal_index: 1 };
        record_batch(&columns, &about).unwrap().1
    }

    #[test]
    fn every_condition_must_hold() {
        let batch = batch(&[b"Hello World"]);
        let passes = |filter: &LogFilter| rows(&batch, filter, -1).count() == 1;
        let good = LogFilter {
            text: "World".to_owned(),
            host: "h".to_owned(),
            source: "*.log".to_owned(),
            min_severity_number: 9,
            attributes: [("k".to_owned(), "v".to_owned())].into(),
        };
        assert!(passes(&good) && passes(&LogFilter::default()));
        for bad in [
            LogFilter { text: "x".to_owned(), ..good.clone() },
            LogFilter { host: "x".to_owned(), ..good.clone() },
            LogFilter { source: "x".to_owned(), ..good.clone() },
            LogFilter { min_severity_number: 10, ..good.clone() },
            LogFilter { attributes: [("k".to_owned(), "x".to_owned())].into(), ..good.clone() },
        ] {
            assert!(!passes(&bad), "{bad:?}");
        }
    }

    #[test]
    fn text_is_found_whatever_its_case_and_bytes() {
        let batch =
            batch(&[b"plain TEXT", "\u{c4}rger im Text".as_bytes(), b"\xff\xfe a text", b"none", b""]);
        let found = |text: &str| {
            let filter = LogFilter { text: text.to_owned(), ..LogFilter::default() };
            rows(&batch, &filter, -1).map(|(row, _)| row).collect::<Vec<_>>()
        };
        assert_eq!(found("text"), [0, 1, 2]);
        assert_eq!(found("\u{e4}RGER"), [1]);
        assert_eq!(found(""), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_was_in_the_backlog_does_not_come_again() {
        let batch = batch(&[b"0", b"1", b"2"]);
        let seqs: Vec<i64> = LogTable::of(&batch).unwrap().seq.values().to_vec();
        let filter = LogFilter::default();
        let left: Vec<usize> = rows(&batch, &filter, seqs[1]).map(|(row, _)| row).collect();
        assert_eq!(left, [2]);
    }
}
