//! An answer of the engine as a stream of messages.

use arrow::{ipc::writer::StreamWriter, record_batch::RecordBatch};
use lapwing::{
    status::Kind,
    v1::{SqlColumn, SqlFormat, SqlResponse},
};
use lapwing_store::{engine::Answer, export};
use prost_types::{ListValue, Value, value::Kind as Json};
use tonic::Status;

/// A message is sent when it has reached this size.
const MESSAGE_BYTES: usize = 256 << 10;
/// Whole numbers beyond this are not exact as JSON numbers.
const MAX_EXACT: u64 = 1 << 53;

/// The messages of an answer.
pub(super) fn responses(answer: &Answer, format: SqlFormat) -> Result<Vec<SqlResponse>, Status> {
    let fields = answer.schema.fields().iter();
    let columns =
        fields.map(|field| SqlColumn { name: field.name().clone(), r#type: field.data_type().to_string() });
    let mut responses = vec![SqlResponse { columns: columns.collect(), ..SqlResponse::default() }];
    let failed = |error: arrow::error::ArrowError| {
        Kind::Internal.status(format!("the answer can't be written: {error}"))
    };
    match format {
        SqlFormat::Arrow => arrow_parts(answer, &mut responses).map_err(failed)?,
        _ => {
            for batch in &answer.batches {
                row_parts(batch, &mut responses).map_err(failed)?;
            }
        }
    }
    if let Some(last) = responses.last_mut() {
        last.truncated = answer.truncated;
    }
    Ok(responses)
}

fn row_parts(batch: &RecordBatch, responses: &mut Vec<SqlResponse>) -> Result<(), arrow::error::ArrowError> {
    let mut bytes = 0;
    let mut part = SqlResponse::default();
    for row in export::values(batch)? {
        let row = ListValue { values: row.into_iter().map(value).collect() };
        bytes += prost::Message::encoded_len(&row);
        part.rows.push(row);
        if bytes >= MESSAGE_BYTES {
            responses.push(std::mem::take(&mut part));
            bytes = 0;
        }
    }
    if !part.rows.is_empty() {
        responses.push(part);
    }
    Ok(())
}

fn arrow_parts(answer: &Answer, responses: &mut Vec<SqlResponse>) -> Result<(), arrow::error::ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &answer.schema)?;
    for batch in &answer.batches {
        writer.write(batch)?;
        let part = std::mem::take(writer.get_mut());
        // Messages have a size limit at the other end; the stream may be cut anywhere.
        let chunks = part.chunks(MESSAGE_BYTES * 4);
        responses.extend(
            chunks.map(|chunk| SqlResponse { arrow: chunk.to_vec().into(), ..SqlResponse::default() }),
        );
    }
    let rest = writer.into_inner()?;
    responses.push(SqlResponse { arrow: rest.into(), ..SqlResponse::default() });
    Ok(())
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
