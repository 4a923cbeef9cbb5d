//! From when until when a certificate is valid.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use x509_parser::prelude::{ASN1Time, X509Certificate};

use crate::identity::time;

/// An end that is nearer than this is told as a warning.
pub const SOON: Duration = Duration::from_secs(7 * 86_400);

/// From when until when a certificate is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    file: String,
    begins_at: SystemTime,
    /// Its end.
    pub expires_at: SystemTime,
}

/// How a certificate stands at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Valid for long.
    Good,
    /// Valid, and not for long: what to say about it.
    Ending(String),
    /// Not valid: what to say about it.
    Invalid(String),
}

impl Validity {
    pub(super) fn of(certificate: &X509Certificate<'_>, path: &Path) -> Self {
        let validity = certificate.validity();
        Self {
            file: path.display().to_string(),
            begins_at: time(validity.not_before.timestamp()),
            expires_at: time(validity.not_after.timestamp()),
        }
    }

    /// How the certificate stands at `now`.
    pub fn at(&self, now: SystemTime) -> Standing {
        let (file, end) = (&self.file, date(self.expires_at));
        if now < self.begins_at {
            let begin = date(self.begins_at);
            let now = date(now);
            return Standing::Invalid(format!(
                "the certificate {file} is valid from {begin} only, and the clock says {now}: is the clock right?"
            ));
        }
        match self.expires_at.duration_since(now) {
            Err(_) => Standing::Invalid(format!(
                "the certificate {file} expired at {end}; renew it (`lapwing certs renew`), it is read again at once"
            )),
            Ok(left) if left < SOON => Standing::Ending(format!(
                "the certificate {file} expires at {end}, in {}; renew it (`lapwing certs renew`)",
                words(left)
            )),
            Ok(_) => Standing::Good,
        }
    }

    /// Seconds until its end, negative after it.
    pub fn seconds_left(&self, now: SystemTime) -> f64 {
        match self.expires_at.duration_since(now) {
            Ok(left) => left.as_secs_f64(),
            Err(over) => -over.duration().as_secs_f64(),
        }
    }
}

fn words(left: Duration) -> String {
    match left.as_secs() / 3600 {
        0 => "less than an hour".to_owned(),
        hours @ 1..48 => format!("{hours} h"),
        hours => format!("{} days", hours / 24),
    }
}

/// A time as people read it.
pub(super) fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = i64::try_from(seconds).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    time.map_or_else(|| format!("{seconds} s"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_of_before_its_end_and_after_it() {
        let day = Duration::from_secs(86_400);
        let begins_at = UNIX_EPOCH + day * 20_000;
        let validity = Validity { file: "a.pem".into(), begins_at, expires_at: begins_at + day * 90 };
        assert_eq!(validity.at(begins_at + day), Standing::Good);
        let Standing::Ending(told) = validity.at(begins_at + day * 87) else { panic!() };
        assert!(told.contains("a.pem expires at ") && told.contains("in 3 days"), "{told}");
        let Standing::Invalid(told) = validity.at(begins_at + day * 91) else { panic!() };
        assert!(told.contains("expired at ") && told.contains("lapwing certs renew"), "{told}");
        let Standing::Invalid(told) = validity.at(begins_at - day) else { panic!() };
        assert!(told.contains("is the clock right?"), "{told}");
        assert_eq!(validity.seconds_left(begins_at + day * 91), -86_400.0);
    }
}
