//! Hints for whoever typed a wrong query.

use datafusion::{
    common::{Column, SchemaError},
    error::DataFusionError,
};

use super::error::first_line;
use crate::{Table, ledger};

/// Words that are this many letters apart may be meant.
const MAX_DISTANCE: usize = 2;
/// Most columns that a hint lists.
const MAX_LISTED: usize = 20;

/// The engine's message, and how to write it here.
pub(super) fn explain(error: &DataFusionError, query: &str) -> String {
    let root = error.find_root();
    match root {
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => no_column(field, valid_fields, query),
            _ => first_line(root),
        },
        _ => {
            let text = root.strip_backtrace();
            if let Some(table) = table_not_found(&text) {
                return no_table(table);
            }
            if let Some(word) = between(&text, "Cannot cast string '", "'") {
                return no_cast(word, &first_line(root), query);
            }
            // The engine's own suggestion stands on the second line.
            let suggestion = text.lines().nth(1).filter(|line| line.starts_with("Did you mean"));
            match suggestion {
                Some(suggestion) => {
                    let mistake = first_line(root);
                    format!("{} {suggestion}", mistake.trim_start_matches("Error during planning: "))
                }
                None => first_line(root),
            }
        }
    }
}

/// The name in `table 'datafusion.public.log' not found`.
fn table_not_found(text: &str) -> Option<&str> {
    let name = between(text, "table '", "' not found")?;
    Some(name.strip_prefix("datafusion.public.").unwrap_or(name))
}

fn no_table(name: &str) -> String {
    let tables: Vec<&str> = Table::ALL.into_iter().map(Table::name).chain([ledger::rows::NAME]).collect();
    match nearest(name, tables.iter().copied()) {
        Some(meant) => format!("table \"{name}\" not found; did you mean {meant}?"),
        None => format!("table \"{name}\" not found; there are {}", tables.join(", ")),
    }
}

fn no_column(field: &Column, valid: &[Column], query: &str) -> String {
    let name = &field.name;
    let not_found = format!("column \"{name}\" not found");
    // A column of a map, or of a table that is not in FROM.
    if let Some(table) = &field.relation {
        let table = table.table();
        return match nearest(
            name,
            valid.iter().filter(|column| is_of(column, table)).map(|c| c.name.as_str()),
        ) {
            Some(meant) => format!("column \"{table}.{name}\" not found; did you mean {table}.{meant}?"),
            None => format!("column \"{table}.{name}\" not found; {}", listed(valid)),
        };
    }
    if let Some(meant) = nearest(name, valid.iter().map(|column| column.name.as_str())) {
        return format!("{not_found}; did you mean {meant}?");
    }
    if query.contains(&format!("\"{}\"", name.replace('"', "\"\""))) {
        let text = name.replace('\'', "''");
        return format!("{not_found}; double quotes name a column, a text is written '{text}'");
    }
    format!("{not_found}; {}", listed(valid))
}

fn is_of(column: &Column, table: &str) -> bool {
    column.relation.as_ref().is_some_and(|relation| relation.table() == table)
}

fn listed(valid: &[Column]) -> String {
    if valid.is_empty() {
        return "a query without FROM has no columns".to_owned();
    }
    let names: Vec<&str> = valid.iter().take(MAX_LISTED).map(|column| column.name.as_str()).collect();
    let more = if valid.len() > MAX_LISTED { ", ..." } else { "" };
    format!("there are {}{more}", names.join(", "))
}

fn no_cast(word: &str, message: &str, query: &str) -> String {
    if query.to_ascii_lowercase().contains("severity") {
        return format!(
            "{message}; severity is a number: 'TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR' and 'FATAL' are understood after \
             =, <>, <, <=, > and >=, and severity_text holds the source's own word (severity_text = '{word}')"
        );
    }
    message.to_owned()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

/// The word that is meant, when one is near enough.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distances = known.map(|other| (distance(&word, &other.to_lowercase()), other));
    let (distance, other) = distances.min_by_key(|(distance, _)| *distance)?;
    // Of a short word everything is near.
    let most = MAX_DISTANCE.min(word.chars().count().saturating_sub(1) / 2).max(1);
    (distance <= most && word.chars().count() > 1).then_some(other)
}

/// Letters to change, add or leave out (Levenshtein), of words of a bounded length.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
