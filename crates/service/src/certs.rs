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
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use x509_parser::{pem::parse_x509_pem, prelude::GeneralName};

use crate::identity::Identity;

const DAY: Duration = Duration::from_secs(86_400);
/// Ten years.
const CA_DAYS: u32 = 3650;
/// A year and a month, the most that clients of public servers take. Programs read a renewed one without a restart.
pub const LEAF_DAYS: u32 = 397;

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
    /// It can't be renewed.
    #[error("{path}: {reason}")]
    Renewal {
        /// The certificate.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// A certificate authority in a folder: `ca.pem` and `ca.key`.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    days: u32,
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
            return Ok(Self { folder: folder.to_owned(), issuer, days: LEAF_DAYS });
        }
        fs::create_dir_all(folder).map_err(|source| CertsError::File { path: folder.to_owned(), source })?;
        let mut params = params("lapwing authority", CA_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(bad(&key_path))?;
        let cert = params.self_signed(&key).map_err(bad(&cert_path))?;
        write(&key_path, &key.serialize_pem())?;
        write(&cert_path, &cert.pem())?;
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::new(params, key), days: LEAF_DAYS })
    }

    /// Makes certificates that are valid for so many days.
    #[must_use]
    pub fn for_days(self, days: u32) -> Self {
        Self { days, ..self }
    }

    /// Makes `server.pem` and `server.key` for DNS names and addresses.
    ///
    /// # Errors
    /// When a name is not valid, or a file is there already or can't be written.
    pub fn server(&self, names: &[String]) -> Result<(), CertsError> {
        let mut params = params("lapwing collector", self.days)?;
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
        let stem = identity.stem();
        let mut params = params(&stem, self.days)?;
        let uri = identity.uri().as_str().try_into().map_err(|source| content(&stem, source))?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&stem, params)
    }

    /// Makes `STEM.pem` and `STEM.key` again, with a new key, for the same names and purpose.
    ///
    /// # Errors
    /// When the certificate is not there or not one of this kind, or can't be written.
    pub fn renew(&self, stem: &str) -> Result<(), CertsError> {
        let path = self.folder.join(format!("{stem}.pem"));
        let refuse = |reason: &str| CertsError::Renewal { path: path.clone(), reason: reason.to_owned() };
        let (_, pem) = parse_x509_pem(read(&path)?.as_bytes())
            .map_err(|_| refuse("holds no certificate; expected PEM with BEGIN CERTIFICATE"))?;
        let old = pem.parse_x509().map_err(|_| refuse("holds a certificate that can't be read"))?;
        if old.is_ca() {
            return Err(refuse("is that of the authority; a new one would need all others to be made anew"));
        }

        let common_name = old.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let mut params = params(common_name.unwrap_or(stem), self.days)?;
        let names = old.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        for name in names {
            params.subject_alt_names.push(alternative(name).ok_or_else(|| {
                refuse("has a name that is neither a DNS name, an address nor a URI; make it with what made it before")
            })?);
        }
        let usage = old
            .extended_key_usage()
            .ok()
            .flatten()
            .map(|usage| (usage.value.server_auth, usage.value.client_auth));
        params.extended_key_usages = match usage {
            Some((true, false)) => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Some((false, true)) => vec![ExtendedKeyUsagePurpose::ClientAuth],
            _ => return Err(refuse("is neither that of a server nor that of a client")),
        };
        self.write_signed(stem, params, replace)
    }

    fn sign(&self, stem: &str, params: CertificateParams) -> Result<(), CertsError> {
        self.write_signed(stem, params, write)
    }

    fn write_signed(
        &self,
        stem: &str,
        params: CertificateParams,
        write: impl Fn(&Path, &str) -> Result<(), CertsError>,
    ) -> Result<(), CertsError> {
        let key = KeyPair::generate().map_err(|source| content(stem, source))?;
        let cert = params.signed_by(&key, &self.issuer).map_err(|source| content(stem, source))?;
        write(&self.folder.join(format!("{stem}.key")), &key.serialize_pem())?;
        write(&self.folder.join(format!("{stem}.pem")), &cert.pem())
    }
}

fn alternative(name: &GeneralName<'_>) -> Option<SanType> {
    match name {
        GeneralName::DNSName(name) => Some(SanType::DnsName((*name).try_into().ok()?)),
        GeneralName::URI(uri) => Some(SanType::URI((*uri).try_into().ok()?)),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(SanType::IpAddress(<[u8; 4]>::try_from(*bytes).ok()?.into())),
            16 => Some(SanType::IpAddress(<[u8; 16]>::try_from(*bytes).ok()?.into())),
            _ => None,
        },
        _ => None,
    }
}

fn content(what: &str, source: rcgen::Error) -> CertsError {
    CertsError::Content { what: what.to_owned(), source }
}

fn params(name: &str, days: u32) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // A number of its own, so that one certificate can be taken back.
    let mut serial = [0; 16];
    let filled = SystemRandom::new().fill(&mut serial);
    filled.map_err(|_| content(name, rcgen::Error::RingUnspecified))?;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(serial.to_vec().into());
    let now = SystemTime::now();
    // An hour back, for clocks that are behind.
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + DAY * days).into();
    Ok(params)
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

/// Puts a file in the place of another. Who reads it at the same time sees the old one or the new one, never half of one.
fn replace(path: &Path, text: &str) -> Result<(), CertsError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    // What an interrupted renewal left.
    let _ = fs::remove_file(&fresh);
    write(&fresh, text)?;
    fs::rename(&fresh, path).map_err(|source| CertsError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::Certificate, tls};
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    #[test]
    fn a_renewed_certificate_is_of_the_same_names_with_another_key_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let authority = Authority::open_or_create(folder.path()).unwrap().for_days(3);
        let agent = Identity::agent("web-1").unwrap();
        authority.client(&agent).unwrap();
        authority.server(&["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]).unwrap();
        let read =
            |name: &str| Certificate::read(&CertificateDer::from_pem_file(file(name)).unwrap()).unwrap();
        let (before, key) = (read("agent-web-1.pem"), fs::read(file("agent-web-1.key")).unwrap());

        let authority = authority.for_days(30);
        authority.renew("agent-web-1").unwrap();
        authority.renew("server").unwrap();
        let after = read("agent-web-1.pem");
        assert_eq!(after.identity, Ok(agent));
        assert!(after.expires_at > before.expires_at && after.serial != before.serial);
        assert_ne!(fs::read(file("agent-web-1.key")).unwrap(), key);
        tls::client(&file("ca.pem"), Some((&file("agent-web-1.pem"), &file("agent-web-1.key")))).unwrap();
        tls::server(&file("server.pem"), &file("server.key"), Some(&file("ca.pem")), true).unwrap();
        let server = fs::read_to_string(file("server.pem")).unwrap();
        let (_, pem) = parse_x509_pem(server.as_bytes()).unwrap();
        let server = pem.parse_x509().unwrap();
        assert_eq!(server.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 3);

        let told = authority.renew("ca").unwrap_err().to_string();
        assert!(told.contains("is that of the authority"), "{told}");
    }
}
