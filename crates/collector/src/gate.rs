//! Who a request comes from is settled before anything of its body is read.
//!
//! A request of lapwing's own services passes when its caller is known. From then on its connection is the caller's ([`Link::is_of`]), it has
//! a part of the caller's [`Share`](crate::share::Share), and it ends when the caller's credential does. The [`Caller`] and the share are in its extensions.
//! Health and reflection are open to everybody, and so small that they need no more than the bounds on strangers.
//!
//! [`Link::is_of`]: lapwing_service::serve::Link::is_of

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use futures::{FutureExt, future::BoxFuture};
use http_body::{Frame, SizeHint};
use lapwing::status::Kind;
use lapwing_service::serve::{self, Peer};
use tonic::Status;

use crate::{
    access::{Access, Caller, Who},
    share::{Holder, Permit, Shares, UntilRead},
};

/// Paths that need somebody's name.
const OWN: [&str; 2] = ["/lapwing.v1.", "/api/"];
/// How long a caller with too many requests is asked to stay away.
const DELAY: Duration = Duration::from_millis(500);

/// Lets requests through.
#[derive(Debug, Clone)]
pub struct Gate {
    access: Access,
    shares: Arc<Shares>,
}

/// Waits until what shows who the caller is ends, and gives what its calls end with.
type End = BoxFuture<'static, Status>;

/// What a request that passed holds until its answer is read.
struct Pass {
    request: Permit,
    end: End,
}

impl Gate {
    /// A gate that lets in whom `access` knows, each with its share of `shares`.
    pub fn new(access: Access, shares: Arc<Shares>) -> Self {
        Self { access, shares }
    }

    fn pass(&self, request: &mut Request) -> Result<Pass, Status> {
        let peer = request.extensions().get::<Peer>();
        let caller = self.access.caller(peer, request.headers()).inspect_err(|_| {
            // A certificate is shown once a connection: one that was renewed needs another.
            if let Some(peer) = peer.filter(|peer| peer.certificate.is_some()) {
                peer.link.leave();
            }
        })?;
        let holder = holder(&caller, peer);
        if let Some(peer) = peer {
            peer.link.is_of(&name(&holder), most_connections(&holder));
        }

        let share = self.shares.of(holder);
        let Some(permit) = share.try_take(|all| &all.requests, 1) else {
            let most = share.most(|all| &all.requests);
            let text = format!("{} has {most} requests under way, more are not taken", share.holder());
            return Err(Kind::Overloaded.status_after(text, DELAY));
        };
        let end = end_of(&caller);
        request.extensions_mut().insert(share);
        request.extensions_mut().insert(caller);
        Ok(Pass { request: permit, end })
    }
}

/// The gate as a layer of gRPC services.
pub async fn check(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !OWN.iter().any(|own| path.starts_with(own)) {
        return next.run(request).await;
    }
    let is_grpc = !path.starts_with("/api/");
    let pass = match gate.pass(&mut request) {
        Ok(pass) => pass,
        Err(status) if is_grpc => return status.into_http(),
        // The route says it in its own words.
        Err(_) => return next.run(request).await,
    };
    let mut pass = pass;
    tokio::select! {
        response = next.run(request) => pass.over(response),
        status = &mut pass.end => status.into_http(),
    }
}

/// Whose share a caller's requests are part of.
fn holder(caller: &Caller, peer: Option<&Peer>) -> Holder {
    match &caller.who {
        Who::Agent(id) => Holder::Agent(id.as_str().into()),
        Who::User(name) => Holder::User(name.as_str().into()),
        Who::Anyone => {
            let nowhere = std::net::IpAddr::from(std::net::Ipv4Addr::UNSPECIFIED);
            Holder::address(peer.map_or(nowhere, |peer| peer.address.ip()))
        }
    }
}

/// As in a certificate, so that a connection with one is counted once.
fn name(holder: &Holder) -> String {
    match holder {
        Holder::Agent(id) => format!("lapwing://agent/{id}"),
        Holder::User(name) => format!("lapwing://user/{name}"),
        Holder::Address(address) => format!("address/{address}"),
    }
}

fn most_connections(holder: &Holder) -> usize {
    match holder {
        Holder::Agent(_) => serve::OF_AN_AGENT,
        Holder::User(_) | Holder::Address(_) => serve::OF_A_NAME,
    }
}

fn end_of(caller: &Caller) -> End {
    let caller = caller.clone();
    async move { caller.over().await }.boxed()
}

impl Pass {
    /// The answer, which holds this until it is read or given up.
    fn over(self, mut response: Response) -> Response {
        let held = response.extensions_mut().remove::<UntilRead>();
        let Self { request, end } = self;
        response.map(|body| Body::new(Answer { body, _request: request, _held: held, end, is_over: false }))
    }
}

/// An answer that ends with its caller's credential.
struct Answer {
    body: Body,
    _request: Permit,
    _held: Option<UntilRead>,
    end: End,
    is_over: bool,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        let Poll::Ready(status) = this.end.poll_unpin(cx) else {
            return Poll::Ready(ready!(Pin::new(&mut this.body).poll_frame(cx)));
        };

        this.is_over = true;
        this.body = Body::empty();
        let mut trailers = HeaderMap::new();
        Poll::Ready(match status.add_header(&mut trailers) {
            Ok(()) => Some(Ok(Frame::trailers(trailers))),
            Err(status) => Some(Err(axum::Error::new(status))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
