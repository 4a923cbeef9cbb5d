//! Results for other programs: JSON, CSV and Arrow IPC. Times are RFC 3339; maps are objects, in CSV as JSON text.

use arrow::{
    array::{ArrayRef, StringArray},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
    ipc::writer::StreamWriter,
    json::{
        WriterBuilder,
        writer::{EncoderOptions, LineDelimited, make_encoder},
    },
    record_batch::RecordBatch,
};
use serde_json::Value;
use std::sync::Arc;

/// RFC 3339. Timestamps without a zone are UTC by definition; a reader must be told.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.9fZ";

/// Rows as JSON objects, one per line; nulls are written.
///
/// # Errors
/// When a type can't be written.
pub fn ndjson(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut out = Vec::new();
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_format(TIME.to_owned())
        .build::<_, LineDelimited>(&mut out);
    writer.write(batch)?;
    writer.finish()?;
    Ok(out)
}

/// Rows as JSON values, column by column in order.
///
/// # Errors
/// As [`ndjson`].
pub fn values(batch: &RecordBatch) -> Result<Vec<Vec<Value>>, ArrowError> {
    // Columns may share a name in SQL; in an object they can't.
    let schema = batch.schema();
    let fields = schema.fields().iter().enumerate();
    let fields: Vec<_> = fields.map(|(n, field)| field.as_ref().clone().with_name(n.to_string())).collect();
    let renamed = RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        batch.columns().to_vec(),
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )?;
    let width = batch.num_columns();
    let lines = ndjson(&renamed)?;
    let row = |line: &[u8]| {
        let mut object: serde_json::Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| ArrowError::JsonError(error.to_string()))?;
        Ok((0..width).map(|n| object.remove(&n.to_string()).unwrap_or_default()).collect())
    };
    lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(row).collect()
}

/// Writes rows as JSON arrays, column by column in order, with commas between them.
///
/// # Errors
/// As [`ndjson`].
pub fn json_rows(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true).with_timestamp_format(TIME.to_owned());
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let mut columns = columns
        .map(|(field, column)| make_encoder(field, column.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;

    for row in 0..batch.num_rows() {
        out.extend_from_slice(if row == 0 { b"[" } else { b",[" });
        for (place, column) in columns.iter_mut().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            if column.is_null(row) {
                out.extend_from_slice(b"null");
            } else {
                column.encode(row, out);
            }
        }
        out.push(b']');
    }
    Ok(())
}

/// Rows as CSV (RFC 4180), with a header line when asked for.
///
/// # Errors
/// As [`ndjson`].
pub fn csv(batch: &RecordBatch, header: bool) -> Result<Vec<u8>, ArrowError> {
    let mut out = Vec::new();
    let flat = flatten(batch)?;
    arrow::csv::WriterBuilder::new()
        .with_header(header)
        .with_timestamp_format(TIME.to_owned())
        .build(&mut out)
        .write(&flat)?;
    Ok(out)
}

/// Batches as pieces of an Arrow IPC stream.
pub struct ArrowPieces(StreamWriter<Vec<u8>>);

impl std::fmt::Debug for ArrowPieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArrowPieces").finish_non_exhaustive()
    }
}

impl ArrowPieces {
    /// Begins a stream; the first piece names the columns.
    ///
    /// # Errors
    /// As [`ndjson`].
    pub fn begin(schema: &Schema) -> Result<(Self, Vec<u8>), ArrowError> {
        let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
        let first = std::mem::take(writer.get_mut());
        Ok((Self(writer), first))
    }

    /// The piece of a batch.
    ///
    /// # Errors
    /// As [`ndjson`].
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        self.0.write(batch)?;
        Ok(std::mem::take(self.0.get_mut()))
    }

    /// The last piece.
    ///
    /// # Errors
    /// As [`ndjson`].
    pub fn end(self) -> Result<Vec<u8>, ArrowError> {
        self.0.into_inner()
    }
}

/// Nested columns as JSON text.
fn flatten(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !field.data_type().is_nested() {
            fields.push(field.as_ref().clone());
            columns.push(Arc::clone(column));
            continue;
        }
        fields.push(Field::new(field.name(), DataType::Utf8, true));
        columns.push(json_text(field, column)?);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn json_text(field: &Field, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let schema = Arc::new(Schema::new(vec![field.clone().with_name("v")]));
    let lines = ndjson(&RecordBatch::try_new(schema, vec![Arc::clone(column)])?)?;
    let text = |line: &[u8]| -> Result<Option<String>, ArrowError> {
        let value: Value =
            serde_json::from_slice(line).map_err(|error| ArrowError::JsonError(error.to_string()))?;
        Ok(Some(value["v"].to_string()).filter(|text| text != "null"))
    };
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(Arc::new(lines.map(text).collect::<Result<StringArray, _>>()?))
}
