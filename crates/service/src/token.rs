//! Bearer tokens: JWT (RFC 7519) signed with HMAC-SHA256, checked along RFC 8725.
//!
//! One algorithm, never the one a token names; keys that a token brings along are ignored. A token says who it is for (`sub`, `role`),
//! which collectors it is meant for (`aud`), when it was made and ends (`iat`, `exp`, at most a day apart unless a collector allows
//! more), and what it is called (`jti`), so that it can be taken back. One that leaves any of these out is refused.

use std::{
    sync::Once,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::ErrorKind,
};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    identity::{Identity, Name, NameError, Role},
    secret::Secret,
};

/// Longest token, in bytes.
const MAX_BYTES: usize = 4096;
/// Longest id of a token, in bytes.
const MAX_ID: usize = 128;
/// Shortest secret, in bytes (RFC 7518 section 3.2).
const MIN_SECRET: usize = 32;
/// How far clocks may be apart, in seconds.
const LEEWAY: u64 = 60;
/// Whom tokens are meant for when nothing else is configured.
pub const AUDIENCE: &str = "lapwing";
/// How long a token may live when nothing else is configured.
pub const MAX_LIFE: Duration = Duration::from_secs(86_400);

/// A token that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Who bears it.
    pub identity: Identity,
    /// What it is called.
    pub id: String,
    /// Until when it is taken: its end, and the minute by which clocks may be apart.
    pub expires_at: SystemTime,
}

/// What a token says, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// The agent's id, or the user's name.
    pub sub: Option<String>,
    /// What the bearer may do.
    pub role: Option<String>,
    /// Whom it is meant for.
    pub aud: Option<Audience>,
    /// When it was made, in seconds since the Unix epoch.
    pub iat: Option<u64>,
    /// End of validity, in seconds since the Unix epoch.
    pub exp: Option<u64>,
    /// What it is called.
    pub jti: Option<String>,
}

/// One audience, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// Why a token was not made or not taken. No text of a token's maker is in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// The secret is too short to be one.
    #[error(
        "the token secret has {0} bytes, it needs at least {MIN_SECRET}; make one with `openssl rand -hex 32`"
    )]
    ShortSecret(usize),
    /// The token is too long to be looked at.
    #[error("the token is refused: it has {0} bytes, at most {MAX_BYTES} are taken")]
    TooLong(usize),
    /// Anybody can have written it.
    #[error("the token is refused: it is not signed with this collector's secret")]
    NotSigned,
    /// It can't be read.
    #[error("the token is refused: it is not a JWT with the claims of a token")]
    Malformed,
    /// Its time is over.
    #[error("the token is refused: it has expired; make a new one with `lapwing token create`")]
    Expired,
    /// Its time has not come.
    #[error("the token is refused: it is not valid yet; is the clock of one of the two machines wrong?")]
    Early,
    /// A claim is missing.
    #[error(
        "the token is refused: it has no {0}, as tokens of earlier versions; make a new one with `lapwing token create`"
    )]
    Missing(&'static str),
    /// Meant for somebody else.
    #[error("the token is refused: its audience (aud) is another; expected {0:?}")]
    Audience(String),
    /// Valid for too long.
    #[error(
        "the token is refused: it is made for more than {} h; make one with a shorter --ttl, or raise [auth] token_max_hours",
        .0.as_secs() / 3600
    )]
    TooLongLived(Duration),
    /// It asks for what is not known here.
    #[error("the token is refused: it asks for extensions (crit)")]
    Extensions,
    /// Neither an agent nor a user.
    #[error("the token is refused: its role is neither \"agent\" nor \"user\"")]
    Role,
    /// A name that is none.
    #[error("the token is refused: its sub is no name: {0}")]
    Name(#[from] NameError),
    /// An id that is none.
    #[error("the token is refused: its jti is empty or longer than {MAX_ID} bytes")]
    Id,
    /// It was not signed.
    #[error("the token can't be made: {0}")]
    Signing(String),
}

impl TokenError {
    /// Whether the token was signed with the secret: its bearer may be told what is wrong with it.
    pub fn is_of_an_acquaintance(&self) -> bool {
        !matches!(self, Self::TooLong(_) | Self::NotSigned | Self::Malformed)
    }
}

/// Makes and checks tokens with one secret.
#[derive(Clone)]
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    audience: String,
    max_life: Duration,
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
        Ok(Self {
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
            audience: AUDIENCE.to_owned(),
            max_life: MAX_LIFE,
        })
    }

    /// Tokens for another audience.
    #[must_use]
    pub fn for_audience(self, audience: String) -> Self {
        Self { audience, ..self }
    }

    /// Tokens that may live for another time.
    #[must_use]
    pub fn living_at_most(self, max_life: Duration) -> Self {
        Self { max_life, ..self }
    }

    /// A token for `identity`, valid for `ttl` from now.
    ///
    /// # Errors
    /// When signing fails.
    pub fn create(&self, identity: &Identity, ttl: Duration) -> Result<String, TokenError> {
        self.create_until(identity, SystemTime::now() + ttl)
    }

    /// A token for `identity`, valid until `end`.
    ///
    /// # Errors
    /// When signing fails.
    pub fn create_until(&self, identity: &Identity, end: SystemTime) -> Result<String, TokenError> {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (now, exp) = (seconds(SystemTime::now()), seconds(end));
        let claims = Claims {
            sub: Some(identity.name.to_string()),
            role: Some(identity.role.word().to_owned()),
            aud: Some(Audience::One(self.audience.clone())),
            iat: Some(now.min(exp)),
            exp: Some(exp),
            jti: Some(new_id()?),
        };
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding);
        signed.map_err(|error| TokenError::Signing(error.to_string()))
    }

    /// Who bears a token that is valid now.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self, token: &str) -> Result<Token, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::TooLong(token.len()));
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp"]);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        // Checked below, to tell one that is missing from one that is another.
        validation.validate_aud = false;
        let data = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation);
        let data = data.map_err(|error| refusal(error.kind()))?;
        if data.header.crit.is_some() {
            return Err(TokenError::Extensions);
        }
        self.check(data.claims)
    }

    fn check(&self, claims: Claims) -> Result<Token, TokenError> {
        let is_meant = match &claims.aud {
            None => return Err(TokenError::Missing("audience (aud)")),
            Some(Audience::One(one)) => *one == self.audience,
            Some(Audience::Several(several)) => several.contains(&self.audience),
        };
        if !is_meant {
            return Err(TokenError::Audience(self.audience.clone()));
        }

        let exp = claims.exp.ok_or(TokenError::Missing("end (exp)"))?;
        let made = claims.iat.ok_or(TokenError::Missing("time of its making (iat)"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if made > now.saturating_add(LEEWAY) {
            return Err(TokenError::Early);
        }
        if exp.saturating_sub(made) > self.max_life.as_secs() {
            return Err(TokenError::TooLongLived(self.max_life));
        }

        let id = claims.jti.ok_or(TokenError::Missing("id (jti)"))?;
        if !(1..=MAX_ID).contains(&id.len()) {
            return Err(TokenError::Id);
        }
        let role = match claims.role.as_deref() {
            None => return Err(TokenError::Missing("role")),
            Some("agent") => Role::Agent,
            Some("user") => Role::User,
            Some(_) => return Err(TokenError::Role),
        };
        let name = Name::parse(&claims.sub.ok_or(TokenError::Missing("name (sub)"))?)?;
        // No overflow: it lives for `max_life` at most from now on.
        let expires_at = UNIX_EPOCH + Duration::from_secs(exp.saturating_add(LEEWAY));
        Ok(Token { identity: Identity { role, name }, id, expires_at })
    }
}

/// What a token says, unchecked: to look at, never to trust.
///
/// # Errors
/// When it is not a token at all.
pub fn inspect(token: &str) -> Result<Claims, TokenError> {
    install_provider();
    let read = jsonwebtoken::dangerous::insecure_decode::<Claims>(token);
    read.map(|data| data.claims).map_err(|_| TokenError::Malformed)
}

/// The library's words hold parts of the token, whoever wrote them: only the kind of its error is told.
fn refusal(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::Early,
        ErrorKind::MissingRequiredClaim(_) => TokenError::Missing("end (exp)"),
        ErrorKind::InvalidToken | ErrorKind::Base64(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) => {
            TokenError::Malformed
        }
        _ => TokenError::NotSigned,
    }
}

fn new_id() -> Result<String, TokenError> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| TokenError::Signing("the system gives no random bytes".to_owned()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
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

    fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    fn good() -> serde_json::Value {
        let (iat, exp) = (now(), now() + 60);
        serde_json::json!({"sub": "a", "exp": exp, "iat": iat, "role": "user", "aud": "lapwing", "jti": "1"})
    }

    fn changed(key: &str, value: serde_json::Value) -> String {
        let mut claims = good();
        claims[key] = value;
        signed(&claims)
    }

    fn without(key: &str) -> String {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(key);
        signed(&claims)
    }

    #[test]
    fn a_token_says_what_it_was_made_with_and_each_has_its_own_id() {
        let agent = Identity::agent("agent-001").unwrap();
        let token = tokens().create(&agent, Duration::from_secs(60)).unwrap();
        let checked = tokens().verify(&token).unwrap();
        assert_eq!(checked.identity, agent);
        let claims = inspect(&token).unwrap();
        assert_eq!((claims.jti.as_deref(), claims.role.as_deref()), (Some(&*checked.id), Some("agent")));
        let other = tokens().create(&agent, Duration::from_secs(60)).unwrap();
        assert_ne!(tokens().verify(&other).unwrap().id, checked.id);
    }

    #[test]
    fn every_other_token_is_refused() {
        let tokens = tokens();
        assert_eq!(tokens.verify(&signed(&good())).unwrap().identity, Identity::user("a").unwrap());
        let token = signed(&good());
        let parts: Vec<&str> = token.split('.').collect();
        let other = Tokens::new(&Secret::new("another secret of enough length!")).unwrap();
        let none_header = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        let rs_header = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
        let bad = [
            changed("exp", (now() - 120).into()),
            changed("exp", "9999999999".into()),
            changed("exp", (-1).into()),
            changed("exp", serde_json::Value::Null),
            changed("exp", u64::MAX.into()),
            changed("exp", (1u64 << 63).into()),
            changed("sub", "".into()),
            changed("sub", 5.into()),
            changed("sub", "../x".into()),
            changed("sub", "user/me".into()),
            changed("sub", "a\nb".into()),
            changed("nbf", (now() + 600).into()),
            changed("iat", (now() + 600).into()),
            changed("role", "admin".into()),
            changed("role", 1.into()),
            changed("aud", "somebody else".into()),
            changed("aud", serde_json::json!([])),
            changed("jti", "".into()),
            changed("jti", "x".repeat(200).into()),
            without("exp"),
            without("sub"),
            without("aud"),
            without("iat"),
            without("jti"),
            without("role"),
            other.create(&Identity::agent("a").unwrap(), Duration::from_secs(60)).unwrap(),
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
    fn a_token_of_an_earlier_version_is_told_how_to_be_replaced() {
        let old = signed(&serde_json::json!({"sub": "web-1", "exp": now() + 7_776_000, "role": "agent"}));
        let error = tokens().verify(&old).unwrap_err();
        assert!(error.is_of_an_acquaintance());
        let told = error.to_string();
        assert!(told.contains("no audience (aud)") && told.contains("`lapwing token create`"), "{told}");
    }

    #[test]
    fn a_token_lives_a_day_unless_more_is_allowed() {
        let week = Duration::from_secs(7 * 86_400);
        let token = tokens().create(&Identity::user("me").unwrap(), week).unwrap();
        assert_eq!(tokens().verify(&token), Err(TokenError::TooLongLived(MAX_LIFE)));
        assert!(tokens().living_at_most(week).verify(&token).is_ok());
        // Neither does it begin to be valid on its last day.
        let token = changed("iat", (now() - 10 * 86_400).into());
        assert_eq!(tokens().verify(&token), Err(TokenError::TooLongLived(MAX_LIFE)));
    }

    #[test]
    fn an_audience_may_be_one_of_several_and_another_collector_has_another() {
        let several = changed("aud", serde_json::json!(["grafana", "lapwing"]));
        assert!(tokens().verify(&several).is_ok());
        let east = tokens().for_audience("east".to_owned());
        assert_eq!(east.verify(&several), Err(TokenError::Audience("east".to_owned())));
    }

    #[test]
    fn a_refusal_holds_nothing_that_the_tokens_maker_wrote() {
        // {"alg":"none\n2026 INFO lease given agent=\"admin\""}
        let header = "eyJhbGciOiJub25lXG4yMDI2IElORk8gbGVhc2UgZ2l2ZW4gYWdlbnQ9XCJhZG1pblwiIn0";
        let error = tokens().verify(&format!("{header}.x.x")).unwrap_err();
        assert!(!error.to_string().contains("lease") && !error.is_of_an_acquaintance(), "{error}");
    }

    #[test]
    fn a_short_secret_is_refused_and_no_secret_is_printed() {
        assert!(matches!(Tokens::new(&Secret::new("short")), Err(TokenError::ShortSecret(5))));
        assert!(!format!("{:?} {:?}", Secret::new(SECRET), tokens()).contains(SECRET));
    }
}
