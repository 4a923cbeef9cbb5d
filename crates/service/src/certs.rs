//! Making certificates: an authority of one's own, and what it signs.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use thiserror::Error;

use crate::tls::Identity;

const DAY: Duration = Duration::from_secs(86_400);
/// Ten years.
const CA_DAYS: u32 = 3650;
/// What clients still take for a server's certificate.
const LEAF_DAYS: u32 = 825;

/// Why a certificate was not made.
#[derive(Debug, Error)]
pub enum CertsError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content was not accepted.
    #[error("{what}: {source}")]
    Content {
        /// Which certificate.
        what: String,
        /// What the library said.
        source: rcgen::Error,
    },
}

/// A certificate authority in a folder: `ca.pem` and `ca.key`.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Opens the authority in `folder`, or makes one.
    ///
    /// # Errors
    /// When files can't be read or written, or hold something else.
    pub fn open_or_create(folder: &Path) -> Result<Self, CertsError> {
        let (cert_path, key_path) = (folder.join("ca.pem"), folder.join("ca.key"));
        let bad = |what: &Path| {
            let what = what.display().to_string();
            move |source| CertsError::Content { what, source }
        };
        if cert_path.exists() {
            let key = KeyPair::from_pem(&read(&key_path)?).map_err(bad(&key_path))?;
            let issuer = Issuer::from_ca_cert_pem(&read(&cert_path)?, key).map_err(bad(&cert_path))?;
            return Ok(Self { folder: folder.to_owned(), issuer });
        }
        fs::create_dir_all(folder).map_err(|source| CertsError::File { path: folder.to_owned(), source })?;
        let mut params = params("lapwing authority", CA_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(bad(&key_path))?;
        let cert = params.self_signed(&key).map_err(bad(&cert_path))?;
        write(&key_path, &key.serialize_pem())?;
        write(&cert_path, &cert.pem())?;
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::new(params, key) })
    }

    /// Makes `server.pem` and `server.key` for DNS names and addresses.
    ///
    /// # Errors
    /// When a name is not valid, or a file is there already or can't be written.
    pub fn server(&self, names: &[String]) -> Result<(), CertsError> {
        let mut params = params("lapwing collector", LEAF_DAYS);
        for name in names {
            let san = match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => {
                    SanType::DnsName(name.as_str().try_into().map_err(|source| content("server", source))?)
                }
            };
            params.subject_alt_names.push(san);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign("server", params)
    }

    /// Makes `agent-ID.pem` or `user-NAME.pem` and the key to it.
    ///
    /// # Errors
    /// As [`Authority::server`].
    pub fn client(&self, identity: &Identity) -> Result<(), CertsError> {
        let (kind, name) = match identity {
            Identity::Agent(id) => ("agent", id),
            Identity::User(name) => ("user", name),
        };
        let stem = format!("{kind}-{name}");
        let mut params = params(&stem, LEAF_DAYS);
        let uri = identity.uri().as_str().try_into().map_err(|source| content(&stem, source))?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&stem, params)
    }

    fn sign(&self, stem: &str, params: CertificateParams) -> Result<(), CertsError> {
        let key = KeyPair::generate().map_err(|source| content(stem, source))?;
        let cert = params.signed_by(&key, &self.issuer).map_err(|source| content(stem, source))?;
        write(&self.folder.join(format!("{stem}.key")), &key.serialize_pem())?;
        write(&self.folder.join(format!("{stem}.pem")), &cert.pem())
    }
}

fn content(what: &str, source: rcgen::Error) -> CertsError {
    CertsError::Content { what: what.to_owned(), source }
}

fn params(name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    // An hour back, for clocks that are behind.
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + DAY * days).into();
    params
}

fn read(path: &Path) -> Result<String, CertsError> {
    fs::read_to_string(path).map_err(|source| CertsError::File { path: path.to_owned(), source })
}

/// Never replaces a file: a key that is overwritten is lost.
fn write(path: &Path, text: &str) -> Result<(), CertsError> {
    let mut options = OpenOptions::new();
    let written = options.write(true).create_new(true).mode(0o600).open(path);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| CertsError::File { path: path.to_owned(), source })
}
