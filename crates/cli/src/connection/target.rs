//! Which collector, and the certificates for it: what `lapwing up` writes as `client.toml`.

use std::path::PathBuf;

use anyhow::anyhow;
use lapwing_service::{
    client::{Address, Credentials},
    config::{ConfigErrors, Reader},
};

use crate::{
    exit::{Exit, Failure, OrExit},
    home::Home,
    ports,
};

/// A collector and how to reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its URL.
    pub(crate) endpoint: String,
    /// Authority that vouches for it.
    pub(crate) ca: Option<PathBuf>,
    /// Certificate to show.
    pub(crate) cert: Option<PathBuf>,
    /// Key of the certificate.
    pub(crate) key: Option<PathBuf>,
}

impl Target {
    /// What the `client.toml` of a data folder says, or the usual endpoint when there is none.
    pub(crate) fn of(home: &Home) -> Result<Self, Failure> {
        let path = home.client_config();
        if !path.exists() {
            return Ok(Self { endpoint: usual_endpoint(), ..Self::default() });
        }
        Reader::open(&path).and_then(Self::from_reader).or_exit(Exit::Usage)
    }

    /// What a `client.toml` says.
    pub(crate) fn from_reader(reader: Reader) -> Result<Self, ConfigErrors> {
        reader.read(|root| {
            let collector = root.section("collector");
            let target = Self {
                endpoint: collector.string("endpoint").unwrap_or_else(usual_endpoint),
                ca: collector.path("ca_file"),
                cert: collector.path("cert_file"),
                key: collector.path("key_file"),
            };
            collector.finish();
            Some(target)
        })
    }

    /// What is shown at `address`: certificates where that says TLS.
    pub(super) fn credentials(&self, address: &Address) -> Result<Credentials, Failure> {
        if !address.tls {
            return Ok(Credentials::default());
        }
        let Some(ca) = &self.ca else {
            let endpoint = &self.endpoint;
            return Err(Exit::Usage.because(anyhow!(
                "to ask {endpoint}, give the authority that vouches for it with --ca, \
                 or start a collector here with `lapwing up`"
            )));
        };
        let identity = match (self.cert.clone(), self.key.clone()) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Exit::Usage.because(anyhow!("--cert needs the key to it: give --key")));
            }
            (None, Some(_)) => {
                return Err(Exit::Usage.because(anyhow!("--key needs its certificate: give --cert")));
            }
        };
        Credentials::default().with_tls(ca.clone(), identity).or_exit(Exit::Usage)
    }
}

fn usual_endpoint() -> String {
    format!("https://{}", ports::local(ports::FIRST))
}
