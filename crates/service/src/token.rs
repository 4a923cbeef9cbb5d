//! Bearer tokens: JWT (RFC 7519) signed with HMAC-SHA256, checked along RFC 8725.
//!
//! One algorithm, never the one a token names; `exp` and `sub` required; keys that a token brings along are ignored.

use std::{
    sync::Once,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::ErrorKind,
};
use ring::hmac;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::secret::Secret;

/// Longest token, in bytes.
const MAX_BYTES: usize = 4096;
/// Shortest secret, in bytes (RFC 7518 section 3.2).
const MIN_SECRET: usize = 32;
/// How far clocks may be apart, in seconds.
const LEEWAY: u64 = 60;

/// What the bearer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Send telemetry as the agent that `sub` names.
    Agent,
    /// Ask.
    User,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The agent's id, or the user's name.
    pub sub: String,
    /// End of validity, seconds since the Unix epoch.
    pub exp: u64,
    /// What the bearer may do.
    #[serde(default = "agent")]
    pub role: Role,
}

fn agent() -> Role {
    Role::Agent
}

/// Why a token was not made or not taken. The text is for the own log; a caller is only told that it was refused.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The secret is too short to be one.
    #[error(
        "the token secret has {0} bytes, it needs at least {MIN_SECRET}; make one with `openssl rand -hex 32`"
    )]
    ShortSecret(usize),
    /// The token is too long to be looked at.
    #[error("the token has {0} bytes, at most {MAX_BYTES} are taken")]
    TooLong(usize),
    /// Refused.
    #[error("the token is refused: {0}")]
    Refused(String),
}

/// Makes and checks tokens with one secret.
#[derive(Clone)]
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(***)")
    }
}

impl Tokens {
    /// Takes the secret.
    ///
    /// # Errors
    /// When it has less than 32 bytes.
    pub fn new(secret: &Secret) -> Result<Self, TokenError> {
        install_provider();
        let bytes = secret.expose().as_bytes();
        if bytes.len() < MIN_SECRET {
            return Err(TokenError::ShortSecret(bytes.len()));
        }
        Ok(Self { encoding: EncodingKey::from_secret(bytes), decoding: DecodingKey::from_secret(bytes) })
    }

    /// A token for `subject`, valid for `ttl` from now.
    ///
    /// # Errors
    /// When signing fails.
    pub fn create(&self, subject: &str, role: Role, ttl: Duration) -> Result<String, TokenError> {
        self.create_until(subject, role, SystemTime::now() + ttl)
    }

    /// A token for `subject`, valid until `end`.
    ///
    /// # Errors
    /// When signing fails.
    pub fn create_until(&self, subject: &str, role: Role, end: SystemTime) -> Result<String, TokenError> {
        let exp = end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = Claims { sub: subject.to_owned(), exp, role };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(refused)
    }

    /// What a valid token says.
    ///
    /// # Errors
    /// When it is not valid now.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::TooLong(token.len()));
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        // Tokens are not made for an audience, and one that names some other is not for us.
        validation.validate_aud = true;
        let data = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).map_err(refused)?;
        if data.header.crit.is_some() {
            return Err(TokenError::Refused("it asks for extensions (crit)".to_owned()));
        }
        if data.claims.sub.is_empty() {
            return Err(TokenError::Refused("its sub is empty".to_owned()));
        }
        Ok(data.claims)
    }
}

/// What a token says, unchecked: to look at, never to trust.
///
/// # Errors
/// When it is not a token at all.
pub fn inspect(token: &str) -> Result<Claims, TokenError> {
    install_provider();
    jsonwebtoken::dangerous::insecure_decode::<Claims>(token).map(|data| data.claims).map_err(refused)
}

fn refused(error: jsonwebtoken::errors::Error) -> TokenError {
    TokenError::Refused(error.to_string())
}

/// HMAC-SHA256 by ring: the library's own choices are a second TLS-sized library, or one with a known side channel.
struct HmacSha256(hmac::Key);

impl signature::Signer<Vec<u8>> for HmacSha256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl signature::Verifier<Vec<u8>> for HmacSha256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        hmac::verify(&self.0, message, signature).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

fn install_provider() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| match algorithm {
            Algorithm::HS256 => Ok(Box::new(HmacSha256(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())))),
            _ => Err(ErrorKind::InvalidAlgorithm.into()),
        },
        verifier_factory: |algorithm, key| match algorithm {
            Algorithm::HS256 => {
                Ok(Box::new(HmacSha256(hmac::Key::new(hmac::HMAC_SHA256, key.try_get_as_bytes()?))))
            }
            _ => Err(ErrorKind::InvalidAlgorithm.into()),
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    static INSTALLED: Once = Once::new();
    // Another provider can't be there: only this crate uses the library.
    INSTALLED.call_once(|| _ = PROVIDER.install_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn tokens() -> Tokens {
        Tokens::new(&Secret::new(SECRET)).unwrap()
    }

    fn signed(claims: &serde_json::Value) -> String {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
    }

    #[test]
    fn a_token_says_what_it_was_made_with() {
        let token = tokens().create("agent-001", Role::Agent, Duration::from_secs(60)).unwrap();
        let claims = tokens().verify(&token).unwrap();
        assert_eq!((claims.sub.as_str(), claims.role), ("agent-001", Role::Agent));
        assert_eq!(inspect(&token).unwrap(), claims);
    }

    #[test]
    fn every_other_token_is_refused() {
        let tokens = tokens();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let good = serde_json::json!({"sub": "a", "exp": now + 60, "role": "user"});
        assert_eq!(tokens.verify(&signed(&good)).unwrap().role, Role::User);
        let changed = |key: &str, value: serde_json::Value| {
            let mut claims = good.clone();
            claims[key] = value;
            signed(&claims)
        };
        let without = |key: &str| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(key);
            signed(&claims)
        };
        let token = signed(&good);
        let parts: Vec<&str> = token.split('.').collect();
        let other = Tokens::new(&Secret::new("another secret of enough length!")).unwrap();
        let none_header = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        let rs_header = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
        let bad = [
            changed("exp", (now - 120).into()),
            changed("exp", "9999999999".into()),
            changed("exp", (-1).into()),
            changed("exp", serde_json::Value::Null),
            changed("sub", "".into()),
            changed("sub", 5.into()),
            changed("nbf", (now + 600).into()),
            changed("role", "admin".into()),
            changed("role", 1.into()),
            changed("aud", "somebody else".into()),
            without("exp"),
            without("sub"),
            other.create("a", Role::Agent, Duration::from_secs(60)).unwrap(),
            format!("{none_header}.{}.", parts[1]),
            format!("{none_header}.{}.{}", parts[1], parts[2]),
            format!("{rs_header}.{}.{}", parts[1], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{}.{}.{}x", parts[0], parts[1], parts[2]),
            format!("{}.{}A.{}", parts[0], parts[1], parts[2]),
            format!("{token}.{}", parts[2]),
            format!(" {token}"),
            String::new(),
            "..".to_owned(),
            "a.b.c".to_owned(),
            "x".repeat(5000),
            "\u{0}".repeat(10),
        ];
        for token in bad {
            assert!(tokens.verify(&token).is_err(), "{token}");
        }
    }

    #[test]
    fn a_short_secret_is_refused_and_no_secret_is_printed() {
        assert!(matches!(Tokens::new(&Secret::new("short")), Err(TokenError::ShortSecret(5))));
        assert!(!format!("{:?} {:?}", Secret::new(SECRET), tokens()).contains(SECRET));
    }
}
