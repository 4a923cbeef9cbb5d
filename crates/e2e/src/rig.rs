//! A collector and an agent in a folder of their own, with mutual TLS between them.

use std::{
    fs,
    net::TcpListener,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{
    http,
    process::{Process, binary},
    proxy::Proxy,
    random::Random,
    wait,
};

/// How long a program may take to come up, or a line to become visible.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What differs from the usual pair.
#[derive(Debug, Clone)]
pub struct RigOptions {
    /// `[storage] backend`.
    pub backend: &'static str,
    /// `[buffer] compression`.
    pub compression: &'static str,
    /// Seconds between two readings of system metrics; none when 0.
    pub metrics_secs: u64,
    /// More lines for the section `[collectors.logs]`.
    pub logs: &'static str,
    /// What the agent reads, below the folder it tails.
    pub files: &'static str,
    /// More lines for the section `[collectors.metrics]`.
    pub metrics: &'static str,
    /// More lines for the section `[buffer]`.
    pub buffer: &'static str,
    /// `[storage] flush_interval_secs`.
    pub flush_interval_secs: u64,
    /// Tokens with this secret instead of client certificates.
    pub token_secret: Option<&'static str>,
    /// More lines at the end of the collector's config.
    pub collector: &'static str,
    /// The collector's `[server] memory_bytes`.
    pub memory_bytes: Option<u64>,
    /// The collector's `data_dir`, when it is not in the rig's folder.
    pub data_dir: Option<PathBuf>,
    /// The agent reaches the collector through a proxy.
    pub proxied: bool,
}

impl Default for RigOptions {
    fn default() -> Self {
        Self {
            backend: "ducklake",
            compression: "zstd",
            metrics_secs: 0,
            logs: "",
            files: "*.log*",
            metrics: "",
            buffer: "",
            flush_interval_secs: 10,
            token_secret: None,
            collector: "",
            memory_bytes: None,
            data_dir: None,
            proxied: false,
        }
    }
}

/// The pair, its folder and its addresses.
#[derive(Debug)]
pub struct Rig {
    folder: TempDir,
    /// Address of the gRPC listener.
    pub grpc: String,
    /// Address of the HTTP API.
    pub http: String,
    /// Address of the agent's own `/healthz` and `/metrics`.
    pub admin: String,
    /// The collector's `data_dir`.
    pub data_dir: PathBuf,
    /// Between agent and collector, when the options ask for it.
    pub proxy: Option<Proxy>,
    /// `lapwing-collector`.
    pub collector: Process,
    /// `lapwing-agent`.
    pub agent: Process,
}

impl Rig {
    /// Makes folder, certificates and configs, and starts the collector; the agent is started by [`Rig::start_agent`].
    pub fn new(options: &RigOptions) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("lapwing-e2e-").tempdir()?;
        let root = folder.path().to_owned();
        fs::create_dir(root.join("logs"))?;
        let [grpc, http, admin] = free_addresses()?;
        make_certificates(&root.join("certs"))?;
        fs::write(root.join("collector.toml"), collector_config(&root, &grpc, &http, options))?;
        let proxy = options.proxied.then(|| Proxy::start(&grpc)).transpose()?;
        let endpoint = proxy.as_ref().map_or(grpc.clone(), Proxy::address);
        fs::write(root.join("agent.toml"), agent_config(&root, &endpoint, &admin, options))?;
        let config = |name: &str| root.join(name).display().to_string();
        let mut rig = Self {
            collector: Process::new(
                "lapwing-collector",
                &["--config", &config("collector.toml")],
                &root.join("collector.log"),
            )?,
            agent: Process::new(
                "lapwing-agent",
                &["--config", &config("agent.toml")],
                &root.join("agent.log"),
            )?,
            folder,
            grpc,
            http,
            admin,
            proxy,
            data_dir: options.data_dir.clone().unwrap_or_else(|| root.join("collector")),
        };
        rig.start_collector()?;
        Ok(rig)
    }

    /// The folder that holds everything.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The folder the agent tails (`*.log` and what rotation makes of it).
    pub fn logs(&self) -> PathBuf {
        self.root().join("logs")
    }

    /// Starts the collector and waits until it answers.
    pub fn start_collector(&mut self) -> Result<()> {
        self.collector.start()?;
        let up = wait::until("the collector answers", PATIENCE, || {
            Ok(http::get(&self.http, "/healthz").ok().map(|_| ()))
        });
        up.with_context(|| format!("collector said:\n{}", self.collector.output()))
    }

    /// Starts the agent. It needs no collector to start.
    pub fn start_agent(&mut self) -> Result<()> {
        self.agent.start()
    }

    /// Waits until the agent says that it ships.
    pub fn wait_for_agent(&self) -> Result<()> {
        wait::until("the agent is healthy", PATIENCE, || {
            Ok(http::get(&self.admin, "/healthz").ok().map(|_| ()))
        })
        .with_context(|| format!("agent said:\n{}", self.agent.output()))
    }

    /// Answer of one SQL query as NDJSON.
    pub fn sql(&self, query: &str) -> Result<String> {
        http::sql(&self.http, query)
    }

    /// The command line, as the user of this rig.
    pub fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("lapwing")?);
        command
            .env("LAPWING_ENDPOINT", format!("https://{}", self.grpc))
            .env("LAPWING_CA", self.cert("ca.pem"))
            .env("LAPWING_CERT", self.cert("user-me.pem"))
            .env("LAPWING_KEY", self.cert("user-me.key"))
            .args(args);
        Ok(command)
    }

    /// Runs it to its end.
    pub fn lapwing(&self, args: &[&str]) -> Result<Output> {
        Ok(self.command(args)?.output()?)
    }

    /// Waits until `rows` rows with ids are visible.
    pub fn wait_for_rows(&self, rows: u64) -> Result<()> {
        let seen = wait::until(&format!("{rows} rows are visible"), PATIENCE, || {
            let count = crate::oracle::count(&self.http)?;
            if count >= rows { Ok(Some(())) } else { anyhow::bail!("{count} of {rows} rows") }
        });
        seen.with_context(|| {
            format!("agent said:\n{}\ncollector said:\n{}", self.agent.output(), self.collector.output())
        })
    }

    /// A certificate file made for this rig: `ca.pem`, `user-me.pem`, `user-me.key`, ...
    pub fn cert(&self, name: &str) -> String {
        self.root().join("certs").join(name).display().to_string()
    }
}

/// Below the ports that the system gives to outgoing connections: one of those may be taken between here and the start of a
/// program, or while it is down.
const PORTS: Range<u64> = 10_000..32_000;

/// Addresses on the loopback interface that nobody listens on.
pub fn free_addresses<const N: usize>() -> Result<[String; N]> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut random = Random::new(u64::from(std::process::id()) << 40 ^ since.as_nanos() as u64);
    // All are held at once, so that no two are the same.
    let listeners = (0..10_000).filter_map(|_| {
        let port = u16::try_from(random.within(PORTS)).ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok()
    });
    let addresses = listeners.take(N).collect::<Vec<_>>();
    let addresses = addresses.iter().map(|l| Ok(l.local_addr()?.to_string())).collect::<Result<Vec<_>>>()?;
    addresses.try_into().map_err(|_| anyhow::anyhow!("no free ports in {PORTS:?}"))
}

fn make_certificates(folder: &Path) -> Result<()> {
    let output = Command::new(binary("lapwing")?)
        .args(["certs", "create", "--dir"])
        .arg(folder)
        .args(["--server", "localhost", "--server", "127.0.0.1", "--agent", "agent-001", "--user", "me"])
        .output()?;
    ensure!(output.status.success(), "certs create: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn collector_config(root: &Path, grpc: &str, http: &str, options: &RigOptions) -> String {
    let root = root.display();
    let RigOptions { backend, flush_interval_secs, collector, .. } = options;
    let data_dir = options.data_dir.clone().unwrap_or_else(|| Path::new(&root.to_string()).join("collector"));
    let data_dir = data_dir.display();
    let memory = options.memory_bytes.map(|bytes| format!("memory_bytes = {bytes}\n")).unwrap_or_default();
    let auth = match options.token_secret {
        Some(secret) => format!("mode = \"token\"\ntoken_secret = \"{secret}\""),
        None => "mode = \"mtls\"".to_owned(),
    };
    format!(
        r#"
[server]
grpc_addr = "{grpc}"
http_addr = "{http}"
data_dir = "{data_dir}"
{memory}[tls]
cert_file = "{root}/certs/server.pem"
key_file = "{root}/certs/server.key"
client_ca_file = "{root}/certs/ca.pem"
[auth]
{auth}
[storage]
backend = "{backend}"
flush_interval_secs = {flush_interval_secs}
{collector}
"#
    )
}

fn agent_config(root: &Path, endpoint: &str, admin: &str, options: &RigOptions) -> String {
    let root = root.display();
    let RigOptions { compression, metrics_secs, logs, files, metrics, buffer, .. } = options;
    let reading = if *metrics_secs > 0 {
        format!("enabled = true\nsystem_interval_secs = {metrics_secs}")
    } else {
        "enabled = false".to_owned()
    };
    format!(
        r#"
[agent]
id = "agent-001"
state_dir = "{root}/agent"
admin_addr = "{admin}"
[collector]
endpoint = "https://{endpoint}"
ca_file = "{root}/certs/ca.pem"
cert_file = "{root}/certs/agent-agent-001.pem"
key_file = "{root}/certs/agent-agent-001.key"
[buffer]
compression = "{compression}"
{buffer}
[collectors.logs]
enabled = true
files = ["{root}/logs/{files}"]
{logs}
[collectors.metrics]
{reading}
{metrics}
"#
    )
}
