//! Who somebody is: a role and a name, read from a certificate or a token.
//!
//! Names become ids in journals, logs and tables, so they are parsed once, where they come in. A name never holds `/`: what is kept
//! of an agent, a user and a client can be told apart by a prefix.

use std::{
    fmt, fs, io,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Longest name, in bytes: that of a host.
const MAX_NAME: usize = 253;
/// How much of a wrong name is shown.
const SHOWN: usize = 64;
const SCHEME: &str = "lapwing://";

/// The name of an agent or a user.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// What an identity may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Send telemetry under its own name.
    Agent,
    /// Ask.
    User,
}

/// Who somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What it may do.
    pub role: Role,
    /// What it is called.
    pub name: Name,
}

/// What a certificate says of its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Who it names.
    pub identity: Result<Identity, IdentityError>,
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// Until when it is valid.
    pub expires_at: SystemTime,
}

/// Why something is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "expected 1 to {MAX_NAME} letters, digits, `.`, `_`, `-`, `@`, `+` or `:`, without `..` and with no `.` or `-` in front; \
     got {0:?}"
)]
pub struct NameError(String);

/// Why a certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// No URI of ours.
    #[error("the certificate names nobody: it has no URI such as lapwing://agent/ID or lapwing://user/NAME")]
    Missing,
    /// More than one.
    #[error("the certificate names more than one: it has {0} lapwing:// URIs, expected exactly one")]
    Several(usize),
    /// Neither an agent nor a user.
    #[error("expected lapwing://agent/ID or lapwing://user/NAME in the certificate, got {0:?}")]
    Unknown(String),
    /// A wrong name.
    #[error("the name in the certificate: {0}")]
    Name(#[from] NameError),
}

impl Name {
    /// Takes a name.
    ///
    /// # Errors
    /// When it is empty, too long, or holds anything that a name must not.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-@+:".contains(c);
        let is_name = (1..=MAX_NAME).contains(&text.len())
            && text.chars().all(plain)
            && !text.starts_with(['.', '-'])
            && !text.contains("..");
        if is_name { Ok(Self(text.to_owned())) } else { Err(NameError(shown(text))) }
    }

    /// Whoever is on this machine, where nobody is asked.
    pub fn local() -> Self {
        Self("local".to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl Role {
    /// Its word in certificates and tokens.
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
        }
    }
}

impl Identity {
    /// The agent `id`.
    ///
    /// # Errors
    /// When it is no name.
    pub fn agent(id: &str) -> Result<Self, NameError> {
        Ok(Self { role: Role::Agent, name: Name::parse(id)? })
    }

    /// The user `name`.
    ///
    /// # Errors
    /// When it is no name.
    pub fn user(name: &str) -> Result<Self, NameError> {
        Ok(Self { role: Role::User, name: Name::parse(name)? })
    }

    /// The URI in a certificate.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}/{}", self.role.word(), self.name)
    }

    /// File name of its certificate, without the end.
    pub fn stem(&self) -> String {
        format!("{}-{}", self.role.word(), self.name)
    }

    fn parse(rest: &str) -> Result<Self, IdentityError> {
        match rest.split_once('/') {
            Some(("agent", id)) => Ok(Self::agent(id)?),
            Some(("user", name)) => Ok(Self::user(name)?),
            _ => Err(IdentityError::Unknown(shown(&format!("{SCHEME}{rest}")))),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role.word(), self.name)
    }
}

impl Certificate {
    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// When it can't be read, or holds none.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fail = |reason: &dyn fmt::Display| io::Error::other(format!("{}: {reason}", path.display()));
        let der = CertificateDer::from_pem_slice(&fs::read(path).map_err(|error| fail(&error))?);
        let der = der.map_err(|error| fail(&error))?;
        Self::read(&der).ok_or_else(|| fail(&"holds a certificate that can't be read"))
    }

    /// Reads a certificate; `None` when it is not one. The common name is not looked at.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self {
            identity: identity(&certificate),
            serial: hexadecimal(certificate.raw_serial()),
            expires_at: time(certificate.validity().not_after.timestamp()),
        })
    }
}

/// Exactly one URI of ours must be there: with two, each reader could believe another.
fn identity(certificate: &X509Certificate<'_>) -> Result<Identity, IdentityError> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let own = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => uri.strip_prefix(SCHEME).map(str::to_owned),
        _ => None,
    };

    let uris: Vec<String> = names.iter().filter_map(own).collect();
    match &uris[..] {
        [] => Err(IdentityError::Missing),
        [uri] => Identity::parse(uri),
        several => Err(IdentityError::Several(several.len())),
    }
}

/// A serial number as digits, without zeros in front and colons between: as it is compared.
pub fn serial(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|char| *char != ':').collect();
    let is_number = !digits.is_empty() && digits.chars().all(|char| char.is_ascii_hexdigit());
    is_number.then(|| trimmed(&digits.to_ascii_lowercase()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    trimmed(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn trimmed(digits: &str) -> String {
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// A time in seconds since the Unix epoch; what is before it is the epoch.
pub(crate) fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_name_is_plain_and_everything_else_is_refused() {
        for good in
            ["web-1", "a", "web-1.example.com", "me@example.com", "system:node", "_x", &"a".repeat(253)]
        {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(254);
        for bad in [
            "",
            "../x",
            "a..b",
            ".hidden",
            "-rf",
            "user/me",
            "client/good",
            "a\0b",
            "a\nb",
            "a\u{1b}[31mb",
            "a b",
            "\u{202e}gpj",
            "größe",
            "a\\b",
            "a%2fb",
            "a'b",
            &long,
            &"x".repeat(10_000),
        ] {
            let error = Name::parse(bad).unwrap_err().to_string();
            assert!(error.len() < 700 && !error.contains(['\n', '\u{1b}', '\0']), "{error}");
        }
    }

    fn certificate(uris: &[&str]) -> Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.serial_number = Some(vec![0x00, 0x0a, 0xbc].into());
        let key = KeyPair::generate().unwrap();
        Certificate::read(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn a_certificate_names_exactly_one() {
        let web = certificate(&["https://example.com", "lapwing://agent/web-1"]);
        assert_eq!(web.identity, Ok(Identity::agent("web-1").unwrap()));
        assert_eq!(web.serial, "abc");
        assert_eq!(certificate(&[]).identity, Err(IdentityError::Missing));
        let two = certificate(&["lapwing://agent/web-1", "lapwing://user/me"]);
        assert_eq!(two.identity, Err(IdentityError::Several(2)));
        let same = certificate(&["lapwing://agent/web-1", "lapwing://agent/web-1"]);
        assert_eq!(same.identity, Err(IdentityError::Several(2)));
        for bad in
            ["lapwing://agent/", "lapwing://agent/user/me", "lapwing://agent/../x", "lapwing://agent/a\nb"]
        {
            assert!(matches!(certificate(&[bad]).identity, Err(IdentityError::Name(_))), "{bad}");
        }
        for bad in ["lapwing://root/x", "lapwing://agent", "lapwing://"] {
            assert!(matches!(certificate(&[bad]).identity, Err(IdentityError::Unknown(_))), "{bad}");
        }
    }

    #[test]
    fn a_serial_number_is_compared_as_a_number() {
        assert_eq!(serial("00:0A:BC").as_deref(), Some("abc"));
        assert_eq!(serial("0").as_deref(), Some("0"));
        assert_eq!(serial("xyz"), None);
        assert_eq!(serial(":"), None);
    }
}
