//! The HTTP side: `/api/v1/sql`, `/healthz`, `/metrics`.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use lapwing::status::Kind;
use lapwing_service::{metrics, serve::Peer};
use lapwing_spool::Log;
use lapwing_store::{Engine, Tables, engine::Answer, export};
use serde::Deserialize;
use serde_json::json;

use crate::{access::Access, counters::Counters, health::Health};

/// What the routes need.
#[derive(Debug, Clone)]
pub struct Api {
    /// Answers SQL.
    pub engine: Arc<Engine>,
    /// For `/healthz`.
    pub health: Health,
    /// For figures.
    pub tables: Arc<Tables>,
    /// For figures.
    pub journal: Log,
    /// For figures.
    pub counters: Arc<Counters>,
    /// Who is let in.
    pub access: Access,
}

/// Parameters of `/api/v1/sql`.
#[derive(Debug, Deserialize)]
struct SqlQuery {
    /// The statement.
    q: String,
    /// `json` (default), `ndjson`, `csv` or `arrow`.
    #[serde(default)]
    format: String,
    /// Most rows.
    max_rows: Option<usize>,
}

/// A refusal as HTTP: the status by the table of refusals, the reason as JSON.
#[derive(Debug)]
struct Refused(Kind, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({ "error": { "reason": self.0.reason(), "message": self.1 } });
        (status, [(CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
    }
}

/// The routes.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/api/v1/sql", get(sql))
        .route("/healthz", get(healthz))
        .route("/metrics", get(figures))
        .fallback(|| async {
            Refused(Kind::NotFound, "there is nothing at this path; /api/v1/sql?q= takes SQL".to_owned())
        })
        .with_state(api)
}

async fn sql(
    State(api): State<Api>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    query: Result<Query<SqlQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refused> {
    let refused = |status: tonic::Status| Refused(Kind::of(&status), status.message().to_owned());
    let caller = api.access.caller(peer.as_deref(), &headers).map_err(refused)?;
    caller.may_query().map_err(refused)?;
    let Query(query) = query.map_err(|error| {
        Refused(
            Kind::InvalidArgument,
            format!("{}; expected /api/v1/sql?q=SELECT...&format=json", error.body_text()),
        )
    })?;
    let format = Format::parse(&query.format)?;
    let answer = api.engine.sql(&query.q, query.max_rows).await;
    let answer = answer.map_err(|error| Refused(error.kind(), error.to_string()))?;
    let truncated = if answer.truncated { "true" } else { "false" };
    let body = format.write(&answer).map_err(|error| Refused(Kind::Internal, error.to_string()))?;
    Ok(([(CONTENT_TYPE.as_str(), format.content_type()), ("lapwing-truncated", truncated)], body)
        .into_response())
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    Ndjson,
    Csv,
    Arrow,
}

impl Format {
    fn parse(word: &str) -> Result<Self, Refused> {
        match word {
            "" | "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::Ndjson),
            "csv" => Ok(Self::Csv),
            "arrow" => Ok(Self::Arrow),
            other => {
                let text = format!("format: expected json, ndjson, csv or arrow, got {other:?}");
                Err(Refused(Kind::InvalidArgument, text))
            }
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

    fn write(self, answer: &Answer) -> Result<Vec<u8>, arrow::error::ArrowError> {
        let mut out = Vec::new();
        match self {
            Self::Json => return whole(answer),
            Self::Ndjson => {
                for batch in &answer.batches {
                    out.extend(export::ndjson(batch)?);
                }
            }
            Self::Csv => {
                let none = arrow::record_batch::RecordBatch::new_empty(Arc::clone(&answer.schema));
                out.extend(export::csv(&none, true)?);
                for batch in &answer.batches {
                    out.extend(export::csv(batch, false)?);
                }
            }
            Self::Arrow => return export::arrow_stream(&answer.schema, &answer.batches),
        }
        Ok(out)
    }
}

/// One JSON document: columns, rows, and whether the row limit cut them.
fn whole(answer: &Answer) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let mut rows = Vec::new();
    for batch in &answer.batches {
        rows.extend(export::values(batch)?);
    }
    let fields = answer.schema.fields().iter();
    let columns: Vec<_> =
        fields.map(|field| json!({ "name": field.name(), "type": field.data_type().to_string() })).collect();
    let document = json!({ "columns": columns, "rows": rows, "truncated": answer.truncated });
    let mut out = document.to_string().into_bytes();
    out.push(b'\n');
    Ok(out)
}

async fn healthz(State(api): State<Api>) -> Response {
    match api.health.trouble() {
        None => {
            let warning = api.health.warning().map(|text| format!("warning: {text}\n")).unwrap_or_default();
            (StatusCode::OK, format!("ok\n{warning}")).into_response()
        }
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}

async fn figures(State(api): State<Api>) -> Response {
    let page = api.counters.page(api.journal.stats(), &api.tables.stats(), api.health.certificate_seconds());
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response()
}
