//! What listens, and what is served there.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::Router;
use lapwing::{
    undecoded::service::ingest_service_server::IngestServiceServer,
    v1::{FILE_DESCRIPTOR_SET, query_service_server::QueryServiceServer},
};
use lapwing_service::{
    local::{Hosts, guarded},
    renewed::Renewed,
    serve,
    tls::ServerSide,
    watchdog::{Watchdog, keep},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_web::GrpcWebLayer;

use crate::{
    budget::Budget,
    config::{Auth, CollectorConfig, GRACE},
    gate::{self, Gate},
    ingest::{IngestService, Intake},
    local,
    query::QueryService,
    share::Shares,
};

/// What `grpc_addr` and `websocket_addr` are called, in their order.
const MAIN: [&str; 2] = ["grpc", "websocket"];
/// How long an accept loop may take for one connection.
const ACCEPT: Duration = Duration::from_secs(10);

/// A listener, and what is served on it.
pub(crate) struct Listener {
    /// What health calls it.
    name: &'static str,
    socket: TcpListener,
    tls: Option<Arc<Renewed<ServerSide>>>,
    /// Whoever is on this machine may ask there.
    is_open: bool,
    /// A web page could, too: the names by which the door may be addressed.
    guard: Option<Hosts>,
}

/// Takes the addresses that are configured.
pub(crate) async fn bind(
    config: &CollectorConfig,
    tls: Option<&Arc<Renewed<ServerSide>>>,
) -> Result<Vec<Listener>> {
    let main = config.listen.main.iter().map(|address| (*address, tls.cloned(), false));
    let names = MAIN.into_iter().take(config.listen.main.len()).chain(["http"]);
    let plain_if_local =
        |address: &std::net::SocketAddr| tls.cloned().filter(|_| !address.ip().is_loopback());
    let http = config.listen.http.iter().map(|address| (*address, plain_if_local(address), true));
    let mut listeners = Vec::new();
    for ((address, tls, is_open), name) in main.chain(http).zip(names) {
        let socket = TcpListener::bind(address).await;
        let socket = socket
            .with_context(|| format!("[server] {address}: choose another address or stop what uses it"))?;
        let kind = if tls.is_some() { "with TLS" } else { "without TLS" };
        tracing::info!("listening on {} {kind}", socket.local_addr()?);

        // Where nobody has to show anything, a browser on this machine has all that it needs.
        let asks_nobody =
            (is_open && tls.is_none() && address.ip().is_loopback()) || matches!(config.auth, Auth::None);
        let guard = asks_nobody.then(|| Hosts::new(config.listen.http_hosts.clone(), "[server] http_hosts"));
        listeners.push(Listener { name, socket, tls, is_open, guard });
    }
    Ok(listeners)
}

/// Services, health and reflection. Whatever they take is bounded by the intake before them.
pub(crate) fn grpc(
    ingest: IngestService,
    query: QueryService,
    health: HealthServer<impl tonic_health::pb::health_server::Health>,
    shares: &Arc<Shares>,
    largest_batch: usize,
) -> Result<Router> {
    let ingest = IngestServiceServer::new(ingest).max_decoding_message_size(largest_batch);
    let query = QueryServiceServer::new(query);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;

    let mut routes = Routes::builder();
    routes
        .add_service(Intake::new(ingest, Arc::clone(shares), largest_batch))
        .add_service(Intake::new(query, Arc::clone(shares), largest_batch))
        .add_service(Intake::new(health, Arc::clone(shares), largest_batch))
        .add_service(Intake::new(reflection, Arc::clone(shares), largest_batch));
    Ok(routes.routes().into_axum_router().reset_fallback())
}

/// Everything that is served, behind the gate; gRPC-web is undone before it.
pub(crate) fn behind(gate: Gate, grpc: Router, http: Router) -> Router {
    let check = || axum::middleware::from_fn_with_state(gate.clone(), gate::check);
    grpc.layer(check()).layer(GrpcWebLayer::new()).merge(http.layer(check()))
}

/// Serves on all listeners until `stop`, then lets requests under way come to their end for a while. An accept loop that ends or hangs is started
/// again; the connections that it had taken go with it.
pub(crate) async fn serve_until(
    listeners: Vec<Listener>,
    router: Router,
    budget: Budget,
    watchdog: &Watchdog,
    stop: impl Future<Output = ()>,
) {
    let closing = CancellationToken::new();
    let mut servers = JoinSet::new();
    let mut sockets = Vec::new();
    for Listener { name, socket, tls, is_open, guard } in listeners {
        let unread_bytes = budget.unread();
        let transport = serve::Transport { tls, open_to_local: is_open, unread_bytes, beat: None };
        let router = match guard {
            Some(hosts) => guarded(router.clone(), hosts, local::refused),
            None => router.clone(),
        };
        let socket = Arc::new(socket);
        // An address is given up when this stops, and not when the last request has come to its end.
        let (listening, until) = (Arc::downgrade(&socket), closing.clone());
        sockets.push(socket);
        let start = move |beat| {
            let transport = serve::Transport { beat: Some(beat), ..transport.clone() };
            let (listening, router, until) = (listening.upgrade(), router.clone(), until.clone());
            async move {
                if let Some(listening) = listening {
                    serve::serve(listening, transport, router, until, GRACE).await;
                }
            }
        };
        servers.spawn(keep(watchdog.part(name, ACCEPT), closing.clone(), start));
    }
    stop.await;
    drop(sockets);
    closing.cancel();
    servers.join_all().await;
}
