//! A collector that only answers questions, and the command line run against it.

use std::{
    path::Path,
    pin::Pin,
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use lapwing::{
    status::Kind,
    v1::{
        FoundLog, LogRecord, SearchRequest, SearchResponse, SqlColumn, SqlRequest, SqlResponse, TailRequest,
        TailResponse,
        log_record::Content,
        query_service_server::{QueryService, QueryServiceServer},
    },
};
use lapwing_service::{
    renewed::Renewed,
    serve::{Transport, serve},
    tls,
};
use prost_types::ListValue;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, service::Routes};

/// The token that the fake collector takes.
pub(crate) const TOKEN: &str = "a.good.token";

type Parts<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A fake collector. It ends when it is dropped.
pub(crate) struct Fake {
    /// Its port.
    pub(crate) port: u16,
    _stop: DropGuard,
    _runtime: Runtime,
}

impl Fake {
    /// Starts one; with a folder of `lapwing certs create` it speaks TLS and asks for certificates.
    pub(crate) fn start(certs: Option<&Path>) -> Self {
        let tls = certs.map(|folder| {
            let file = |name: &str| folder.join(name);
            let (cert, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
            let make = move || tls::server(&cert, &key, Some(&ca), true);
            Arc::new(Renewed::new("certificates", Vec::new(), make).unwrap())
        });
        let (runtime, stop) = (Runtime::new().unwrap(), CancellationToken::new());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Routes::new(QueryServiceServer::new(Answers)).into_axum_router();
        runtime.spawn(serve(
            listener,
            Transport { tls, ..Transport::default() },
            router,
            stop.clone(),
            Duration::from_secs(1),
        ));
        Self { port, _stop: stop.drop_guard(), _runtime: runtime }
    }

    /// Its URL without TLS.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The command line asking this collector.
    pub(crate) fn asked(&self, args: &[&str]) -> Output {
        lapwing(args).env("LAPWING_ENDPOINT", self.endpoint()).output().unwrap()
    }
}

/// The command line, without what the environment of the test may tell it.
pub(crate) fn lapwing(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
    command.args(args);
    for name in ["ENDPOINT", "CA", "CERT", "KEY", "TOKEN", "DATA_DIR"] {
        command.env_remove(format!("LAPWING_{name}"));
    }
    command.env("LAPWING_DATA_DIR", "/nowhere");
    command
}

struct Answers;

#[tonic::async_trait]
impl QueryService for Answers {
    type SqlStream = Parts<SqlResponse>;
    type TailStream = Parts<TailResponse>;

    async fn sql(&self, request: Request<SqlRequest>) -> Result<Response<Self::SqlStream>, Status> {
        let bearer = request.metadata().get("authorization").cloned();
        match request.get_ref().query.as_str() {
            "who" if bearer.is_none_or(|bearer| bearer != format!("Bearer {TOKEN}")) => {
                Err(Kind::Unauthenticated.status("no valid token"))
            }
            "wrong" => Err(Kind::InvalidArgument.status("no such column: x")),
            "broken" => Ok(stream(vec![Ok(numbers(1..2)), Err(Kind::Internal.status("the disk is gone"))])),
            _ => Ok(stream(vec![Ok(columns()), Ok(numbers(1..3)), Ok(last(numbers(3..4)))])),
        }
    }

    async fn search(&self, _: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let request = request.into_inner();
        let filter = request.filter.unwrap_or_default();
        let first = TailResponse { logs: vec![log(&filter.text); request.backlog as usize], skipped: 7 };
        let first = tokio_stream::once(Ok(first));
        match filter.host.as_str() {
            "endless" => Ok(Response::new(Box::pin(first.chain(tokio_stream::pending())))),
            "flood" => Ok(Response::new(Box::pin(tokio_stream::iter(std::iter::repeat_with(|| {
                Ok(TailResponse { logs: vec![log("again"); 100], skipped: 0 })
            }))))),
            _ => Ok(Response::new(Box::pin(first))),
        }
    }
}

fn stream<T: Send + 'static>(parts: Vec<Result<T, Status>>) -> Response<Parts<T>> {
    Response::new(Box::pin(tokio_stream::iter(parts)))
}

fn columns() -> SqlResponse {
    let column = |name: &str, kind: &str| SqlColumn { name: name.into(), r#type: kind.into() };
    SqlResponse { columns: vec![column("n", "Int64"), column("body", "Utf8View")], ..SqlResponse::default() }
}

fn numbers(numbers: std::ops::Range<i32>) -> SqlResponse {
    let row = |n: i32| ListValue { values: vec![f64::from(n).into(), format!("line {n}").into()] };
    SqlResponse { rows: numbers.map(row).collect(), ..SqlResponse::default() }
}

fn last(part: SqlResponse) -> SqlResponse {
    SqlResponse { truncated: true, ..part }
}

fn log(body: &str) -> FoundLog {
    let record = LogRecord {
        time_unix_nano: 1_767_225_600_000_000_000,
        source: "a.log".into(),
        content: Some(Content::Body(body.into())),
        ..LogRecord::default()
    };
    FoundLog { host: "web-1".into(), record: Some(record) }
}
