//! TLS 1.3: what both sides show and whom they believe, read from PEM files.

mod refusal;
mod validity;

use std::{fmt::Display, fs, path::Path, sync::Arc, time::SystemTime};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use self::{
    refusal::{Kind as RefusalKind, kind as refusal_kind, seen_by_client, seen_by_server},
    validity::{SOON, Standing, Validity},
};

/// Why TLS can't be set up.
#[derive(Debug, Error)]
#[error("{path}: {reason}")]
pub struct TlsError {
    path: String,
    reason: String,
    /// The file is not there, or not to be read.
    pub is_missing: bool,
}

/// A server's side.
#[derive(Debug, Clone)]
pub struct ServerSide {
    /// How it speaks.
    pub config: Arc<ServerConfig>,
    /// From when until when its own certificate is valid.
    pub validity: Validity,
}

/// A client's side.
#[derive(Debug, Clone)]
pub struct ClientSide {
    /// How it speaks.
    pub config: Arc<ClientConfig>,
    /// From when until when its own certificate is valid, when it has one.
    pub validity: Option<Validity>,
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
) -> Result<ServerSide, TlsError> {
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

    let (chain, validity) = own_certificate(cert)?;
    let mut config =
        builder.with_single_cert(chain, private_key(key)?).map_err(|error| mismatch(cert, key, error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A session that is taken up again would not show its certificate again, and outlive it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(ServerSide { config: Arc::new(config), validity })
}

/// A client's side: `ca` vouches for the server; `identity` is the client's own certificate and key.
///
/// # Errors
/// As [`server`].
pub fn client(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<ClientSide, TlsError> {
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| fail(ca, error))?
        .with_root_certificates(roots(ca)?);
    let (mut config, validity) = match identity {
        None => (builder.with_no_client_auth(), None),
        Some((cert, key)) => {
            let (chain, validity) = own_certificate(cert)?;
            let config = builder.with_client_auth_cert(chain, private_key(key)?);
            (config.map_err(|error| mismatch(cert, key, error))?, Some(validity))
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(ClientSide { config: Arc::new(config), validity })
}

/// From when until when the first certificate of a file is valid.
///
/// # Errors
/// When it can't be read or is none.
pub fn validity(cert: &Path) -> Result<Validity, TlsError> {
    let chain = certificates(cert)?;
    let leaf = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let (_, leaf) = leaf.ok_or_else(|| fail(cert, "holds no certificate that can be read"))?;
    Ok(Validity::of(&leaf, cert))
}

/// What a check says of one side: a warning, when it can be used and not for long, or not yet looked at; an error, when it can't be used.
///
/// # Errors
/// What is wrong.
pub fn verdict(side: Result<Option<Validity>, TlsError>) -> Result<Option<String>, String> {
    match side {
        // The check may run before the certificates are there, and as another user.
        Err(error) if error.is_missing => Ok(Some(error.to_string())),
        Err(error) => Err(error.to_string()),
        Ok(validity) => match validity.map_or(Standing::Good, |validity| validity.at(SystemTime::now())) {
            Standing::Good => Ok(None),
            Standing::Ending(text) => Ok(Some(text)),
            Standing::Invalid(text) => Err(text),
        },
    }
}

fn own_certificate(path: &Path) -> Result<(Vec<CertificateDer<'static>>, Validity), TlsError> {
    let chain = certificates(path)?;
    let leaf = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let (_, leaf) = leaf.ok_or_else(|| fail(path, "holds no certificate that can be read"))?;
    if leaf.is_ca() {
        let text = "is the certificate of an authority (CA), which nobody takes for that of a program; \
                    `lapwing certs create` makes those";
        return Err(fail(path, text));
    }
    let validity = Validity::of(&leaf, path);
    Ok((chain, validity))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| fail(path, error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fail(path, format!("{error}; expected PEM with BEGIN CERTIFICATE")))?;
    if found.is_empty() {
        return Err(fail(path, "holds no certificate; expected PEM with BEGIN CERTIFICATE"));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    if is_encrypted(&text) {
        let file = path.display();
        let text = format!(
            "the key is encrypted with a passphrase, and nobody is there to type it; \
             decrypt it into a file that only this program's user may read: `(umask 077; openssl pkey -in {file} -out {file}.plain)`"
        );
        return Err(fail(path, text));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        fail(
            path,
            "holds no private key; expected PEM with BEGIN PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY",
        )
    })
}

/// By the label of PKCS #8, or the header of older files.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    let has = |line: &str| text.lines().any(|found| found.trim() == line);
    has("-----BEGIN ENCRYPTED PRIVATE KEY-----") || has("Proc-Type: 4,ENCRYPTED")
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| {
        let text = format!("can't be read: {error}");
        let is_missing =
            matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied);
        TlsError { is_missing, ..fail(path, text) }
    })
}

fn mismatch(cert: &Path, key: &Path, error: rustls::Error) -> TlsError {
    let key = key.display();
    match error {
        rustls::Error::InconsistentKeys(_) => fail(cert, format!("is not the certificate of the key {key}")),
        error => fail(cert, format!("can't be used with the key {key}: {error}")),
    }
}

fn fail(path: &Path, reason: impl Display) -> TlsError {
    TlsError { path: path.display().to_string(), reason: reason.to_string(), is_missing: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Authority;

    #[test]
    fn a_key_with_a_passphrase_says_so_and_how_to_decrypt_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.key");
        for text in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-256-CBC,00\r\n\r\nAA==\r\n\
             -----END RSA PRIVATE KEY-----\r\n",
        ] {
            fs::write(&path, text).unwrap();
            let told = private_key(&path).unwrap_err().to_string();
            assert!(told.contains("encrypted with a passphrase") && told.contains("openssl pkey"), "{told}");
        }
        fs::write(&path, "nothing").unwrap();
        assert!(private_key(&path).unwrap_err().to_string().contains("holds no private key"));
    }

    #[test]
    fn the_authority_is_no_certificate_of_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let authority = Authority::open_or_create(folder.path()).unwrap();
        authority.server(&["localhost".to_owned()]).unwrap();
        let told = server(&file("ca.pem"), &file("ca.key"), None, false).unwrap_err().to_string();
        assert!(told.contains("is the certificate of an authority (CA)"), "{told}");
        let told = server(&file("server.pem"), &file("ca.key"), None, false).unwrap_err().to_string();
        assert!(told.contains("is not the certificate of the key"), "{told}");
        let missing = server(&file("none.pem"), &file("ca.key"), None, false).unwrap_err();
        assert!(missing.is_missing && missing.to_string().contains("can't be read"), "{missing}");
    }
}
