//! Whom nobody lets in any more: certificates, tokens and names in a file that is read again when it changes.
//!
//! ```text
//! # a line each; what follows a # is not read
//! certificate 3f:0a:91      the serial number, as `lapwing certs show` prints it
//! token       5b1c...       the jti, as `lapwing token inspect` prints it
//! agent       web-1         every credential of this agent
//! user        me            every credential of this user
//! ```

use std::{collections::HashSet, fs, io::Read, path::Path};

use crate::identity::{self, Identity, Name, Role};

/// Largest file, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// What the file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    certificates: HashSet<String>,
    tokens: HashSet<String>,
    identities: HashSet<Identity>,
}

impl Revoked {
    /// Reads the file.
    ///
    /// # Errors
    /// When it can't be read, or a line is none of these, with its number.
    pub fn open(path: &Path) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("{}: can't be read: {error}", path.display());
        let file = fs::File::open(path).map_err(fail)?;
        let mut text = String::new();
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(fail)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(format!("{}: has more than {MAX_BYTES} bytes", path.display()));
        }
        Self::parse(&text).map_err(|(line, reason)| format!("{}:{line}: {reason}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut revoked = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [] => {}
                [kind, word] => revoked.add(kind, word).map_err(|reason| (number, reason))?,
                _ => return Err((number, "expected a kind and a value, such as `agent web-1`".to_owned())),
            }
        }
        Ok(revoked)
    }

    fn add(&mut self, kind: &str, word: &str) -> Result<(), String> {
        let name = |word: &str| Name::parse(word).map_err(|error| error.to_string());
        match kind {
            "certificate" => {
                let serial = identity::serial(word);
                let serial = serial.ok_or("expected a serial number in hexadecimal digits")?;
                self.certificates.insert(serial);
            }
            "token" => _ = self.tokens.insert(word.to_owned()),
            "agent" => _ = self.identities.insert(Identity { role: Role::Agent, name: name(word)? }),
            "user" => _ = self.identities.insert(Identity { role: Role::User, name: name(word)? }),
            _ => return Err("expected `certificate`, `token`, `agent` or `user` at the start".to_owned()),
        }
        Ok(())
    }

    /// Whether the certificate with this serial number is on the list.
    pub fn has_certificate(&self, serial: &str) -> bool {
        self.certificates.contains(serial)
    }

    /// Whether the token with this id is on the list.
    pub fn has_token(&self, id: &str) -> bool {
        self.tokens.contains(id)
    }

    /// Whether everything of this identity is on the list.
    pub fn has(&self, identity: &Identity) -> bool {
        self.identities.contains(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_takes_one_away_and_a_wrong_line_is_told_with_its_number() {
        let text = "# stolen\ncertificate 00:3F:0a # laptop\n\ntoken abc\nagent web-1\nuser me\n";
        let revoked = Revoked::parse(text).unwrap();
        assert!(revoked.has_certificate("3f0a") && !revoked.has_certificate("3f0b"));
        assert!(revoked.has_token("abc") && !revoked.has_token("abd"));
        assert!(
            revoked.has(&Identity::agent("web-1").unwrap())
                && !revoked.has(&Identity::user("web-1").unwrap())
        );
        for (bad, expected) in [
            ("agent", "a kind and a value"),
            ("\nagents web-1", "expected `certificate`"),
            ("certificate xyz", "hexadecimal"),
            ("user ../me", "letters, digits"),
        ] {
            let (line, reason) = Revoked::parse(bad).unwrap_err();
            assert!(line == bad.lines().count() && reason.contains(expected), "{bad}: {reason}");
        }
    }
}
