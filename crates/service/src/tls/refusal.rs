//! What went wrong in a handshake, with its cause and its cure, in the words of the side that sees it.

use std::{
    io,
    mem::{self, Discriminant},
    time::SystemTime,
};

use rustls::{
    AlertDescription, CertificateError, Error,
    pki_types::{ServerName, UnixTime},
};

use super::validity::date;
use crate::identity::time;

/// What is wrong with a certificate, whoever showed it.
enum Fault {
    Expired(Option<UnixTime>),
    Early(Option<UnixTime>),
    OtherAuthority,
    Authority,
    OtherName(String),
    OtherPurpose,
    Other(String),
}

/// What a client says of a handshake, or of a connection, that failed.
pub fn seen_by_client(error: &io::Error) -> String {
    let Some(tls) = tls_error(error) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "the connection was closed in the TLS handshake: is it a port that speaks TLS?".to_owned()
            }
            _ => error.to_string(),
        };
    };
    match tls {
        Error::InvalidCertificate(error) => match fault(error) {
            Fault::Expired(end) => format!(
                "the collector's certificate expired{}; renew it there (`lapwing certs renew`); this machine's clock says {}",
                at(end),
                date(SystemTime::now())
            ),
            Fault::Early(begin) => format!(
                "the collector's certificate is not valid yet{}, and this machine's clock says {}: is the clock right?",
                at(begin),
                date(SystemTime::now())
            ),
            Fault::OtherAuthority => {
                "the collector's certificate is not signed by the authority given here; \
                                      give the ca.pem of that collector (ca_file, --ca)"
                    .to_owned()
            }
            Fault::Authority => "the collector shows the certificate of an authority (CA) as its own; \
                                 give it one made by `lapwing certs create --server NAME` ([tls] cert_file)"
                .to_owned(),
            Fault::OtherName(name) => format!(
                "the collector's certificate is not for the name {name}; use a name that stands in it, \
                 or make one with `lapwing certs create --server {name}`"
            ),
            Fault::OtherPurpose => "the collector's certificate is not one for servers".to_owned(),
            Fault::Other(text) => format!("the collector's certificate is refused: {text}"),
        },
        Error::AlertReceived(alert) => refused_by_server(*alert),
        Error::InvalidMessage(_) => {
            "what answers there speaks no TLS: use http://, or the port that speaks TLS".to_owned()
        }
        other => format!("TLS: {other}"),
    }
}

fn refused_by_server(alert: AlertDescription) -> String {
    let own = "the collector refuses this side's certificate";
    match alert {
        AlertDescription::CertificateExpired => {
            format!("{own}: it has expired, or is not valid yet; renew it (`lapwing certs renew`)")
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => format!(
            "{own}: it is not signed by the collector's authority ([tls] client_ca_file there); \
             give one that is (cert_file and key_file, --cert and --key)"
        ),
        AlertDescription::CertificateRequired => "the collector wants to see a certificate: \
                                                  give one (cert_file and key_file, --cert and --key)"
            .to_owned(),
        AlertDescription::UnsupportedCertificate => format!("{own}: it is not one for clients"),
        AlertDescription::CertificateUnknown | AlertDescription::BadCertificate => {
            format!("{own}: it is not one of a client, or that of an authority (CA)")
        }
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            "the other side does not speak TLS 1.3".to_owned()
        }
        alert => format!("the other side ended the connection: {alert:?}"),
    }
}

/// What a server says of a handshake that failed.
pub fn seen_by_server(error: &io::Error) -> String {
    let Some(tls) = tls_error(error) else { return error.to_string() };
    match tls {
        Error::InvalidCertificate(error) => match fault(error) {
            Fault::Expired(end) => format!("the client's certificate expired{}", at(end)),
            Fault::Early(begin) => {
                format!("the client's certificate is not valid yet{}: is a clock wrong?", at(begin))
            }
            Fault::OtherAuthority => {
                "the client's certificate is not signed by the authority in [tls] client_ca_file".to_owned()
            }
            Fault::Authority => "the client shows the certificate of an authority (CA) as its own".to_owned(),
            Fault::OtherName(name) => format!("the client's certificate is not for {name}"),
            Fault::OtherPurpose => "the client's certificate is not one for clients".to_owned(),
            Fault::Other(text) => format!("the client's certificate is refused: {text}"),
        },
        Error::NoCertificatesPresented => "the client shows no certificate".to_owned(),
        Error::InvalidMessage(_) => {
            "what came in is no TLS, such as plain HTTP: its sender has to use https://".to_owned()
        }
        Error::PeerIncompatible(_) => "the client does not speak TLS 1.3 as it is spoken here".to_owned(),
        Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnsupportedCertificate),
        ) => format!("the client refuses this collector's certificate ({alert:?})"),
        other => other.to_string(),
    }
}

/// The kind of a failed handshake: there are some dozens of them, whatever a peer sends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind(Option<Discriminant<Error>>, Option<Discriminant<CertificateError>>);

/// Which kind of failure this is.
pub fn kind(error: &io::Error) -> Kind {
    let Some(tls) = tls_error(error) else { return Kind(None, None) };
    let certificate = match tls {
        Error::InvalidCertificate(error) => Some(mem::discriminant(error)),
        _ => None,
    };
    Kind(Some(mem::discriminant(tls)), certificate)
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn fault(error: &CertificateError) -> Fault {
    match error {
        CertificateError::Expired => Fault::Expired(None),
        CertificateError::ExpiredContext { not_after, .. } => Fault::Expired(Some(*not_after)),
        CertificateError::NotValidYet => Fault::Early(None),
        CertificateError::NotValidYetContext { not_before, .. } => Fault::Early(Some(*not_before)),
        // Two authorities of one name: the key is found to be another only at the signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Fault::OtherAuthority,
        CertificateError::NotValidForName => Fault::OtherName("it is reached by".to_owned()),
        CertificateError::NotValidForNameContext { expected, .. } => Fault::OtherName(name(expected)),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Fault::OtherPurpose
        }
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            Fault::Authority
        }
        other => Fault::Other(other.to_string()),
    }
}

fn name(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

fn at(when: Option<UnixTime>) -> String {
    let when = when.and_then(|when| i64::try_from(when.as_secs()).ok());
    when.map(|when| format!(" at {}", date(time(when)))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(error: Error) -> String {
        seen_by_client(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn server(error: Error) -> String {
        seen_by_server(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn a_client_reads_the_cause_and_the_cure() {
        let certificate = Error::InvalidCertificate;
        let alert = Error::AlertReceived;
        for (error, expected) in [
            (certificate(CertificateError::Expired), "`lapwing certs renew`"),
            (certificate(CertificateError::NotValidYet), "is the clock right?"),
            (certificate(CertificateError::UnknownIssuer), "ca_file, --ca"),
            (certificate(CertificateError::BadSignature), "ca_file, --ca"),
            (alert(AlertDescription::CertificateExpired), "refuses this side's certificate: it has expired"),
            (alert(AlertDescription::UnknownCA), "client_ca_file"),
            (alert(AlertDescription::CertificateRequired), "cert_file and key_file"),
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), "use http://"),
        ] {
            let told = client(error);
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn a_server_says_who_is_wrong() {
        assert!(
            server(Error::InvalidCertificate(CertificateError::Expired)).contains("client's certificate")
        );
        let told = server(Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType));
        assert!(told.contains("plain HTTP") && told.contains("https://"), "{told}");
    }
}
