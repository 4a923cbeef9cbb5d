//! Who a request comes from, and what they may do.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use lapwing::status::Kind;
use lapwing_service::{
    identity::{Certificate, Identity, Name, Role},
    renewed::Renewed,
    revoked::Revoked,
    said::Said,
    serve::Peer,
    token::{Token, Tokens},
};
use tokio::sync::watch;
use tonic::Status;

use crate::config::Auth;

/// Longest time between two looks at the clock while a stream goes on: it may be set meanwhile.
const LOOK: Duration = Duration::from_secs(30);

/// Who is calling.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its name, and what it may do.
    pub who: Who,
    /// Until when it may: the end of its certificate or token.
    pub expires_at: Option<SystemTime>,
    credential: Credential,
    revoked: Option<watch::Receiver<Arc<Revoked>>>,
}

/// Who is calling, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// An agent: it may send as itself.
    Agent(Name),
    /// A person or a program that asks; it may also send rows without numbers, under its own name.
    User(Name),
    /// Nobody is asked who they are.
    Anyone,
}

/// What showed who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Credential {
    /// The certificate with this serial number.
    Certificate(String),
    /// The token with this id.
    Token(String),
    /// Nothing had to be shown.
    None,
}

/// Tells callers apart.
#[derive(Debug, Clone)]
pub struct Access {
    auth: Auth,
    revoked: Option<Arc<Renewed<Revoked>>>,
    /// Refused tokens, by address: whoever has none could fill the log.
    said: Arc<Said<Option<IpAddr>>>,
}

impl Access {
    /// By the configuration; whoever is on the list `revoked` is let in no more.
    pub fn new(auth: Auth, revoked: Option<Arc<Renewed<Revoked>>>) -> Self {
        Self { auth, revoked, said: Arc::default() }
    }

    /// Who is calling.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` with what is expected. Why a token was refused is told to whoever had it signed here once.
    pub fn caller(&self, peer: Option<&Peer>, headers: &HeaderMap) -> Result<Caller, Status> {
        let caller = self.known(peer, headers)?;
        caller.is_valid()?;
        Ok(caller)
    }

    fn known(&self, peer: Option<&Peer>, headers: &HeaderMap) -> Result<Caller, Status> {
        match &self.auth {
            Auth::None => return Ok(self.unnamed(Who::Anyone)),
            Auth::Mtls => {
                if let Some(certificate) = peer.and_then(|peer| peer.certificate.as_ref()) {
                    return self.by_certificate(certificate);
                }
            }
            Auth::Token(tokens) => {
                if let Some(header) = headers.get(AUTHORIZATION) {
                    return Ok(self.by_token(self.by_header(tokens, peer, header)?));
                }
            }
        }
        match peer {
            Some(peer) if peer.local => Ok(self.unnamed(Who::User(Name::local()))),
            _ => Err(Kind::Unauthenticated.status(self.expected())),
        }
    }

    fn by_certificate(&self, certificate: &Certificate) -> Result<Caller, Status> {
        let identity = certificate.identity.clone();
        let identity = identity.map_err(|error| Kind::Unauthenticated.status(error.to_string()))?;
        Ok(Caller {
            who: identity.into(),
            expires_at: Some(certificate.expires_at),
            credential: Credential::Certificate(certificate.serial.clone()),
            ..self.unnamed(Who::Anyone)
        })
    }

    fn by_header(&self, tokens: &Tokens, peer: Option<&Peer>, header: &HeaderValue) -> Result<Token, Status> {
        let token = header.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let none = "the header `authorization` holds no bearer token";
        let token = token.ok_or_else(|| Kind::Unauthenticated.status(none))?;
        tokens.verify(token).map_err(|error| {
            let address = peer.map(|peer| peer.address.ip());
            if let Some(left_out) = self.said.again(&address) {
                let address = address.map(|address| address.to_string()).unwrap_or_default();
                tracing::warn!(address, "{error}{left_out}");
            }
            Kind::Unauthenticated.status(match error.is_of_an_acquaintance() {
                true => error.to_string(),
                false => "the token is refused: it is not signed with this collector's secret".to_owned(),
            })
        })
    }

    fn by_token(&self, token: Token) -> Caller {
        Caller {
            who: token.identity.into(),
            expires_at: Some(token.expires_at),
            credential: Credential::Token(token.id),
            ..self.unnamed(Who::Anyone)
        }
    }

    fn unnamed(&self, who: Who) -> Caller {
        let revoked = self.revoked.as_ref().map(|revoked| revoked.subscribe());
        Caller { who, expires_at: None, credential: Credential::None, revoked }
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

impl From<Identity> for Who {
    fn from(identity: Identity) -> Self {
        match identity.role {
            Role::Agent => Self::Agent(identity.name),
            Role::User => Self::User(identity.name),
        }
    }
}

impl Caller {
    /// Waits until the caller's certificate or token is over or taken back, and gives what to end its streams with.
    pub async fn over(&self) -> Status {
        let mut revoked = self.revoked.clone();
        loop {
            if let Err(status) = self.is_valid() {
                return status;
            }
            let left = self.expires_at.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
            let nap = left.map_or(LOOK, |left| left.min(LOOK));
            let listed = async {
                let changed = match &mut revoked {
                    Some(revoked) => revoked.changed().await.is_ok(),
                    None => false,
                };
                if !changed {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! { () = tokio::time::sleep(nap) => {}, () = listed => {} }
        }
    }

    /// Whether what the caller showed is still good.
    fn is_valid(&self) -> Result<(), Status> {
        if self.expires_at.is_some_and(|end| end <= SystemTime::now()) {
            let what = match self.credential {
                Credential::Token(_) => "token has expired; make a new one with `lapwing token create`",
                _ => "certificate has expired; renew it with `lapwing certs renew`",
            };
            return Err(Kind::Unauthenticated.status(format!("your {what}")));
        }
        if self.is_revoked() {
            let text = "your certificate, token or name was taken back here ([auth] revoked_file)";
            return Err(Kind::Unauthenticated.status(text));
        }
        Ok(())
    }

    fn is_revoked(&self) -> bool {
        let Some(revoked) = self.revoked.as_ref().map(|revoked| Arc::clone(&revoked.borrow())) else {
            return false;
        };
        let named = match &self.who {
            Who::Agent(name) => revoked.has(&Identity { role: Role::Agent, name: name.clone() }),
            Who::User(name) => revoked.has(&Identity { role: Role::User, name: name.clone() }),
            Who::Anyone => false,
        };
        named
            || match &self.credential {
                Credential::Certificate(serial) => revoked.has_certificate(serial),
                Credential::Token(id) => revoked.has_token(id),
                Credential::None => false,
            }
    }

    /// The agent id under which the caller sends, when the batch names `claimed`.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when it names another than the caller's own.
    pub fn agent_id(&self, claimed: &str) -> Result<String, Status> {
        let own = match &self.who {
            Who::Agent(own) | Who::User(own) => own,
            Who::Anyone if claimed.is_empty() => return Ok("anonymous".to_owned()),
            Who::Anyone => {
                let name = Name::parse(claimed);
                let wrong = |error| Kind::InvalidArgument.status(format!("agent_id: {error}"));
                return name.map(String::from).map_err(wrong);
            }
        };
        if claimed.is_empty() || claimed == own.as_str() {
            return Ok(own.to_string());
        }
        let text = format!(
            "you are {own:?} by certificate or token and can't send as agent {claimed:.64?}",
            own = own.as_str()
        );
        Err(Kind::PermissionDenied.status(text))
    }

    /// Whether the caller may take a lease and send numbered batches.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when not.
    pub fn may_lease(&self) -> Result<(), Status> {
        match &self.who {
            Who::User(name) => {
                let name = name.as_str();
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
        match &self.who {
            Who::Agent(id) => {
                let id = id.as_str();
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
    // The gate has settled it.
    if let Some(caller) = request.extensions().get::<Caller>() {
        return Ok(caller.clone());
    }
    let headers = request.metadata().clone().into_headers();
    access.caller(request.extensions().get::<Peer>(), &headers)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use lapwing_service::secret::Secret;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn tokens() -> Tokens {
        Tokens::new(&Secret::new(SECRET)).unwrap()
    }

    fn bearer(token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        headers
    }

    #[test]
    fn names_that_nobody_vouches_for_are_parsed_too() {
        let caller = Access::new(Auth::None, None).caller(None, &HeaderMap::new()).unwrap();
        assert_eq!(caller.agent_id("").unwrap(), "anonymous");
        assert_eq!(caller.agent_id("web-1").unwrap(), "web-1");
        for bad in ["user/me", "client/good", "../x", "a\nb", &"x".repeat(10_000)] {
            let refused = caller.agent_id(bad).unwrap_err();
            assert!(
                Kind::of(&refused) == Kind::InvalidArgument && refused.message().len() < 700,
                "{refused:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_caller_is_over_when_its_token_is() {
        let access = Access::new(Auth::Token(tokens()), None);
        let me = Identity::user("me").unwrap();
        let token = tokens().create(&me, Duration::from_secs(60)).unwrap();
        let mut caller = access.caller(None, &bearer(&token)).unwrap();
        assert!(caller.expires_at.unwrap() > SystemTime::now());
        caller.expires_at = Some(SystemTime::now() + Duration::from_millis(20));
        let over = tokio::time::timeout(Duration::from_secs(10), caller.over()).await.unwrap();
        assert!(over.message().contains("expired; make a new one"), "{over:?}");
    }

    #[tokio::test]
    async fn a_caller_is_over_when_it_is_put_on_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        fs::write(&path, "").unwrap();
        let list = {
            let path = path.clone();
            Renewed::new("list", vec![path.clone()], move || Revoked::open(&path)).unwrap()
        };
        let list = Arc::new(list);
        let access = Access::new(Auth::Token(tokens()), Some(Arc::clone(&list)));
        let token = tokens().create(&Identity::agent("web-1").unwrap(), Duration::from_secs(60)).unwrap();
        let caller = access.caller(None, &bearer(&token)).unwrap();
        let id = tokens().verify(&token).unwrap().id;
        let waiting = tokio::spawn(async move { caller.over().await });
        fs::write(&path, format!("token {id}\n")).unwrap();
        assert!(list.look());
        let over = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        assert!(over.message().contains("taken back"), "{over:?}");
        assert!(access.caller(None, &bearer(&token)).is_err());
        let other = tokens().create(&Identity::agent("web-1").unwrap(), Duration::from_secs(60)).unwrap();
        assert!(access.caller(None, &bearer(&other)).is_ok(), "only this token was taken back");
        fs::write(&path, "agent web-1\n").unwrap();
        assert!(list.look() && access.caller(None, &bearer(&other)).is_err());
    }
}
