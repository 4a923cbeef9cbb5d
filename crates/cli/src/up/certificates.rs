//! The certificates of the data folder: made at the first start, kept from then on.

use lapwing_service::{certs::Authority, tls::Identity};

use crate::{
    certs,
    exit::{Exit, Failure, OrExit},
    home::Home,
    name,
};

/// Who asks from this machine.
const USER: &str = "me";

/// Name of the machine.
pub(super) fn host_name() -> String {
    name::nearest(&rustix::system::uname().nodename().to_string_lossy())
}

/// The agent of this machine.
pub(super) fn agent(id: &str) -> Identity {
    Identity::Agent(id.to_owned())
}

/// The user of this machine.
pub(super) fn user() -> Identity {
    Identity::User(USER.to_owned())
}

/// Makes what is missing: the authority, the collector's certificate, the agent's and the user's.
pub(super) fn make_missing(home: &Home, agent_id: &str) -> Result<(), Failure> {
    let authority = Authority::open_or_create(&home.certs()).or_exit(Exit::Broke)?;
    if !home.cert("server.pem").exists() {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), host_name()];
        authority.server(&names).or_exit(Exit::Broke)?;
    }
    for identity in [agent(agent_id), user()] {
        if !home.cert(&format!("{}.pem", certs::stem(&identity))).exists() {
            authority.client(&identity).or_exit(Exit::Broke)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::home::HomeArgs;

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
