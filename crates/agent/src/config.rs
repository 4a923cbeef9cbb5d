//! What an agent's config file says, checked.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use lapwing::{limits::Limits, v1::Codec};
use lapwing_service::{
    client::Address,
    config::{ConfigErrors, Reader, Section},
    identity::Name,
    modes,
    secret::Secret,
};

use crate::collectors::{logs::files::FilesConfig, metrics::system::SystemConfig};

/// Most tags: with the host's own attributes they must fit into a resource.
const MAX_TAGS: usize = 32;
const KIB: u64 = 1 << 10;

/// An agent, as configured.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Who it is. The collector knows it by this, and its certificate or token must name it.
    pub id: String,
    /// Attributes of everything it sends.
    pub tags: Vec<(String, String)>,
    /// Where it keeps what must outlive it.
    pub state_dir: PathBuf,
    /// Where `/metrics` and `/healthz` are served.
    pub admin_addr: SocketAddr,
    /// Where it sends to.
    pub collector: CollectorConfig,
    /// How much it holds, and how it packs.
    pub buffer: BufferConfig,
    /// Log files, when they are to be read.
    pub files: Option<FilesConfig>,
    /// System metrics, when they are to be read.
    pub system: Option<SystemConfig>,
    /// What is accepted and has no effect yet, to be told at start.
    pub warnings: Vec<String>,
}

/// The collector.
#[derive(Debug, Clone)]
pub struct CollectorConfig {
    /// Where it is.
    pub address: Address,
    /// Sent as `authorization: Bearer`.
    pub token: Option<Secret>,
    /// File with a token instead, read again when it changes.
    pub token_file: Option<PathBuf>,
    /// PEM file of the authority that vouches for the collector.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the agent's own certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Packing and holding.
#[derive(Debug, Clone)]
pub struct BufferConfig {
    /// Most log events in memory that are not acknowledged.
    pub max_events: usize,
    /// Longest an event waits for company, when the collector takes some at all.
    pub flush_interval: Duration,
    /// How batches are compressed.
    pub codec: Codec,
    /// Level of zstd or gzip.
    pub level: Option<i32>,
    /// Most bytes on the disk of what can't be read again (metrics); beyond that the oldest go, and are counted.
    pub max_disk_bytes: u64,
    /// Most bytes on the disk of batches that the collector refused for good; beyond that reading stops.
    pub max_dead_letter_bytes: u64,
}

impl AgentConfig {
    /// Takes an opened file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(reader: Reader) -> Result<Self, ConfigErrors> {
        reader.read(Self::take)
    }

    fn take(root: &Section<'_>) -> Option<Self> {
        let mut warnings = Vec::new();
        let agent = root.section("agent");
        let id = take_id(&agent);
        let tags = take_tags(&agent);
        let state_dir = agent.path("state_dir").unwrap_or_else(|| "/var/lib/lapwing/agent".into());
        let admin_addr = agent.address("admin_addr").unwrap_or_else(|| ([127, 0, 0, 1], 7402).into());
        agent.finish();
        let collector = take_collector(&root.section("collector"), &mut warnings);
        let buffer = take_buffer(&root.section("buffer"));
        let collectors = root.section("collectors");
        let files = FilesConfig::take(&collectors.section("logs"), &mut warnings);
        let system = SystemConfig::take(&collectors.section("metrics"));
        take_traffic(&collectors.section("traffic"));
        collectors.finish();
        Some(Self {
            id: id?,
            tags,
            state_dir,
            admin_addr,
            collector: collector?,
            buffer,
            files,
            system,
            warnings,
        })
    }
}

/// Ids stand in certificates, tokens, file names and SQL: they are kept plain.
fn take_id(agent: &Section<'_>) -> Option<String> {
    let id = match agent.string("id") {
        Some(id) => id,
        None if agent.has("id") => return None,
        None => host_name(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if id.is_empty() || id.len() > 128 || !id.chars().all(plain) {
        let reason = format!("expected 1 to 128 letters, digits, `.`, `_` or `-`, got {id:?}");
        agent.problem("id", reason);
        return None;
    }
    // As the collector reads it from the certificate or token.
    Name::parse(&id).map_err(|error| agent.problem("id", error)).ok()?;
    Some(id)
}

fn take_tags(agent: &Section<'_>) -> Vec<(String, String)> {
    let (limits, mut tags) = (Limits::default(), Vec::new());
    for tag in agent.strings("tags").unwrap_or_default() {
        match tag.split_once(':') {
            Some((key, value))
                if key.len() > limits.max_key_bytes || value.len() > limits.max_value_bytes =>
            {
                let (key_limit, value_limit) = (limits.max_key_bytes, limits.max_value_bytes);
                let reason =
                    format!("a key has at most {key_limit} bytes and a value {value_limit}: {key:.40}");
                agent.problem("tags", reason);
            }
            Some((key, value)) if !key.is_empty() => tags.push((key.to_owned(), value.to_owned())),
            _ => agent.problem("tags", format!("expected tags such as \"env:prod\", got {tag:?}")),
        }
    }
    if tags.len() > MAX_TAGS {
        agent.problem("tags", format!("at most {MAX_TAGS} tags are taken, got {}", tags.len()));
    }
    tags
}

fn take_collector(collector: &Section<'_>, warnings: &mut Vec<String>) -> Option<CollectorConfig> {
    let endpoint = collector.string("endpoint");
    let token = collector.secret("auth_token");
    let token_file = collector.path("auth_token_file");
    let ca_file = collector.path("ca_file");
    let (cert, key) = (collector.path("cert_file"), collector.path("key_file"));
    collector.finish();
    if endpoint.is_none() && !collector.has("endpoint") {
        collector
            .problem("endpoint", "is missing; expected a URL such as https://collector.example.com:7400");
    }
    if cert.is_some() != key.is_some() {
        let there = if cert.is_some() { "cert_file" } else { "key_file" };
        collector.problem(there, "cert_file and key_file go together; give both or neither");
    }
    if token.is_some() && token_file.is_some() {
        collector.problem("auth_token_file", "and auth_token are two tokens; give one of them");
    }
    let secrets = key.iter().chain(&token_file);
    warnings.extend(secrets.filter_map(|file| modes::readable_by_others(file)));
    let address = Address::parse(&endpoint?);
    let address = address.map_err(|error| collector.problem("endpoint", error)).ok()?;
    if address.tls && ca_file.is_none() {
        let reason =
            "https needs ca_file, the PEM file of the authority that signed the collector's certificate";
        collector.problem("endpoint", reason);
    }
    if !address.tls {
        if cert.is_some() || ca_file.is_some() {
            collector
                .problem("endpoint", "http has no TLS: use https, or remove ca_file, cert_file and key_file");
        }
        let too = if token.is_some() || token_file.is_some() { " and the token" } else { "" };
        warnings.push(format!("the endpoint is not https: telemetry{too} can be read on the way"));
    }
    Some(CollectorConfig { address, token, token_file, ca_file, identity: cert.zip(key) })
}

fn take_buffer(buffer: &Section<'_>) -> BufferConfig {
    let codecs = [Codec::Zstd, Codec::Lz4, Codec::Snappy, Codec::Gzip, Codec::None];
    let words = codecs.map(|codec| (lapwing::codec::name(codec), codec));
    let codec = buffer.one_of("compression", &words).unwrap_or(Codec::Zstd);
    let level = buffer.number("compression_level", 1, 19).map(|level| level as i32);
    if level.is_some() && !matches!(codec, Codec::Zstd | Codec::Gzip) {
        buffer.problem("compression_level", "only zstd and gzip have levels; remove it");
    }
    if codec == Codec::Gzip && level.is_some_and(|level| level > 9) {
        buffer.problem("compression_level", "gzip has levels 1 to 9");
    }
    let config = BufferConfig {
        max_events: buffer.number("max_events", 1, 10_000_000).unwrap_or(65_536) as usize,
        flush_interval: buffer.seconds("flush_interval_secs", 1, 3600).unwrap_or(Duration::from_secs(5)),
        codec,
        level,
        max_disk_bytes: buffer
            .number("max_disk_bytes", 1024 * KIB, u64::MAX >> 1)
            .unwrap_or(256 * 1024 * KIB),
        max_dead_letter_bytes: buffer
            .number("max_dead_letter_bytes", 1024 * KIB, u64::MAX >> 1)
            .unwrap_or(256 * 1024 * KIB),
    };
    buffer.finish();
    config
}

fn take_traffic(traffic: &Section<'_>) {
    if traffic.bool("enabled") == Some(true) {
        traffic.problem("enabled", "network flows are not built yet; set it to false");
    }
    traffic.finish();
}

/// The host's name, as the kernel has it.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
