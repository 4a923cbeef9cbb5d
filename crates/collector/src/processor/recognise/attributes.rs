//! Attributes of rows, some of which get more of them.

use lapwing::columns::{Attributes, Column, Run, Text};

/// The attributes of rows under construction. Nothing is copied before the first row that gets more.
#[derive(Debug)]
pub(super) struct Widened<'c> {
    own: &'c Column<Attributes>,
    /// Rows so far.
    rows: usize,
    wide: Option<Column<Attributes>>,
}

impl<'c> Widened<'c> {
    pub(super) fn new(own: &'c Column<Attributes>) -> Self {
        Self { own, rows: 0, wide: None }
    }

    /// Adds the next row, which has its own attributes and others beside them.
    pub(super) fn row(&mut self, own: &Attributes, others: Vec<(Text, Text)>) {
        let is_wider = !others.is_empty();
        if is_wider && self.wide.is_none() {
            self.wide = Some(Column::Runs(first(self.own, self.rows)));
        }
        self.rows += 1;

        match &mut self.wide {
            Some(wide) if is_wider => wide.push_run(1, own.with(others)),
            Some(wide) => push_own(wide, own),
            None => {}
        }
    }

    /// The attributes of all rows, when any of them got more.
    pub(super) fn finish(self) -> Option<Column<Attributes>> {
        self.wide
    }
}

/// Copies the attributes only when they are others than those of the row before.
fn push_own(wide: &mut Column<Attributes>, own: &Attributes) {
    if let Column::Runs(runs) = wide
        && let Some(last) = runs.last_mut()
        && last.value == *own
    {
        last.rows += 1;
        return;
    }
    wide.push_run(1, own.clone());
}

/// The runs of the first rows.
fn first(column: &Column<Attributes>, mut rows: usize) -> Vec<Run<Attributes>> {
    let mut runs = Vec::new();
    for (length, value) in column.runs() {
        let length = length.min(rows);
        if length == 0 {
            break;
        }
        rows -= length;
        runs.push(Run { rows: length as u32, value: value.clone() });
    }
    runs
}
