//! The service.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use lapwing::{
    status::Kind,
    v1::{
        SearchRequest, SearchResponse, SqlRequest, SqlResponse, TailRequest, TailResponse,
        query_service_server,
    },
};
use lapwing_service::serve::Peer;
use lapwing_store::{Asker, Table, Tables, engine::QueryError};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    filter, found,
    parts::Parts,
    sql::Messages,
    tail::{self, Tail},
};
use crate::{
    access::{self, Access},
    share::{Permit, Share},
};

/// Records of a search when the caller names no number.
const SEARCH_LIMIT: u32 = 100;
/// Most records of a search or backlog.
const MAX_SEARCH: u32 = 10_000;
/// Most bytes of a search: the other end takes four MiB.
const MAX_SEARCH_BYTES: usize = 3 << 20;
/// Most bytes of a backlog.
const MAX_BACKLOG_BYTES: usize = 8 << 20;

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers questions.
#[derive(Debug, Clone)]
pub struct QueryService {
    asker: Arc<Asker>,
    tables: Arc<Tables>,
    access: Access,
    /// Ends tails.
    stop: CancellationToken,
}

impl QueryService {
    /// A service that asks `asker` and the arrivals of `tables`; tails end with `stop`.
    pub fn new(asker: Arc<Asker>, tables: Arc<Tables>, access: Access, stop: CancellationToken) -> Self {
        Self { asker, tables, access, stop }
    }

    fn may_query<T>(&self, request: &Request<T>) -> Result<(), Status> {
        access::of_request(&self.access, request)?.may_query()
    }

    /// The newest records that pass, by `order`: at most `limit`, and no more than the first that goes beyond `max_bytes`.
    async fn find(
        &self,
        condition: &str,
        order: &str,
        limit: u32,
        max_bytes: usize,
    ) -> Result<Vec<found::Row>, Status> {
        let query = format!("SELECT * FROM logs WHERE {condition} ORDER BY {order} LIMIT {limit}");
        let mut answer = self.asker.ask(&query, None).await.map_err(|error| status(&error))?;
        let mut found = Vec::new();
        let mut bytes = 0;
        while let Some(batch) = answer.next().await.map_err(|error| status(&error))? {
            for row in found::rows(&batch) {
                bytes += row.log.encoded_len();
                found.push(row);
                if bytes > max_bytes {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }
}

/// As many of the records as a message holds.
fn search_response(rows: Vec<found::Row>) -> SearchResponse {
    let (mut response, mut bytes) = (SearchResponse::default(), 0);
    for row in rows {
        bytes += row.log.encoded_len();
        if bytes > MAX_SEARCH_BYTES {
            response.truncated = true;
            break;
        }
        response.logs.push(row.log);
    }
    response
}

/// One of the caller's tails.
fn tail_of(share: Option<&Share>) -> Result<Option<Permit>, Status> {
    let Some(share) = share else { return Ok(None) };
    let permit = share.try_take(|all| &all.tails, 1);
    permit.map(Some).ok_or_else(|| {
        let most = share.most(|all| &all.tails);
        let text = format!("{} has {most} tails already, or all together too many; end one", share.holder());
        Kind::Overloaded.status(text)
    })
}

fn status(error: &QueryError) -> Status {
    error.kind().status(error.to_string())
}

#[tonic::async_trait]
impl query_service_server::QueryService for QueryService {
    type SqlStream = ResponseStream<SqlResponse>;
    type TailStream = ResponseStream<TailResponse>;

    async fn sql(&self, request: Request<SqlRequest>) -> Result<Response<Self::SqlStream>, Status> {
        self.may_query(&request)?;
        let request = request.into_inner();
        let max_rows = (request.max_rows > 0).then_some(request.max_rows as usize);
        let answer = self.asker.ask(&request.query, max_rows).await.map_err(|error| status(&error))?;
        let parts = Parts::of(answer, Messages::new(request.format()));
        Ok(Response::new(Box::pin(parts.map(|part| part.map_err(|error| status(&error))))))
    }

    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        self.may_query(&request)?;
        let request = request.into_inner();
        let limit = if request.limit == 0 { SEARCH_LIMIT } else { request.limit };
        if limit > MAX_SEARCH {
            let text = format!("limit: at most {MAX_SEARCH} records at a time, {limit} were asked for");
            return Err(Kind::InvalidArgument.status(text));
        }
        let (start, end) = (request.start_time_unix_nano, request.end_time_unix_nano);
        let condition = filter::condition(&request.filter.unwrap_or_default(), start, end);
        let rows = self.find(&condition, "time DESC, seq DESC", limit, MAX_SEARCH_BYTES).await?;
        Ok(Response::new(search_response(rows)))
    }

    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        self.may_query(&request)?;
        let link = request.extensions().get::<Peer>().map(|peer| peer.link.clone());
        let share = tail_of(request.extensions().get::<Share>())?;
        let request = request.into_inner();
        let filter = request.filter.unwrap_or_default();
        // First note where rows begin that are new, then look back: nothing falls between the two.
        let (visible, position) = (self.tables.visible(), self.tables.position(Table::Logs));
        let backlog = request.backlog.min(MAX_SEARCH);
        let mut old = match backlog {
            0 => Vec::new(),
            _ => {
                let condition = filter::condition(&filter, 0, 0);
                self.find(&condition, "seq DESC", backlog, MAX_BACKLOG_BYTES).await?
            }
        };
        let newest = old.first().map_or(-1, |row| row.seq);
        old.reverse();
        let backlog = old.into_iter().map(|row| row.log).collect();
        let (sender, receiver) = mpsc::channel(tail::QUEUE);
        let tables = Arc::clone(&self.tables);
        let tail = Tail { tables, visible, position, filter, newest, sender, link, _share: share };
        tokio::spawn(tail.start(backlog, self.stop.clone()));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
