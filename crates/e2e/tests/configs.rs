//! Configs from outside: the examples load and run, and what is broken is told, all of it, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::Result;
use lapwing_e2e::{http, process::Process, process::binary, rig::PATIENCE, rig::free_addresses, wait};
use lapwing_service::certs::Authority;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn deploy(name: &str) -> PathBuf {
    Path::new("../../deploy").join(name)
}

fn check(program: &str, config: &Path) -> Result<Output> {
    let mut command = Command::new(binary(program)?);
    command.arg("--check").arg("--config").arg(config);
    command.env("JWT_SECRET", SECRET).env("MONITORING_AUTH_TOKEN", "x.y.z").env_remove("LAPWING_NOT_SET");
    Ok(command.output()?)
}

#[test]
fn the_commented_examples_load_with_the_real_loader() -> Result<()> {
    for (program, name) in [
        ("lapwing-agent", "agent.toml"),
        ("lapwing-collector", "collector.toml"),
        ("lapwing-agent", "examples/agent.toml"),
        ("lapwing-collector", "examples/collector.toml"),
    ] {
        let output = check(program, &deploy(name))?;
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A broken config, and what its errors must name: line and column, key, and what was expected.
struct Broken(&'static str, &'static str, &'static [&'static str]);

const AGENT: &str = "lapwing-agent";
const COLLECTOR: &str = "lapwing-collector";
const GOOD: &str = "[collector]\nendpoint = 'http://localhost:1'\n";

const BROKEN: [Broken; 35] = [
    Broken(AGENT, "", &["[collector] endpoint: is missing", "https://"]),
    Broken(
        AGENT,
        "[collector]\nendpoint = 7\n",
        &[":2:12:", "[collector] endpoint: expected a string, got an integer"],
    ),
    Broken(
        AGENT,
        "[collector]\nendpoint = 'localhost'\n",
        &[":2:12:", "expected an endpoint such as https://"],
    ),
    Broken(
        AGENT,
        "[collector]\nendpoint = 'ws://localhost:8080/ingest'\n",
        &["WebSocket is not built yet", "http://"],
    ),
    Broken(AGENT, "[collector]\nendpoint = 'https://localhost:1'\n", &["https needs ca_file"]),
    Broken(
        AGENT,
        "[collector]\nendpoint = 'http://localhost:1'\ncert_file = 'a'\nkey_file = 'b'\n",
        &["use https"],
    ),
    Broken(
        AGENT,
        "[collector]\nendpoint = 'https://x:1'\nca_file = 'a'\ncert_file = 'a'\n",
        &["cert_file and key_file go together"],
    ),
    Broken(
        AGENT,
        "[collector]\nendpoint = 'http://localhost:1'\nauth_token = '${LAPWING_NOT_SET}'\n",
        &[":3:14:", "LAPWING_NOT_SET is not set"],
    ),
    Broken(AGENT, "[collector]\nendpoint = '${OPEN'\n", &["no closing `}`"]),
    Broken(
        AGENT,
        "[colector]\nendpoint = 'http://localhost:1'\n",
        &[":1:2:", "unknown key; did you mean `collector`?"],
    ),
    Broken(AGENT, "[collector]\nendpont = 'http://localhost:1'\n", &[":2:1:", "did you mean `endpoint`?"]),
    Broken(AGENT, "[agent]\nid = 'a b'\n", &["[agent] id: expected 1 to 128 letters", "\"a b\""]),
    Broken(AGENT, "[agent]\nid = ''\n", &["[agent] id: expected 1 to 128 letters"]),
    Broken(AGENT, "[agent]\ntags = ['nocolon']\n", &["[agent] tags: expected tags such as \"env:prod\""]),
    Broken(AGENT, "[agent]\ntags = 'a:b'\n", &["[agent] tags: expected a list of strings"]),
    Broken(AGENT, "[agent]\nadmin_addr = 'here'\n", &["[agent] admin_addr: expected an address such as"]),
    Broken(AGENT, "[buffer]\nmax_events = 0\n", &["[buffer] max_events: expected a whole number from 1"]),
    Broken(
        AGENT,
        "[buffer]\ncompression = 'brotli'\n",
        &["expected one of zstd, lz4, snappy, gzip, none, got \"brotli\""],
    ),
    Broken(
        AGENT,
        "[buffer]\ncompression = 'lz4'\ncompression_level = 3\n",
        &["only zstd and gzip have levels"],
    ),
    Broken(AGENT, "[buffer]\nflush_interval_secs = 1.5\n", &["expected a whole number", "got a float"]),
    Broken(AGENT, "[collectors.logs]\nenabled = true\n", &["[collectors.logs] files: names no file"]),
    Broken(
        AGENT,
        "[collectors.logs]\nfiles = ['log/*.log']\n",
        &["expected an absolute path or glob, got \"log/*.log\""],
    ),
    Broken(AGENT, "[collectors.logs]\nfiles = ['/a/[']\n", &["is not a glob"]),
    Broken(
        AGENT,
        "[collectors.logs]\nfiles = ['/a']\nstart_at = 'middle'\n",
        &["expected one of beginning, end"],
    ),
    Broken(AGENT, "[collectors.traffic]\nenabled = true\n", &["network flows are not built yet"]),
    Broken(AGENT, "not toml at all", &[":1:", "not valid TOML"]),
    Broken(
        COLLECTOR,
        "[server]\nhttp_addr = '0.0.0.0:1'\n[auth]\nmode = 'none'\n",
        &["none is for loopback addresses only"],
    ),
    Broken(COLLECTOR, "", &["[auth] mode: is missing; expected mtls"]),
    Broken(COLLECTOR, "[auth]\nmode = 'mtls'\n", &["mtls needs [tls] with cert_file"]),
    Broken(COLLECTOR, "[auth]\nmode = 'token'\n", &["[auth] token_secret: is missing"]),
    Broken(COLLECTOR, "[auth]\nmode = 'token'\ntoken_secret = 'short'\n", &["needs at least 32"]),
    Broken(
        COLLECTOR,
        "[server]\ngrpc_addr = '0.0.0.0:1'\n[auth]\nmode = 'none'\n",
        &["none is for loopback addresses only"],
    ),
    Broken(
        COLLECTOR,
        "[auth]\nmode = 'none'\n[storage]\nbackend = 'clickhouse'\n",
        &["clickhouse is not built yet; use ducklake or console"],
    ),
    Broken(
        COLLECTOR,
        "[auth]\nmode = 'none'\n[server]\ngrpc_addr = '127.0.0.1:9'\nhttp_addr = '127.0.0.1:9'\n",
        &["is given twice"],
    ),
    Broken(COLLECTOR, "[tls]\ncert_file = 'a'\n[auth]\nmode = 'none'\n", &["[tls] key_file: is missing"]),
];

#[test]
fn every_broken_config_is_told_with_its_place_and_what_was_expected() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("c.toml");
    for Broken(program, text, expected) in BROKEN {
        fs::write(&path, text)?;
        let output = check(program, &path)?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text:?}: {told}");
        for part in expected {
            assert!(told.contains(part), "{text:?} should tell {part:?}, told:\n{told}");
        }
        assert!(told.lines().all(|line| line.starts_with(&path.display().to_string())), "{told}");
    }
    Ok(())
}

#[test]
fn all_mistakes_are_told_in_one_go_and_no_secret_with_them() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("c.toml");
    let text =
        format!("{GOOD}auth_token = 'verysecret'\nfoo = 1\n[buffer]\nmax_events = -1\nbar = 2\n[baz]\n");
    fs::write(&path, text)?;
    let told = String::from_utf8(check(AGENT, &path)?.stderr)?;
    assert_eq!(told.lines().count(), 4, "{told}");
    assert!(!told.contains("verysecret"), "{told}");
    Ok(())
}

#[test]
fn a_check_warns_of_keys_that_others_may_read_and_of_configs_that_others_may_write() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    let authority = Authority::open_or_create(&root.join("certs"))?.for_days(3);
    authority.server(&["localhost".to_owned()])?;
    let file = |name: &str| root.join("certs").join(name).display().to_string();
    let path = root.join("collector.toml");
    let text = format!(
        "[tls]\ncert_file = '{}'\nkey_file = '{}'\nclient_ca_file = '{}'\n[auth]\nmode = 'mtls'\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    fs::write(&path, &text)?;
    let told = |expected: Option<i32>| -> Result<String> {
        let output = check(COLLECTOR, &path)?;
        let told = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), expected, "{told}");
        Ok(told)
    };
    let quiet = told(Some(0))?;
    assert!(quiet.contains("server.pem expires at") && !quiet.contains("chmod"), "{quiet}");
    fs::set_permissions(file("server.key"), fs::Permissions::from_mode(0o644))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    let warned = told(Some(0))?;
    for expected in
        ["server.key holds a secret", "chmod 600", "collector.toml: others than its owner may write it"]
    {
        assert!(warned.contains(expected), "{expected}: {warned}");
    }

    authority.for_days(0).renew("server")?;
    assert!(told(Some(2))?.contains("server.pem expired at"));
    fs::write(&path, text.replace("/server.pem", "/ca.pem"))?;
    assert!(told(Some(2))?.contains("is the certificate of an authority (CA)"));
    fs::write(
        file("server.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )?;
    fs::write(&path, &text)?;
    assert!(told(Some(2))?.contains("encrypted with a passphrase"));
    Ok(())
}

#[test]
fn doctor_names_the_patterns_that_match_nothing() -> Result<()> {
    let home = tempfile::tempdir()?;
    fs::write(home.path().join("some.log"), "a line\n")?;
    let at = home.path().display();
    let config = format!("{GOOD}[collectors.logs]\nfiles = ['{at}/some.log', '{at}/nothing-*.log']\n");
    fs::write(home.path().join("agent.toml"), config)?;
    let output =
        Command::new(binary("lapwing")?).arg("doctor").arg("--data-dir").arg(home.path()).output()?;
    let told = String::from_utf8(output.stdout)?;
    let unmatched: Vec<&str> = told.lines().filter(|line| line.contains("matches no file")).collect();
    let [line] = unmatched[..] else { panic!("{told}") };
    assert!(line.starts_with("warn patterns:") && line.contains("nothing-*.log"), "{line}");
    Ok(())
}

#[test]
fn a_config_that_is_no_file_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (path, expected) in
        [(folder.path().to_owned(), "is not a regular file"), ("/nowhere".into(), "can't be read")]
    {
        let output = check(AGENT, &path)?;
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8(output.stderr)?.contains(expected));
    }
    Ok(())
}

/// The small pair of `deploy/examples`, with paths and ports of this test in it.
#[test]
fn the_small_example_pair_works_with_a_token_and_prints_lines() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    fs::create_dir(root.join("app"))?;
    let [server, admin] = free_addresses()?;
    let port = server.rsplit(':').next().unwrap_or_default();
    let collector = fs::read_to_string(deploy("examples/collector.toml"))?
        .replace("0.0.0.0:8080", &server)
        .replace("[auth]", &format!("data_dir = '{}'\n[auth]", root.join("collector").display()));
    fs::write(root.join("collector.toml"), collector)?;
    let agent = fs::read_to_string(deploy("examples/agent.toml"))?
        .replace("localhost:8080", &format!("localhost:{port}"))
        .replace("/var/log/app", &root.join("app").display().to_string())
        .replace(
            "[collector]",
            &format!("state_dir = '{}'\nadmin_addr = '{admin}'\n[collector]", root.join("agent").display()),
        );
    fs::write(root.join("agent.toml"), agent)?;
    let token = Command::new(binary("lapwing")?)
        .args(["token", "create", "--agent", "agent-001"])
        .env("JWT_SECRET", SECRET)
        .output()?;
    assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
    let token = String::from_utf8(token.stdout)?;

    let path = |name: &str| root.join(name).display().to_string();
    let mut collector =
        Process::new(COLLECTOR, &["--config", &path("collector.toml")], &root.join("collector.log"))?;
    collector.env("JWT_SECRET", SECRET);
    collector.start()?;
    wait::until("the collector answers", PATIENCE, || Ok(http::get(&server, "/healthz").ok()))?;
    let mut agent = Process::new(AGENT, &["--config", &path("agent.toml")], &root.join("agent.log"))?;
    agent.env("MONITORING_AUTH_TOKEN", token.trim());
    agent.start()?;
    fs::write(root.join("app/a.log"), "a line of the example\n")?;
    let seen = wait::until("the line is printed, and metrics are", PATIENCE, || {
        let output = collector.output();
        Ok((output.contains("a line of the example") && output.contains("system.memory.usage"))
            .then_some(output))
    });
    let output = seen.map_err(|error| anyhow::anyhow!("{error}\nagent said:\n{}", agent.output()))?;
    assert!(output.contains("\"env\":\"prod\""), "tags are resource attributes");
    assert!(agent.output().contains("the journal is not read yet; nginx.service"), "{}", agent.output());
    assert!(
        !agent.output().contains(token.trim()) && !collector.output().contains(SECRET),
        "a secret was printed"
    );
    Ok(())
}
