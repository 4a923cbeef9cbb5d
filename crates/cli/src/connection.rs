//! Reaching a collector: which one, as whom, and what its refusals mean.
//!
//! Whoever gives no endpoint asks the collector that `lapwing up` started, with the certificate it made. A certificate
//! from there is never shown to another endpoint, and a token never travels in the clear to another machine.

mod target;

use std::{
    env, fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use lapwing::{
    status::Kind,
    v1::{ingest_service_client::IngestServiceClient, query_service_client::QueryServiceClient},
};
use lapwing_service::{
    client::{Address, Link, connection_cause},
    secret::Secret,
};
use tonic::{Request, Status};

pub(crate) use self::target::Target;
use crate::{
    exit::{Exit, Failure, OrExit},
    home::HomeArgs,
};

/// Name of the variable that holds a token. No argument does: `ps` shows arguments to everybody.
const TOKEN: &str = "LAPWING_TOKEN";
/// Largest part of an answer.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Which collector, and as whom. A token is taken from `LAPWING_TOKEN`.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// The collector [default: what `lapwing up` wrote in its data folder, or https://127.0.0.1:7400]
    #[arg(long, env = "LAPWING_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// Authority that vouches for the collector (PEM)
    #[arg(long, env = "LAPWING_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate to show (PEM)
    #[arg(long, env = "LAPWING_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(long, env = "LAPWING_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// File that holds a token; without it the token is taken from LAPWING_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    home: HomeArgs,
}

impl ConnectionArgs {
    /// Prepares a connection. It comes up with the first request.
    pub(crate) fn open(&self) -> Result<Connection, Failure> {
        Connection::to(&self.target()?, self.token()?.as_ref())
    }

    /// What is given here comes first. `client.toml` speaks for its own endpoint alone.
    fn target(&self) -> Result<Target, Failure> {
        let written = match &self.endpoint {
            Some(endpoint) => Target { endpoint: endpoint.clone(), ..Target::default() },
            None => Target::of(&self.home.home()?)?,
        };
        Ok(Target {
            endpoint: written.endpoint,
            ca: self.ca.clone().or(written.ca),
            cert: self.cert.clone().or(written.cert),
            key: self.key.clone().or(written.key),
        })
    }

    fn token(&self) -> Result<Option<Secret>, Failure> {
        match &self.token_file {
            Some(path) => token_in(path).map(Some),
            None => {
                let text = env::var(TOKEN).ok().map(|text| text.trim().to_owned());
                Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
            }
        }
    }
}

/// The token in a file.
pub(crate) fn token_in(path: &Path) -> Result<Secret, Failure> {
    let text = fs::read_to_string(path).with_context(|| format!("read the token in {}", path.display()));
    let token = text.or_exit(Exit::Usage)?.trim().to_owned();
    if token.is_empty() {
        return Err(usage(format!("{} holds no token", path.display())));
    }
    Ok(Secret::new(token))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn usage(text: String) -> Failure {
    Exit::Usage.because(anyhow!(text))
}

/// A connection to a collector.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The service that answers.
    pub(crate) client: QueryServiceClient<Link>,
    /// The service that takes batches.
    pub(crate) ingest: IngestServiceClient<Link>,
    address: Address,
}

impl Connection {
    /// Prepares a connection to `target`, with the token when there is one.
    pub(crate) fn to(target: &Target, token: Option<&Secret>) -> Result<Self, Failure> {
        let address = Address::parse(&target.endpoint).or_exit(Exit::Usage)?;
        if token.is_some() && !address.tls && !is_loopback(&address.host) {
            let host = &address.host;
            return Err(usage(format!("a token is not sent to {host} in the clear; use https://")));
        }
        let mut credentials = target.credentials(&address)?;
        if let Some(token) = token {
            credentials = credentials.with_token(token.clone()).or_exit(Exit::Usage)?;
        }
        let link = Link::new(address.clone(), credentials).or_exit(Exit::Usage)?;
        let ingest = IngestServiceClient::new(link.clone());
        let client = QueryServiceClient::new(link).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { client, ingest, address })
    }

    /// A request; the link says who asks.
    #[expect(clippy::unused_self, reason = "each request goes over a connection")]
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        Request::new(message)
    }

    /// The collector as a URL, without what else may have been in the endpoint.
    pub(crate) fn endpoint(&self) -> String {
        let Address { host, port, tls } = &self.address;
        let scheme = if *tls { "https" } else { "http" };
        if host.contains(':') {
            format!("{scheme}://[{host}]:{port}")
        } else {
            format!("{scheme}://{host}:{port}")
        }
    }

    /// What a status means to the user.
    pub(crate) fn failure(&self, status: &Status) -> Failure {
        let (endpoint, message) = (self.endpoint(), status.message());
        if let Some(cause) = connection_cause(status) {
            let advice = self.advice();
            return Exit::Unreachable
                .because(anyhow!("no connection to the collector at {endpoint}: {cause}; {advice}"));
        }
        let exit = Exit::of(Kind::of(status));
        exit.because(match exit {
            Exit::Query => anyhow!("{message}"),
            Exit::Refused => anyhow!(
                "the collector at {endpoint} refused: {message}; \
                 show a user's certificate (--cert, --key) or token ({TOKEN})"
            ),
            _ => anyhow!("the collector at {endpoint}: {message}"),
        })
    }

    fn advice(&self) -> &'static str {
        if self.address.tls {
            "does it run there (`lapwing up` starts one here), and do --ca and --cert belong to its authority?"
        } else {
            "does it run there (`lapwing up` starts one here), and does it speak without TLS?"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (tempfile::TempDir, HomeArgs) {
        let folder = tempfile::tempdir().unwrap();
        let text = "[collector]\nendpoint = 'https://127.0.0.1:9999'\nca_file = 'ca'\ncert_file = 'c'\n";
        fs::write(folder.path().join("client.toml"), text).unwrap();
        let home = HomeArgs::at(folder.path());
        (folder, home)
    }

    #[test]
    fn without_an_endpoint_the_one_of_lapwing_up_is_asked() {
        let (_folder, home) = written();
        let args = ConnectionArgs { ca: Some("mine".into()), home, ..ConnectionArgs::default() };
        let target = args.target().unwrap();
        assert_eq!(target.endpoint, "https://127.0.0.1:9999");
        assert_eq!((target.ca, target.cert), (Some("mine".into()), Some("c".into())));
    }

    #[test]
    fn a_certificate_of_lapwing_up_is_not_shown_to_another_endpoint() {
        let (_folder, home) = written();
        let endpoint = Some("https://elsewhere:7400".to_owned());
        let target = ConnectionArgs { endpoint, home, ..ConnectionArgs::default() }.target().unwrap();
        assert_eq!((target.ca, target.cert, target.key), (None, None, None));
    }

    #[test]
    fn a_folder_without_a_config_means_the_usual_endpoint() {
        let folder = tempfile::tempdir().unwrap();
        let args = ConnectionArgs { home: HomeArgs::at(folder.path()), ..ConnectionArgs::default() };
        assert_eq!(args.target().unwrap().endpoint, "https://127.0.0.1:7400");
    }

    fn refused(args: &ConnectionArgs) -> String {
        let (exit, told) = args.open().unwrap_err().parts();
        assert_eq!(exit, Exit::Usage, "{told}");
        told
    }

    fn to(endpoint: &str) -> ConnectionArgs {
        ConnectionArgs { endpoint: Some(endpoint.to_owned()), ..ConnectionArgs::default() }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(refused(&to("https://a:1")).contains("--ca"));
        assert!(refused(&to("nonsense")).contains("expected an endpoint"));
        let half = ConnectionArgs { ca: Some("ca".into()), cert: Some("c".into()), ..to("https://a:1") };
        assert!(refused(&half).contains("--cert needs the key"));
        let file = ConnectionArgs { token_file: Some("/nowhere".into()), ..to("http://127.0.0.1:1") };
        assert!(refused(&file).contains("/nowhere"));
    }

    #[test]
    fn a_token_is_neither_sent_in_the_clear_nor_printed() {
        let folder = tempfile::tempdir().unwrap();
        let token_file = Some(folder.path().join("token"));
        fs::write(token_file.as_ref().unwrap(), "abc.def.ghi\n").unwrap();
        let clear = ConnectionArgs { token_file, ..to("http://10.1.2.3:7400") };
        assert!(refused(&clear).contains("in the clear"));
        let odd = Secret::new("gr\u{f6}\u{df}e\n");
        let target = Target { endpoint: "http://127.0.0.1:1".to_owned(), ..Target::default() };
        let (exit, told) = Connection::to(&target, Some(&odd)).map(|_| ()).unwrap_err().parts();
        assert!(exit == Exit::Usage && !told.contains("gr\u{f6}"), "{told}");
    }

    #[tokio::test]
    async fn statuses_end_with_the_code_of_their_kind() {
        let connection = to("http://127.0.0.1:1").open().unwrap();
        let parts = |status: Status| connection.failure(&status).parts();
        let (exit, told) = parts(Kind::InvalidArgument.status("no such column: x"));
        assert_eq!((exit, told.as_str()), (Exit::Query, "no such column: x"));
        let (exit, told) = parts(Kind::Unauthenticated.status("no token"));
        assert!(exit == Exit::Refused && told.contains("--cert"), "{told}");
        let (exit, told) = parts(Kind::Unavailable.status("going down"));
        assert!(exit == Exit::Unreachable && told.ends_with("http://127.0.0.1:1: going down"), "{told}");
    }
}
