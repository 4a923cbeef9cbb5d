//! Certificates, keys and configs of the data folder.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use lapwing_service::{
    modes,
    tls::{self, Standing},
};

use super::Finding;
use crate::home::Home;

/// Whether the certificates are valid, and who else may read keys or write configs. Nothing is said of a folder that has none yet.
pub(super) fn certificates(home: &Home) -> Vec<Finding> {
    let files = files(&home.certs());
    let with_end = |end: &'static str| {
        files.iter().filter(move |path| path.extension().is_some_and(|found| found == end))
    };
    let mut findings: Vec<Finding> = with_end("pem").filter_map(|path| certificate(path)).collect();
    if findings.is_empty() && with_end("pem").next().is_some() {
        findings.push(Finding::good("certificates", "all are valid for a week and longer"));
    }

    let keys = with_end("key").filter_map(|path| modes::readable_by_others(path));
    findings.extend(keys.map(|told| warning("keys", &told)));
    let configs = ["collector.toml", "agent.toml", "client.toml"].map(|name| home.path().join(name));
    let configs = configs.iter().filter_map(|path| modes::writable_by_others(path));
    findings.extend(configs.map(|told| warning("configs", &told)));
    findings
}

fn certificate(path: &Path) -> Option<Finding> {
    let validity = match tls::validity(path) {
        Ok(validity) => validity,
        Err(error) => {
            return Some(Finding::fault(
                "certificates",
                error.to_string(),
                "make it again with `lapwing certs create`",
            ));
        }
    };
    match validity.at(SystemTime::now()) {
        Standing::Good => None,
        Standing::Ending(told) => Some(warning("certificates", &told)),
        Standing::Invalid(told) => Some(Finding::fault("certificates", told, "")),
    }
}

/// What is said holds what to do already.
fn warning(what: &'static str, told: &str) -> Finding {
    Finding::warning(what, told, "")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use lapwing_service::certs::Authority;

    use super::*;
    use crate::{doctor::Level, home::HomeArgs};

    #[test]
    fn a_certificate_that_ends_before_long_and_a_key_that_others_may_read_are_told() {
        let root = tempfile::tempdir().unwrap();
        let home = HomeArgs::at(root.path()).home().unwrap();
        assert_eq!(certificates(&home), []);
        let authority = Authority::open_or_create(&home.certs()).unwrap();
        authority.server(&["localhost".to_owned()]).unwrap();
        let [good] = &certificates(&home)[..] else { panic!() };
        assert_eq!(good.level, Level::Good);

        authority.for_days(3).renew("server").unwrap();
        fs::set_permissions(home.cert("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(home.cert("agent-x.pem"), "nothing").unwrap();
        let findings = certificates(&home);
        let of = |level: Level| findings.iter().filter(move |finding| finding.level == level);
        assert!(of(Level::Fault).any(|finding| finding.detail.contains("agent-x.pem")), "{findings:?}");
        let warnings: Vec<String> = of(Level::Warning).map(ToString::to_string).collect();
        assert!(
            warnings[0].contains("server.pem expires at") && warnings[1].contains("server.key"),
            "{warnings:?}"
        );
    }
}
