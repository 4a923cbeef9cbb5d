//! The configs that `lapwing up` writes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use lapwing_service::identity::Identity;

use super::{certificates, folder};
use crate::{
    escape,
    exit::{Exit, Failure, OrExit},
    home::Home,
    ports::{self, Ports},
};

/// What is tailed when nothing else is asked for. Systems without systemd's journal write these.
const USUAL_LOGS: [&str; 5] =
    ["/var/log/**/*.log", "/var/log/syslog", "/var/log/messages", "/var/log/secure", "/var/log/cron"];

/// What is to be started, and where.
pub(super) struct Plan<'a> {
    home: &'a Home,
    ports: Ports,
    agent_id: String,
    logs: Vec<String>,
}

impl<'a> Plan<'a> {
    /// Plans for this machine; without `logs` its usual log files are tailed.
    pub(super) fn new(home: &'a Home, ports: Ports, logs: &[String]) -> Result<Self, Failure> {
        if home.path().to_str().is_none() {
            let path = home.path().display();
            return Err(Exit::Usage.because(anyhow!(
                "{path} is not UTF-8, which a config can't name; choose another --data-dir"
            )));
        }
        let logs = match logs {
            [] => USUAL_LOGS.map(str::to_owned).into(),
            // The agent may look from another folder.
            logs => logs.iter().map(|glob| absolute(glob)).collect::<Result<_>>().or_exit(Exit::Usage)?,
        };
        Ok(Self { home, ports, agent_id: certificates::host_name(), logs })
    }

    /// The data folder.
    pub(super) fn home(&self) -> &Home {
        self.home
    }

    /// The ports.
    pub(super) fn ports(&self) -> Ports {
        self.ports
    }

    /// The id of this machine's agent.
    pub(super) fn agent_id(&self) -> &str {
        &self.agent_id
    }

    /// The collector's config.
    pub(super) fn collector_config(&self) -> PathBuf {
        self.home.path().join("collector.toml")
    }

    /// The agent's config.
    pub(super) fn agent_config(&self) -> PathBuf {
        self.home.path().join("agent.toml")
    }

    /// Writes all three configs.
    pub(super) fn write(&self) -> Result<()> {
        folder::write(&self.collector_config(), &self.collector())?;
        folder::write(&self.agent_config(), &self.agent())?;
        folder::write(&self.home.client_config(), &self.client())
    }

    fn collector(&self) -> String {
        let Ports { grpc, http, .. } = self.ports;
        format!(
            r#"# written by `lapwing up` at each start

[server]
grpc_addr = "{}"
http_addr = "{}"
data_dir = {}

[tls]
cert_file = {}
key_file = {}
client_ca_file = {}

[auth]
mode = "mtls"

[storage]
backend = "ducklake"
"#,
            ports::local(grpc),
            ports::local(http),
            quoted_path(&self.home.path().join("collector")),
            self.cert("server.pem"),
            self.cert("server.key"),
            self.cert("ca.pem"),
        )
    }

    fn agent(&self) -> String {
        let own_logs = self.home.logs().join("*.log").display().to_string();
        let files: Vec<String> = self.logs.iter().chain([&own_logs]).map(|glob| quoted(glob)).collect();
        format!(
            r#"# written by `lapwing up` at each start

[agent]
id = {}
state_dir = {}
admin_addr = "{}"

{}
[collectors.logs]
enabled = true
files = [
    {},
]
start_at = "beginning"

[collectors.metrics]
enabled = true
system_interval_secs = 10
"#,
            quoted(&self.agent_id),
            quoted_path(&self.home.path().join("agent")),
            ports::local(self.ports.admin),
            self.collector_table(&certificates::agent(&self.agent_id)),
            files.join(",\n    "),
        )
    }

    fn client(&self) -> String {
        let header = "# written by `lapwing up` at each start; `lapwing query` and `lapwing tail` read it";
        format!("{header}\n\n{}", self.collector_table(&certificates::user()))
    }

    fn collector_table(&self, identity: &Identity) -> String {
        let stem = identity.stem();
        format!(
            "[collector]\nendpoint = \"https://{}\"\nca_file = {}\ncert_file = {}\nkey_file = {}\n",
            ports::local(self.ports.grpc),
            self.cert("ca.pem"),
            self.cert(&format!("{stem}.pem")),
            self.cert(&format!("{stem}.key")),
        )
    }

    fn cert(&self, name: &str) -> String {
        quoted_path(&self.home.cert(name))
    }
}

fn absolute(glob: &str) -> Result<String> {
    let path = std::path::absolute(glob).with_context(|| format!("--logs {glob}"))?;
    Ok(path.display().to_string())
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// A TOML string in which nothing is taken for a variable. JSON's escapes are TOML's too.
fn quoted(text: &str) -> String {
    escape::json(serde_json::Value::from(text.replace("${", "$${")).to_string())
}

#[cfg(test)]
mod tests {
    use lapwing_service::config::{Reader, Section};

    use super::*;
    use crate::{connection::Target, home::HomeArgs};

    const ODD: &str = "/tmp/a \"b\" \\ ${HOME}\u{7f}/data";

    fn plan(home: &Home) -> Plan<'_> {
        Plan::new(home, Ports::from(9000), &[]).unwrap()
    }

    fn odd() -> Home {
        HomeArgs::at(Path::new(ODD)).home().unwrap()
    }

    fn strings(section: &Section<'_>, keys: &[&str]) -> Vec<String> {
        let values = keys.iter().map(|key| section.string(key).unwrap_or_default()).collect();
        section.finish();
        values
    }

    #[test]
    fn the_collectors_config_has_what_a_collector_reads() {
        let home = odd();
        let read = Reader::new("collector.toml", plan(&home).collector()).read(|root| {
            let server = strings(&root.section("server"), &["grpc_addr", "http_addr", "data_dir"]);
            let tls = strings(&root.section("tls"), &["cert_file", "key_file", "client_ca_file"]);
            let mode = strings(&root.section("auth"), &["mode"]);
            let backend = strings(&root.section("storage"), &["backend"]);
            Some((server, tls, mode, backend))
        });
        let (server, tls, mode, backend) = read.unwrap();
        assert_eq!(server, ["127.0.0.1:9000", "127.0.0.1:9001", &format!("{ODD}/collector")]);
        assert_eq!(tls[2], format!("{ODD}/certs/ca.pem"));
        assert_eq!((mode[0].as_str(), backend[0].as_str()), ("mtls", "ducklake"));
    }

    #[test]
    fn the_agents_config_has_what_an_agent_reads() {
        let home = odd();
        let plan = plan(&home);
        let read = Reader::new("agent.toml", plan.agent()).read(|root| {
            let agent = strings(&root.section("agent"), &["id", "state_dir", "admin_addr"]);
            let keys = ["endpoint", "ca_file", "cert_file", "key_file"];
            let collector = strings(&root.section("collector"), &keys);
            let collectors = root.section("collectors");
            let (logs, metrics) = (collectors.section("logs"), collectors.section("metrics"));
            let files = logs.strings("files")?;
            let enabled = (logs.bool("enabled"), metrics.bool("enabled"));
            let rest = (logs.string("start_at"), metrics.number("system_interval_secs", 1, 60));
            [logs, metrics, collectors].iter().for_each(Section::finish);
            Some((agent, collector, files, enabled, rest))
        });
        let (agent, collector, files, enabled, rest) = read.unwrap();
        assert_eq!(agent, [plan.agent_id(), &format!("{ODD}/agent"), "127.0.0.1:9002"]);
        assert_eq!(collector[2], format!("{ODD}/certs/agent-{}.pem", plan.agent_id()));
        assert_eq!(files.last(), Some(&format!("{ODD}/logs/*.log")), "its own logs are tailed too");
        assert_eq!((enabled, rest), ((Some(true), Some(true)), (Some("beginning".to_owned()), Some(10))));
    }

    #[test]
    fn the_clients_config_is_what_query_and_tail_read() {
        let home = odd();
        let target = Target::from_reader(Reader::new("client.toml", plan(&home).client())).unwrap();
        assert_eq!(target.endpoint, "https://127.0.0.1:9000");
        assert_eq!(target.cert, Some(home.cert("user-me.pem")));
    }

    #[test]
    fn globs_that_are_asked_for_stand_in_for_the_usual_ones() {
        let home = odd();
        let plan = Plan::new(&home, Ports::from(9000), &["app/*.log".to_owned()]).unwrap();
        let [glob] = &plan.logs[..] else { panic!("{:?}", plan.logs) };
        assert!(glob.starts_with('/') && glob.ends_with("/app/*.log"), "{glob}");
    }
}
