//! Answers over HTTP, a part at a time.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arrow::{datatypes::Schema, error::ArrowError, record_batch::RecordBatch};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Response, header::CONTENT_TYPE},
};
use bytes::Bytes;
use futures::Stream;
use http_body::Frame;
use lapwing_service::said::Said;
use lapwing_store::{
    engine::QueryError,
    export::{self, ArrowPieces},
    process::Rows,
};
use serde_json::json;

use crate::query::parts::{Form, Parts};

/// Whether the row limit cut the answer: a header where that is known before its first byte leaves, else a trailer.
const TRUNCATED: HeaderName = HeaderName::from_static("lapwing-truncated");

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Ndjson,
    Csv,
    Arrow,
}

impl Format {
    pub(super) fn parse(word: &str) -> Result<Self, String> {
        match word {
            "" | "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::Ndjson),
            "csv" => Ok(Self::Csv),
            "arrow" => Ok(Self::Arrow),
            other => Err(format!("format: expected json, ndjson, csv or arrow, got {other:?}")),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// The answer, sent as its rows are found.
pub(super) fn response(rows: Rows, format: Format, said: Arc<Said<()>>) -> Response<Body> {
    let truncated = rows.truncated().map(word);
    let text = Text { format, rows: false, pieces: None };
    let body = Answer { parts: Parts::of(rows, text), tells: truncated.is_none(), said };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    match truncated {
        Some(truncated) => headers.insert(TRUNCATED, truncated),
        None => headers.insert("trailer", HeaderValue::from_static("lapwing-truncated")),
    };
    response
}

fn word(truncated: bool) -> HeaderValue {
    HeaderValue::from_static(if truncated { "true" } else { "false" })
}

/// The body. One that breaks off in the middle closes the connection before its last chunk, so that no client takes it for whole.
struct Answer {
    parts: Parts<Bytes>,
    /// A trailer is to come.
    tells: bool,
    said: Arc<Said<()>>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = QueryError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, QueryError>>> {
        match std::task::ready!(Pin::new(&mut self.parts).poll_next(context)) {
            Some(Ok(part)) => Poll::Ready(Some(Ok(Frame::data(part)))),
            Some(Err(error)) => {
                if let Some(left_out) = self.said.again(&()) {
                    tracing::warn!("an answer broke off: {error}{left_out}");
                }
                Poll::Ready(Some(Err(error)))
            }
            None => {
                let truncated = self.parts.truncated().filter(|_| self.tells);
                self.tells = false;
                let trailers =
                    truncated.map(|truncated| HeaderMap::from_iter([(TRUNCATED, word(truncated))]));
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }
}

/// Writes one format.
struct Text {
    format: Format,
    /// There was a row already.
    rows: bool,
    pieces: Option<ArrowPieces>,
}

impl Form for Text {
    type Part = Bytes;

    fn begin(&mut self, schema: &Schema) -> Result<Vec<Bytes>, ArrowError> {
        Ok(match self.format {
            Format::Json => {
                let fields = schema.fields().iter();
                let columns = fields
                    .map(|field| json!({ "name": field.name(), "type": field.data_type().to_string() }))
                    .collect::<Vec<_>>();
                vec![format!("{{\"columns\":{},\"rows\":[", json!(columns)).into()]
            }
            Format::Ndjson => Vec::new(),
            Format::Csv => vec![export::csv(&RecordBatch::new_empty(schema.clone().into()), true)?.into()],
            Format::Arrow => {
                let (pieces, first) = ArrowPieces::begin(schema)?;
                self.pieces = Some(pieces);
                vec![first.into()]
            }
        })
    }

    fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>, ArrowError> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let text = match (self.format, &mut self.pieces) {
            (Format::Arrow, Some(pieces)) => pieces.batch(batch)?,
            (Format::Csv, _) => export::csv(batch, false)?,
            (Format::Ndjson, _) => export::ndjson(batch)?,
            _ => {
                let mut text = Vec::new();
                if self.rows {
                    text.push(b',');
                }
                export::json_rows(batch, &mut text)?;
                text
            }
        };
        self.rows = true;
        Ok(vec![text.into()])
    }

    fn end(&mut self, truncated: bool) -> Result<Vec<Bytes>, ArrowError> {
        Ok(match (self.format, self.pieces.take()) {
            (Format::Json, _) => vec![format!("],\"truncated\":{truncated}}}\n").into()],
            (_, Some(pieces)) => vec![pieces.end()?.into()],
            _ => Vec::new(),
        })
    }
}
