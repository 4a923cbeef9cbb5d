//! What a reader prunes by: per column whether there are nulls, and the least and greatest value.

use arrow::{
    array::{Array, AsArray},
    compute::{max, min},
    datatypes::{DataType, Int16Type, Int32Type, Int64Type, Schema, TimestampNanosecondType},
    record_batch::RecordBatch,
};

use super::files::date;

/// Statistics of one column of one file.
#[derive(Debug, Clone)]
pub(super) struct ColumnStats {
    /// Its place among the columns of a batch.
    place: usize,
    /// As the catalog numbers it.
    pub(super) column_id: i64,
    pub(super) values: u64,
    pub(super) nulls: u64,
    /// Least and greatest value; for numbers and times only.
    pub(super) bounds: Option<(i64, i64)>,
    pub(super) is_time: bool,
}

impl ColumnStats {
    /// Those of no rows, for every top-level column that is not nested.
    pub(super) fn of(schema: &Schema) -> Vec<Self> {
        let (mut stats, mut id) = (Vec::new(), 1);
        for (place, field) in schema.fields().iter().enumerate() {
            let column_id = id;
            id += 1 + children(field.data_type());
            if children(field.data_type()) > 0 {
                continue;
            }
            let is_time = matches!(field.data_type(), DataType::Timestamp(..));
            stats.push(Self { place, column_id, values: 0, nulls: 0, bounds: None, is_time });
        }
        stats
    }

    /// Adds the rows of a batch.
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        let column = batch.column(self.place);
        let nulls = column.null_count() as u64;
        self.values += column.len() as u64 - nulls;
        self.nulls += nulls;
        let both = self.bounds.into_iter().chain(bounds(column));
        self.bounds = both.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    }

    /// A bound as the catalog writes it.
    pub(super) fn text(&self, value: i64) -> String {
        if self.is_time { timestamp(value) } else { value.to_string() }
    }
}

/// How many nested columns stand under one of this type.
pub(super) fn children(kind: &DataType) -> i64 {
    match kind {
        DataType::Map(..) => 2,
        DataType::List(_) => 1,
        _ => 0,
    }
}

fn bounds(column: &dyn Array) -> Option<(i64, i64)> {
    match column.data_type() {
        DataType::Timestamp(..) => {
            let column = column.as_primitive::<TimestampNanosecondType>();
            Some((min(column)?, max(column)?))
        }
        DataType::Int64 => {
            let column = column.as_primitive::<Int64Type>();
            Some((min(column)?, max(column)?))
        }
        DataType::Int32 => {
            let column = column.as_primitive::<Int32Type>();
            Some((min(column)?.into(), max(column)?.into()))
        }
        DataType::Int16 => {
            let column = column.as_primitive::<Int16Type>();
            Some((min(column)?.into(), max(column)?.into()))
        }
        _ => None,
    }
}

/// `YYYY-MM-DD hh:mm:ss.nnnnnnnnn`: text order is time order.
pub(super) fn timestamp(nanos: i64) -> String {
    let (day, rest) = (nanos.div_euclid(86_400_000_000_000), nanos.rem_euclid(86_400_000_000_000));
    let (seconds, nanos) = (rest / 1_000_000_000, rest % 1_000_000_000);
    format!("{} {:02}:{:02}:{:02}.{nanos:09}", date(day), seconds / 3600, seconds / 60 % 60, seconds % 60)
}
