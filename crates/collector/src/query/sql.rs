//! An answer as messages of gRPC.

use arrow::{datatypes::Schema, error::ArrowError, record_batch::RecordBatch};
use lapwing::v1::{SqlColumn, SqlFormat, SqlResponse};
use lapwing_store::export::{self, ArrowPieces};
use prost_types::{ListValue, Value, value::Kind as Json};

use super::parts::Form;

/// A message is sent when it has reached this size.
const MESSAGE_BYTES: usize = 256 << 10;
/// Whole numbers beyond this are not exact as JSON numbers.
const MAX_EXACT: u64 = 1 << 53;

/// Messages of one format.
pub(super) struct Messages {
    format: SqlFormat,
    pieces: Option<ArrowPieces>,
}

impl Messages {
    pub(super) fn new(format: SqlFormat) -> Self {
        Self { format, pieces: None }
    }
}

impl Form for Messages {
    type Part = SqlResponse;

    fn begin(&mut self, schema: &Schema) -> Result<Vec<SqlResponse>, ArrowError> {
        let fields = schema.fields().iter();
        let columns = fields
            .map(|field| SqlColumn { name: field.name().clone(), r#type: field.data_type().to_string() });
        let mut parts = vec![SqlResponse { columns: columns.collect(), ..SqlResponse::default() }];
        if self.format == SqlFormat::Arrow {
            let (pieces, first) = ArrowPieces::begin(schema)?;
            self.pieces = Some(pieces);
            parts.push(SqlResponse { arrow: first.into(), ..SqlResponse::default() });
        }
        Ok(parts)
    }

    fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<SqlResponse>, ArrowError> {
        match &mut self.pieces {
            Some(pieces) => Ok(arrow_parts(&pieces.batch(batch)?)),
            None => row_parts(batch),
        }
    }

    fn end(&mut self, truncated: bool) -> Result<Vec<SqlResponse>, ArrowError> {
        let mut parts = Vec::new();
        if let Some(pieces) = self.pieces.take() {
            parts.push(SqlResponse { arrow: pieces.end()?.into(), ..SqlResponse::default() });
        }
        if truncated {
            parts.push(SqlResponse { truncated, ..SqlResponse::default() });
        }
        Ok(parts)
    }
}

fn row_parts(batch: &RecordBatch) -> Result<Vec<SqlResponse>, ArrowError> {
    let mut parts = Vec::new();
    let mut bytes = 0;
    let mut part = SqlResponse::default();
    for row in export::values(batch)? {
        let row = ListValue { values: row.into_iter().map(value).collect() };
        bytes += prost::Message::encoded_len(&row);
        part.rows.push(row);
        if bytes >= MESSAGE_BYTES {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
    }
    if !part.rows.is_empty() {
        parts.push(part);
    }
    Ok(parts)
}

/// Messages have a size limit at the other end; the stream may be cut anywhere.
fn arrow_parts(piece: &[u8]) -> Vec<SqlResponse> {
    let chunks = piece.chunks(MESSAGE_BYTES * 4);
    chunks.map(|chunk| SqlResponse { arrow: chunk.to_vec().into(), ..SqlResponse::default() }).collect()
}

fn value(json: serde_json::Value) -> Value {
    use serde_json::Value as From;
    let kind = match json {
        From::Null => Json::NullValue(0),
        From::Bool(value) => Json::BoolValue(value),
        From::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) if whole.unsigned_abs() > MAX_EXACT => Json::StringValue(whole.to_string()),
            (None, _) if number.is_u64() => Json::StringValue(number.to_string()),
            (_, Some(value)) => Json::NumberValue(value),
            _ => Json::StringValue(number.to_string()),
        },
        From::String(text) => Json::StringValue(text),
        From::Array(values) => Json::ListValue(ListValue { values: values.into_iter().map(value).collect() }),
        From::Object(fields) => Json::StructValue(prost_types::Struct {
            fields: fields.into_iter().map(|(name, field)| (name, value(field))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}
