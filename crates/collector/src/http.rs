//! The HTTP side: `/api/v1/sql`, `/livez`, `/readyz`, `/healthz`, `/metrics`.

mod answer;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use lapwing::status::Kind;
use lapwing_service::{metrics, said::Said, serve::Peer};
use lapwing_spool::Log;
use lapwing_store::{Asker, Tables};
use serde::Deserialize;
use serde_json::json;

use self::answer::Format;
use crate::{access::Access, counters::Counters, health::Health};

/// What the routes need.
#[derive(Debug, Clone)]
pub struct Api {
    /// Answers SQL.
    pub asker: Arc<Asker>,
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
    /// Lines about answers that broke off.
    pub said: Arc<Said<()>>,
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
        .route("/livez", get(livez))
        .route("/readyz", get(healthz))
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
    let format = Format::parse(&query.format).map_err(|text| Refused(Kind::InvalidArgument, text))?;
    let rows = api.asker.ask(&query.q, query.max_rows).await;
    let rows = rows.map_err(|error| Refused(error.kind(), error.to_string()))?;
    Ok(answer::response(rows, format, api.said))
}

/// Whether the process should be left alone: only what a start would cure is a reason to end it.
async fn livez(State(api): State<Api>) -> Response {
    health_answer(api.health.stuck(), "")
}

async fn healthz(State(api): State<Api>) -> Response {
    let warning = api.health.warning().map(|text| format!("warning: {text}\n")).unwrap_or_default();
    health_answer(api.health.trouble(), &warning)
}

fn health_answer(trouble: Option<String>, warning: &str) -> Response {
    match trouble {
        None => (StatusCode::OK, format!("ok\n{warning}")).into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}

async fn figures(State(api): State<Api>) -> Response {
    let page = api.counters.page(api.journal.stats(), &api.tables.stats(), &api.health);
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response()
}
