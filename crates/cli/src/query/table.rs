//! A table for people: columns under each other, as wide as the terminal lets them be.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::cell::{Column, Kind};
use crate::{
    escape,
    output::{Palette, Tone},
};

const BETWEEN: &str = " │ ";
const CROSSING: &str = "─┼─";
const CUT: char = '…';
/// No column is made narrower than this.
const NARROWEST: usize = 8;

/// Columns and rows, ready to be laid out.
pub(crate) struct Table<'a> {
    columns: &'a [Column],
    head: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl<'a> Table<'a> {
    /// Takes rows as they came; `None` is NULL.
    pub(crate) fn new(columns: &'a [Column], rows: &[Vec<Option<String>>]) -> Self {
        let escaped = |cell: &Option<String>| cell.as_deref().map(|text| escape::text(text).into_owned());
        Self {
            columns,
            head: columns.iter().map(|column| escape::text(&column.name).into_owned()).collect(),
            rows: rows.iter().map(|row| row.iter().map(escaped).collect()).collect(),
        }
    }

    /// Writes head, rule and rows, at most `room` wide where that can be done.
    pub(crate) fn write(
        &self,
        out: &mut impl Write,
        room: Option<usize>,
        palette: Palette,
    ) -> io::Result<()> {
        let widths = self.widths(room);
        let rule = widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join(CROSSING);
        let head: Vec<_> = self.head.iter().cloned().map(Some).collect();
        writeln!(out, "{}", self.line(&head, &widths, palette))?;
        writeln!(out, "{}", palette.paint(Tone::Dim, &rule))?;
        self.rows.iter().try_for_each(|row| writeln!(out, "{}", self.line(row, &widths, palette)))
    }

    fn line(&self, row: &[Option<String>], widths: &[usize], palette: Palette) -> String {
        let last = widths.len().saturating_sub(1);
        let cell = |(place, (cell, width)): (usize, (&Option<String>, &usize))| {
            let text = cut(cell.as_deref().unwrap_or(null(palette)), *width);
            let blanks = " ".repeat(width.saturating_sub(text.width()));
            let text = if cell.is_none() { palette.paint(Tone::Dim, &text) } else { text };
            match self.columns[place].kind {
                Kind::Integer | Kind::Number => blanks + &text,
                // Nothing follows: no blanks at the end of a line.
                Kind::Time | Kind::Text if place == last => text,
                Kind::Time | Kind::Text => text + &blanks,
            }
        };
        let cells: Vec<String> = row.iter().zip(widths).enumerate().map(cell).collect();
        cells.join(&palette.paint(Tone::Dim, BETWEEN))
    }

    /// Texts give way first; times and numbers only when that is not enough.
    fn widths(&self, room: Option<usize>) -> Vec<usize> {
        let natural = self.natural_widths();
        let Some(room) = room else { return natural };
        let room = room.saturating_sub(BETWEEN.width() * natural.len().saturating_sub(1));
        let is_text = |place: usize| self.columns[place].kind == Kind::Text;
        fit(&natural, room, is_text)
            .or_else(|| fit(&natural, room, |_| true))
            .unwrap_or_else(|| capped(&natural, NARROWEST, |_| true))
    }

    fn natural_widths(&self) -> Vec<usize> {
        let width = |place: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(place)?.as_deref());
            let widest = cells.map(UnicodeWidthStr::width).max().unwrap_or_default();
            widest.max(self.head[place].width())
        };
        (0..self.columns.len()).map(width).collect()
    }
}

/// What stands for NULL: a word where it can be told from the text `null`, else nothing.
fn null(palette: Palette) -> &'static str {
    if palette.has_colours() { "null" } else { "" }
}

/// The widths with the widest of the columns that `may_shrink` cut down until all have room together.
fn fit(natural: &[usize], room: usize, may_shrink: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
    let caps = (NARROWEST..=room).rev();
    caps.map(|cap| capped(natural, cap, &may_shrink)).find(|widths| widths.iter().sum::<usize>() <= room)
}

fn capped(natural: &[usize], cap: usize, may_shrink: impl Fn(usize) -> bool) -> Vec<usize> {
    let width = |(place, width): (usize, &usize)| if may_shrink(place) { cap.min(*width) } else { *width };
    natural.iter().enumerate().map(width).collect()
}

/// `text`, cut to `width` with an ellipsis when it is wider.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |char: &char| {
        let needed = char.width().unwrap_or_default();
        let fits = needed <= left;
        left = left.saturating_sub(needed);
        fits
    };
    text.chars().take_while(fits).chain([CUT]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::cell::tests::columns;

    fn printed(kinds: &[(&str, &str)], rows: &[&[Option<&str>]], room: Option<usize>) -> String {
        let columns = Column::all(&columns(kinds));
        let rows: Vec<Vec<_>> =
            rows.iter().map(|row| row.iter().map(|cell| cell.map(str::to_owned)).collect()).collect();
        let mut out = Vec::new();
        Table::new(&columns, &rows).write(&mut out, room, Palette::none()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_stand_at_the_right_and_text_at_the_left() {
        let kinds = [("name", "Utf8View"), ("value", "Float64"), ("unit", "Utf8View")];
        let rows: [&[Option<&str>]; 2] =
            [&[Some("cpu"), Some("0.5"), Some("1")], &[Some("memory"), Some("1024.0"), None]];
        let expected = "\
name   │  value │ unit
───────┼────────┼─────
cpu    │    0.5 │ 1
memory │ 1024.0 │ \n";
        assert_eq!(printed(&kinds, &rows, None), expected);
    }

    #[test]
    fn the_widest_texts_are_cut_to_the_terminal_and_times_are_not() {
        let kinds = [("time", "Timestamp(ns)"), ("host", "Utf8View"), ("body", "Utf8View")];
        let time = "2026-01-01T00:00:00.000000000Z";
        let body = "a long line that does not fit into the terminal at all";
        let told = printed(&kinds, &[&[Some(time), Some("web-1"), Some(body)]], Some(60));
        let line = told.lines().last().unwrap();
        assert_eq!(line.width(), 60, "{told}");
        assert!(line.starts_with(time) && line.contains(" web-1 ") && line.ends_with('…'), "{told}");
    }

    #[test]
    fn a_terminal_too_narrow_for_times_cuts_them_too() {
        let kinds = [("time", "Timestamp(ns)"), ("body", "Utf8View")];
        let told = printed(&kinds, &[&[Some("2026-01-01T00:00:00Z"), Some("0123456789")]], Some(19));
        assert_eq!(told.lines().last(), Some("2026-01… │ 0123456…"));
        let narrower = printed(&kinds, &[&[Some("2026-01-01T00:00:00Z"), Some("0123456789")]], Some(5));
        assert_eq!(narrower, told);
    }

    #[test]
    fn wide_characters_take_two_places_and_control_characters_are_shown() {
        assert_eq!(cut("大大大", 6), "大大大");
        assert_eq!(cut("大大大", 5), "大大…");
        assert_eq!(cut("大大大", 4), "大…");
        let told = printed(&[("a", "Utf8"), ("b", "Utf8")], &[&[Some("大"), Some("x\n\u{1b}[2J")]], None);
        assert_eq!(told.lines().last(), Some(r"大 │ x\n\u{1b}[2J"));
        assert_eq!(told.lines().next(), Some("a  │ b"));
    }
}
