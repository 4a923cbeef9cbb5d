//! TLS 1.3, and who is at the other end.

use std::{fmt::Display, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Why TLS can't be set up.
#[derive(Debug, Error)]
#[error("{path}: {reason}")]
pub struct TlsError {
    path: String,
    reason: String,
}

/// Who a certificate names, by its URI subject alternative name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// `lapwing://agent/ID`.
    Agent(String),
    /// `lapwing://user/NAME`.
    User(String),
}

impl Identity {
    /// The URI in the certificate.
    pub fn uri(&self) -> String {
        match self {
            Self::Agent(id) => format!("lapwing://agent/{id}"),
            Self::User(name) => format!("lapwing://user/{name}"),
        }
    }

    fn parse(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("lapwing://")?;
        match rest.split_once('/')? {
            (_, "") => None,
            ("agent", id) => Some(Self::Agent(id.to_owned())),
            ("user", name) => Some(Self::User(name.to_owned())),
            _ => None,
        }
    }

    /// Who the certificate names. The common name is not looked at.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => Self::parse(uri),
            _ => None,
        })
    }
}

/// A server's side. With `client_ca` a client that shows a certificate must show one of that authority; `require_client`
/// refuses one that shows none.
///
/// # Errors
/// When a file can't be read or holds something else, named with what was found.
pub fn server(
    cert: &Path,
    key: &Path,
    client_ca: Option<&Path>,
    require_client: bool,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| fail(cert, error))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(roots(path)?);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots, ring::default_provider().into());
            let verifier = if require_client { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| fail(path, error))?)
        }
    };
    let mut config = builder
        .with_single_cert(certificates(cert)?, private_key(key)?)
        .map_err(|error| mismatch(cert, key, error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A client's side: `ca` vouches for the server; `identity` is the client's own certificate and key.
///
/// # Errors
/// As [`server`].
pub fn client(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| fail(ca, error))?
        .with_root_certificates(roots(ca)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(|error| mismatch(cert, key, error))?,
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| fail(path, error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fail(path, error))?;
    if found.is_empty() {
        return Err(fail(path, "holds no certificate; expected PEM with BEGIN CERTIFICATE"));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| fail(path, format!("{error}; expected a PEM private key")))
}

fn mismatch(cert: &Path, key: &Path, error: rustls::Error) -> TlsError {
    fail(cert, format!("can't be used with the key {}: {error}", key.display()))
}

fn fail(path: &Path, reason: impl Display) -> TlsError {
    TlsError { path: path.display().to_string(), reason: reason.to_string() }
}
