//! Rows without the memory that they share with others.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, MapArray, MutableArrayData, StructArray, make_array},
    buffer::OffsetBuffer,
    datatypes::DataType,
    error::ArrowError,
    record_batch::{RecordBatch, RecordBatchOptions},
};

/// Bytes of a view, and of an offset.
const VIEW: usize = 16;
const OFFSET: usize = 4;

/// A batch that holds its own rows only. The rows of a slice keep the buffers of the whole batch, and what writes them down
/// would write those.
pub(crate) fn compact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(compact_array).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
}

/// Bytes of the rows of a batch alone, about as many as it takes to write them down.
pub(crate) fn bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(array_bytes).fold(0, usize::saturating_add)
}

fn array_bytes(array: &ArrayRef) -> usize {
    let rows = array.len();
    match array.data_type() {
        DataType::Utf8View => rows * VIEW + array.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => rows * VIEW + array.as_binary_view().total_buffer_bytes_used(),
        DataType::Map(..) => {
            let map = array.as_map();
            rows * OFFSET + named_bytes(map.offsets(), &(Arc::new(map.entries().clone()) as ArrayRef))
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            rows * OFFSET + named_bytes(list.offsets(), list.values())
        }
        DataType::Struct(_) => {
            array.as_struct().columns().iter().map(array_bytes).fold(0, usize::saturating_add)
        }
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

fn named_bytes(offsets: &OffsetBuffer<i32>, values: &ArrayRef) -> usize {
    let first = offsets.first().copied().unwrap_or_default();
    let last = offsets.last().copied().unwrap_or_default();
    array_bytes(&values.slice(first as usize, (last - first) as usize))
}

fn compact_array(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::Map(field, sorted) => {
            let map = array.as_map();
            let (offsets, entries) = part(map.offsets(), &(Arc::new(map.entries().clone()) as ArrayRef))?;
            let entries = entries.as_struct().clone();
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, map.nulls().cloned(), *sorted)?)
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let (offsets, values) = part(list.offsets(), list.values())?;
            Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, list.nulls().cloned())?)
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            let parts = array.as_struct();
            let columns = parts.columns().iter().map(compact_array).collect::<Result<_, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, parts.nulls().cloned())?)
        }
        _ => copied(array)?,
    })
}

/// A copy of the values, unless they are all that the array keeps.
fn copied(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let data = array.to_data();
    let own = data.get_slice_memory_size().unwrap_or(usize::MAX);
    if data.get_buffer_memory_size() <= own.saturating_mul(2) {
        return Ok(Arc::clone(array));
    }
    let mut copy = MutableArrayData::new(vec![&data], false, data.len());
    copy.try_extend(0, 0, data.len())?;
    Ok(make_array(copy.freeze()))
}

/// The values that offsets name, and the offsets from their beginning.
fn part(offsets: &OffsetBuffer<i32>, values: &ArrayRef) -> Result<(OffsetBuffer<i32>, ArrayRef), ArrowError> {
    let first = offsets.first().copied().unwrap_or_default();
    let last = offsets.last().copied().unwrap_or_default();
    let values = values.slice(first as usize, (last - first) as usize);
    let moved = offsets.iter().map(|offset| offset - first).collect::<Vec<_>>();
    Ok((OffsetBuffer::new(moved.into()), compact_array(&values)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::ArrowPieces,
        rows::{About, record_batch},
    };
    use lapwing::columns::{Attributes, Bodies, Column, Columns, LogColumns, Text};

    fn logs(rows: u32) -> RecordBatch {
        let data: String =
            (0..rows).map(|row| format!("a line that is longer than a view, {row}\n")).collect();
        let attributes: Attributes = [("status", "a value that is longer than a view")].into_iter().collect();
        let rows = rows as usize;
        let columns = Columns::Logs(LogColumns {
            time: Column::constant(rows, 1),
            observed_time: Column::constant(rows, 1),
            severity_number: Column::constant(rows, 9),
            severity_text: Column::constant(rows, Text::from("INFO")),
            source: Column::constant(rows, Text::from("/var/log/nginx/access.log")),
            attributes: Column::constant(rows, attributes),
            bodies: Bodies::Lines { rows: rows as u32, data: data.into() },
        });
        let about = About {
            agent: "a".to_owned(),
            resource: Attributes::default(),
            time_zone: String::new(),
            journal_index: 1,
        };
        record_batch(&columns, &about).unwrap().1
    }

    #[test]
    fn a_slice_keeps_its_rows_and_leaves_the_memory_of_the_others() {
        let all = logs(10_000);
        let slice = all.slice(5_000, 10);
        let small = compact(&slice).unwrap();
        assert_eq!(small, slice);
        let written = ArrowPieces::begin(&small.schema()).unwrap().0.batch(&small).unwrap().len();
        assert!(written < 20_000, "{written}");
        assert!(bytes(&slice) < 10_000 && bytes(&all) > 100 * bytes(&slice), "{}", bytes(&slice));
    }

    #[test]
    fn batches_without_rows_or_columns_stay_as_they_are() {
        let all = logs(3);
        for batch in [all.slice(0, 0), all.project(&[]).unwrap(), all] {
            assert_eq!(compact(&batch).unwrap(), batch);
        }
    }
}
