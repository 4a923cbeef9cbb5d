//! `lapwing deadletter list`.

use super::{Letter, Letters, count};
use crate::{
    exit::Failure,
    listing::{Listing, number, text},
    output, query, time,
};

/// Sources named in a row of the list.
const SOURCES: usize = 3;

/// Prints the letters.
pub(super) fn run(letters: &Letters, format: Option<query::Format>) -> Result<(), Failure> {
    let names = letters.names()?;
    let pending = letters.pending()?;
    if pending > 0 {
        output::note(format_args!("{} more not yet given up by the agent", count(pending)));
    }
    let columns = [
        ("set_aside", false),
        ("name", false),
        ("rows", true),
        ("bytes", true),
        ("signal", false),
        ("sources", false),
        ("reason", false),
    ];
    let mut listing = Listing::new(&columns);
    for name in &names {
        listing.push(row(&letters.read(name)?));
    }
    if names.is_empty() && format.is_none() && output::is_terminal() {
        return output::line(format_args!("no dead letters in {}", letters.folder().display()));
    }
    listing.print(format)?;
    if output::is_terminal() {
        output::note(format_args!("({})", count(names.len())));
    }
    Ok(())
}

fn row(letter: &Letter) -> Vec<prost_types::Value> {
    let bytes = letter.packed().map_or(0, |packed| packed.data.len() as u64);
    vec![
        text(time::rfc3339_millis(letter.set_aside)),
        text(letter.name.as_str()),
        number(letter.rows()),
        number(bytes),
        text(letter.signal()),
        text(sources(&letter.sources())),
        text(letter.reason.as_str()),
    ]
}

fn sources(all: &[&str]) -> String {
    let shown = all.iter().take(SOURCES).copied().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SOURCES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sources_are_counted() {
        assert_eq!(sources(&["a", "b"]), "a, b");
        assert_eq!(sources(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
