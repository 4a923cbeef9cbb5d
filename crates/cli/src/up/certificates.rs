//! The certificates of the data folder: made at the first start, kept from then on.

use std::time::{Duration, SystemTime};

use lapwing_service::{
    certs::Authority,
    identity::{Identity, Name, Role},
    tls,
};

use crate::{
    exit::{Exit, Failure, OrExit},
    home::Home,
    name,
};

/// Who asks from this machine.
const USER: &str = "me";
/// A certificate is renewed so long before its end.
const EARLY: Duration = Duration::from_secs(30 * 86_400);

/// Name of the machine.
pub(super) fn host_name() -> String {
    name::nearest(&rustix::system::uname().nodename().to_string_lossy())
}

/// The agent of this machine.
pub(super) fn agent(id: &str) -> Identity {
    // The nearest name to that of the host is one.
    Identity { role: Role::Agent, name: Name::parse(id).unwrap_or_else(|_| Name::local()) }
}

/// The user of this machine.
pub(super) fn user() -> Identity {
    Identity { role: Role::User, name: Name::parse(USER).unwrap_or_else(|_| Name::local()) }
}

/// Makes what is missing, and again what ends before long: the authority, the collector's certificate, the agent's and the user's.
pub(super) fn make_missing(home: &Home, agent_id: &str) -> Result<(), Failure> {
    let authority = Authority::open_or_create(&home.certs()).or_exit(Exit::Broke)?;
    if !is_there(home, &authority, "server")? {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), host_name()];
        authority.server(&names).or_exit(Exit::Broke)?;
    }
    for identity in [agent(agent_id), user()] {
        if !is_there(home, &authority, &identity.stem())? {
            authority.client(&identity).or_exit(Exit::Broke)?;
        }
    }
    Ok(())
}

/// Whether there is a certificate; one that ends before long is renewed.
fn is_there(home: &Home, authority: &Authority, stem: &str) -> Result<bool, Failure> {
    let path = home.cert(&format!("{stem}.pem"));
    if !path.exists() {
        return Ok(false);
    }
    let validity = tls::validity(&path).or_exit(Exit::Broke)?;
    if validity.expires_at < SystemTime::now() + EARLY {
        authority.renew(stem).or_exit(Exit::Broke)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::home::HomeArgs;

    #[test]
    fn what_ends_before_long_is_renewed() {
        let root = tempfile::tempdir().unwrap();
        let home = HomeArgs::at(root.path()).home().unwrap();
        let authority = Authority::open_or_create(&home.certs()).unwrap().for_days(3);
        authority.server(&["localhost".to_owned()]).unwrap();
        let before = fs::read(home.cert("server.pem")).unwrap();
        make_missing(&home, "web-1").unwrap();
        assert_ne!(fs::read(home.cert("server.pem")).unwrap(), before);
        assert!(tls::validity(&home.cert("server.pem")).unwrap().expires_at > SystemTime::now() + EARLY);
    }

    #[test]
    fn what_was_made_once_is_kept_and_a_renamed_machine_gets_its_own() {
        let root = tempfile::tempdir().unwrap();
        let home = HomeArgs::at(root.path()).home().unwrap();
        make_missing(&home, "web-1").unwrap();
        let kept = |name: &str| fs::read(home.cert(name)).unwrap();
        let (ca, server, user) = (kept("ca.pem"), kept("server.pem"), kept("user-me.pem"));
        make_missing(&home, "web-2").unwrap();
        assert_eq!((ca, server, user), (kept("ca.pem"), kept("server.pem"), kept("user-me.pem")));
        assert_ne!(kept("agent-web-1.pem"), kept("agent-web-2.pem"));
    }
}
