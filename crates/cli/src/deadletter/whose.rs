//! Whose dead letters: the agent's state directory, and how that agent reaches its collector.

use std::path::{Path, PathBuf};

use lapwing_service::{
    config::{ConfigErrors, Reader},
    secret::Secret,
};

use super::{Letters, folder};
use crate::{
    connection::{self, Target},
    exit::{Exit, Failure, OrExit},
};

/// Which agent.
#[derive(Debug, clap::Args)]
#[group(id = "whose", required = true, multiple = false)]
pub(crate) struct WhoseArgs {
    /// The agent's config: its state directory, its collector, and its certificate or token
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The agent's state directory
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl WhoseArgs {
    /// The agent's letters.
    pub(crate) fn letters(&self) -> Result<Letters, Failure> {
        let state_dir = match &self.state_dir {
            Some(folder) => folder.clone(),
            None => self.agent()?.map(|agent| agent.state_dir).unwrap_or_default(),
        };
        Letters::open(&folder(&state_dir))
    }

    /// What the config says, when one is given.
    pub(crate) fn agent(&self) -> Result<Option<Agent>, Failure> {
        self.config.as_deref().map(Agent::open).transpose()
    }
}

/// An agent's config, as far as it matters here.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Where it keeps its letters.
    pub(crate) state_dir: PathBuf,
    /// Its collector, and its certificate.
    pub(crate) target: Target,
    /// Its token.
    pub(crate) token: Option<Secret>,
    token_file: Option<PathBuf>,
}

impl Agent {
    fn open(path: &Path) -> Result<Self, Failure> {
        let mut agent = Reader::open(path).and_then(Self::from_reader).or_exit(Exit::Usage)?;
        if let Some(file) = &agent.token_file {
            agent.token = Some(connection::token_in(file)?);
        }
        Ok(agent)
    }

    /// The other keys are for the agent to judge: `lapwing config check` asks it.
    fn from_reader(reader: Reader) -> Result<Self, ConfigErrors> {
        reader.read(|root| {
            for table in ["buffer", "collectors"] {
                root.has(table);
            }
            let (agent, collector) = (root.section("agent"), root.section("collector"));
            let endpoint = collector.string("endpoint");
            if endpoint.is_none() && !collector.has("endpoint") {
                collector.problem(
                    "endpoint",
                    "is missing; expected a URL such as https://collector.example.com:7400",
                );
            }
            Some(Self {
                state_dir: agent.path("state_dir").unwrap_or_else(|| "/var/lib/lapwing/agent".into()),
                token: collector.secret("auth_token"),
                token_file: collector.path("auth_token_file"),
                target: Target {
                    endpoint: endpoint?,
                    ca: collector.path("ca_file"),
                    cert: collector.path("cert_file"),
                    key: collector.path("key_file"),
                },
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_config_says_where_its_letters_are_and_who_it_is() {
        let text = "[agent]\nid = 'a'\nstate_dir = '/s'\n[collector]\nendpoint = 'https://c:1'\ncert_file = '/c'\n\
                    auth_token = 't'\n[buffer]\nmax_events = 3\n[collectors.logs]\nenabled = true\n";
        let agent = Agent::from_reader(Reader::new("a.toml", text.to_owned())).unwrap();
        assert_eq!((agent.state_dir, agent.target.endpoint.as_str()), ("/s".into(), "https://c:1"));
        assert_eq!(agent.target.cert, Some("/c".into()));
        assert_eq!(agent.token.unwrap().expose(), "t");
    }

    #[test]
    fn a_config_without_a_collector_is_wrong() {
        let told = Agent::from_reader(Reader::new("a.toml", "[agent]\n".to_owned())).unwrap_err();
        assert!(told.to_string().contains("endpoint: is missing"), "{told}");
    }
}
