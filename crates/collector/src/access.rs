//! Who a request comes from, and what they may do.

use axum::http::{HeaderMap, header::AUTHORIZATION};
use lapwing::status::Kind;
use lapwing_service::{
    serve::Peer,
    tls::Identity,
    token::{Role, Tokens},
};
use tonic::Status;

use crate::config::Auth;

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// An agent: it may send as itself.
    Agent(String),
    /// A person or a program that asks; it may also send rows without numbers, under its own name.
    User(String),
    /// Nobody is asked who they are.
    Anyone,
}

/// Tells callers apart.
#[derive(Debug, Clone)]
pub struct Access {
    auth: Auth,
}

impl Access {
    /// By the configuration.
    pub fn new(auth: Auth) -> Self {
        Self { auth }
    }

    /// Who is calling.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` with what is expected; why a token was refused stands in the own log only.
    pub fn caller(&self, peer: Option<&Peer>, headers: &HeaderMap) -> Result<Caller, Status> {
        match &self.auth {
            Auth::None => return Ok(Caller::Anyone),
            Auth::Mtls => {
                if let Some(identity) = peer.and_then(|peer| peer.identity.clone()) {
                    return Ok(identity.into());
                }
            }
            Auth::Token(tokens) => {
                if let Some(caller) = by_token(tokens, peer, headers)? {
                    return Ok(caller);
                }
            }
        }
        match peer {
            Some(peer) if peer.local => Ok(Caller::User("local".to_owned())),
            _ => Err(Kind::Unauthenticated.status(self.expected())),
        }
    }

    fn expected(&self) -> &'static str {
        match &self.auth {
            Auth::Mtls => {
                "expected a client certificate with a name such as lapwing://agent/ID; `lapwing certs create` makes one"
            }
            _ => "expected the header `authorization: Bearer TOKEN`; `lapwing token create` makes a token",
        }
    }
}

fn by_token(tokens: &Tokens, peer: Option<&Peer>, headers: &HeaderMap) -> Result<Option<Caller>, Status> {
    let Some(header) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let token = header.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let claims = token.map(|token| tokens.verify(token));
    match claims {
        Some(Ok(claims)) => Ok(Some(match claims.role {
            Role::Agent => Caller::Agent(claims.sub),
            Role::User => Caller::User(claims.sub),
        })),
        Some(Err(error)) => {
            let address = peer.map(|peer| peer.address.to_string()).unwrap_or_default();
            tracing::warn!(address, "{error}");
            Err(Kind::Unauthenticated
                .status("the token is refused: it is expired, or not signed with this collector's secret"))
        }
        None => Err(Kind::Unauthenticated.status("the header `authorization` holds no bearer token")),
    }
}

impl From<Identity> for Caller {
    fn from(identity: Identity) -> Self {
        match identity {
            Identity::Agent(id) => Self::Agent(id),
            Identity::User(name) => Self::User(name),
        }
    }
}

impl Caller {
    /// The agent id under which the caller sends, when the batch names `claimed`.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when it names another than the caller's own.
    pub fn agent_id(&self, claimed: &str) -> Result<String, Status> {
        let own = match self {
            Self::Agent(own) | Self::User(own) => own,
            Self::Anyone if claimed.is_empty() => return Ok("anonymous".to_owned()),
            Self::Anyone => return Ok(claimed.to_owned()),
        };
        if claimed.is_empty() || claimed == own {
            return Ok(own.clone());
        }
        let text = format!("you are {own:?} by certificate or token and can't send as agent {claimed:?}");
        Err(Kind::PermissionDenied.status(text))
    }

    /// Whether the caller may take a lease and send numbered batches.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when not.
    pub fn may_lease(&self) -> Result<(), Status> {
        match self {
            Self::User(name) => {
                let text =
                    format!("{name:?} is a user; numbered batches need an agent's certificate or token");
                Err(Kind::PermissionDenied.status(text))
            }
            _ => Ok(()),
        }
    }

    /// Whether the caller may ask.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when not.
    pub fn may_query(&self) -> Result<(), Status> {
        match self {
            Self::Agent(id) => {
                let text = format!("{id:?} is an agent; queries need a user's certificate or token");
                Err(Kind::PermissionDenied.status(text))
            }
            _ => Ok(()),
        }
    }
}

/// Who sent a gRPC request.
///
/// # Errors
/// As [`Access::caller`].
pub fn of_request<T>(access: &Access, request: &tonic::Request<T>) -> Result<Caller, Status> {
    let headers = request.metadata().clone().into_headers();
    access.caller(request.extensions().get::<Peer>(), &headers)
}
