//! Where an attack happens: a collector under its memory cap, and the ways in that each kind of caller has.

use std::{
    io,
    net::TcpStream,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lapwing_service::{
    client::{Address, Credentials, Link},
    tls,
};
use tokio::runtime::Runtime;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
};

use super::Attack;
use crate::{
    Rig, RigOptions,
    chaos::{Form, group::Group, watchdog::Watchdog},
    process::binary,
};

/// How long a run may take before the watchdog undoes what it did.
const LIMIT: Duration = Duration::from_secs(600);
/// The secret of token mode.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Who knocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// An agent with a valid certificate or token.
    Agent(&'static str),
    /// A user with a valid certificate or token.
    User,
    /// Somebody without either.
    Nobody,
}

/// The field.
#[derive(Debug)]
pub struct Field {
    /// The collector; its agent is not started.
    pub rig: Rig,
    /// Where attackers' calls run.
    pub runtime: Runtime,
    /// How much is to be done.
    pub form: Form,
    /// When the attack ends.
    pub until: Instant,
    tokens: bool,
    group: Result<Group, String>,
    // Last: it undoes what is left when the rest is gone.
    _watchdog: Watchdog,
}

/// A channel that shows its token, if it has one.
pub(super) type Client = InterceptedService<Link, Bearer>;

/// Shows a token.
#[derive(Debug, Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A connection whose bytes an attacker writes himself.
pub(super) type Raw = StreamOwned<ClientConnection, TcpStream>;

impl Field {
    /// Starts the collector.
    pub(super) fn new(attack: &Attack, form: Form) -> Result<Self> {
        let mut watchdog = Watchdog::start(LIMIT)?;
        let group = Group::new("hostile", attack.memory, &mut watchdog).map_err(|error| format!("{error:#}"));
        let token_secret = attack.tokens.then_some(SECRET);
        let collector = attack.collector;
        let options = RigOptions {
            flush_interval_secs: 1,
            token_secret,
            collector,
            memory_bytes: Some(attack.memory),
            ..RigOptions::default()
        };
        let rig = Rig::new(&options)?;
        let made = Command::new(binary("lapwing")?)
            .args(["certs", "create", "--agent", "good", "--agent", "evil", "--dir"])
            .arg(rig.root().join("certs"))
            .output()?;
        ensure!(made.status.success(), "certs create: {}", String::from_utf8_lossy(&made.stderr));
        let field = Self {
            rig,
            runtime: Runtime::new()?,
            form,
            until: Instant::now(),
            tokens: attack.tokens,
            group,
            _watchdog: watchdog,
        };
        field.cap()?;
        Ok(field)
    }

    /// How long the well-behaved agent is measured alone.
    pub(super) fn quiet(&self) -> Duration {
        Duration::from_secs(self.form.pick(1, 10))
    }

    /// How long an attack goes on.
    pub(super) fn span(&self) -> Duration {
        Duration::from_secs(self.form.pick(3, 20))
    }

    /// Whether the attack still goes on.
    pub fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// The collector's process.
    pub fn collector(&self) -> Result<u32> {
        self.rig.collector.id().context("the collector does not run")
    }

    /// Starts it again, under its cap.
    pub(super) fn start_collector(&mut self) -> Result<()> {
        self.rig.start_collector()?;
        self.cap()
    }

    fn cap(&self) -> Result<()> {
        match &self.group {
            Ok(group) => group.take(self.collector()?),
            // Without the rights of root memory is measured only.
            Err(_) => Ok(()),
        }
    }

    /// How often the memory cap killed.
    pub(super) fn kills(&self) -> u64 {
        self.group.as_ref().map_or(0, Group::kills)
    }

    /// The end of what the collector said.
    pub(super) fn last_words(&self) -> String {
        let output = self.rig.collector.output();
        let lines: Vec<&str> = output.lines().collect();
        let last = lines[lines.len().saturating_sub(10)..].join("\n");
        format!("the collector's last lines:\n{last}")
    }

    /// A channel of its own; it connects when it is first used.
    pub fn channel(&self, who: Who) -> Result<Client> {
        let (host, port) = self.rig.grpc.rsplit_once(':').context("no port")?;
        let address = Address { host: host.to_owned(), port: port.parse()?, tls: true };
        let _entered = self.runtime.enter();
        let (ca, identity) = self.certificates(who);
        let link = Link::new(address, Credentials::default().with_tls(ca, identity)?)?;
        Ok(InterceptedService::new(link, Bearer(self.bearer(who)?)))
    }

    /// The value of the header `authorization`; `None` where certificates are asked for.
    pub fn bearer(&self, who: Who) -> Result<Option<MetadataValue<Ascii>>> {
        let (option, name) = match who {
            _ if !self.tokens => return Ok(None),
            Who::Agent(id) => ("--agent", id),
            Who::User => ("--user", "me"),
            Who::Nobody => return Ok(None),
        };
        let made = Command::new(binary("lapwing")?)
            .args(["token", "create", option, name, "--ttl", "1h"])
            .env("JWT_SECRET", SECRET)
            .output()?;
        ensure!(made.status.success(), "token create: {}", String::from_utf8_lossy(&made.stderr));
        Ok(Some(format!("Bearer {}", String::from_utf8(made.stdout)?.trim()).parse()?))
    }

    /// The authority, and what is shown to the collector.
    fn certificates(&self, who: Who) -> (PathBuf, Option<(PathBuf, PathBuf)>) {
        let cert = |name: &str| self.rig.root().join("certs").join(name);
        let stem = match who {
            _ if self.tokens => None,
            Who::Agent(id) => Some(format!("agent-{id}")),
            Who::User => Some("user-me".to_owned()),
            Who::Nobody => None,
        };
        let files = stem.map(|stem| (cert(&format!("{stem}.pem")), cert(&format!("{stem}.key"))));
        (cert("ca.pem"), files)
    }

    fn tls(&self, who: Who) -> Result<Arc<ClientConfig>> {
        let (ca, files) = self.certificates(who);
        let files = files.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
        Ok(tls::client(&ca, files)?.config)
    }

    /// A TLS connection that speaks `protocol` (`http/1.1` or `h2`) by hand.
    pub fn raw(&self, who: Who, protocol: &str) -> Result<Raw> {
        let mut config = ClientConfig::clone(&*self.tls(who)?);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(&self.rig.grpc)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
        let mut stream = stream;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }

    /// The authority part of the collector's address, for a header.
    pub fn authority(&self) -> &str {
        &self.rig.grpc
    }
}

/// Whether an error of a connection means that the peer closed it.
pub(super) fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}
