//! Wrong certificates, expired tokens and garbage: each a clear error, nobody else disturbed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;
use lapwing_e2e::{Rig, RigOptions, Writer, http, oracle, process::binary, rig::PATIENCE, wait};
use lapwing_service::{
    certs::Authority,
    identity::{Certificate, Identity},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn certificates_of_another_authority(rig: &Rig) -> Result<String> {
    let folder = rig.root().join("other");
    let made = Command::new(binary("lapwing")?)
        .args(["certs", "create", "--dir"])
        .arg(&folder)
        .args(["--agent", "agent-001", "--user", "me"])
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(folder.display().to_string())
}

/// Lines still go through, once.
fn assert_undisturbed(rig: &Rig, writer: &mut Writer) -> Result<()> {
    writer.write(1_000)?;
    rig.wait_for_rows(writer.written())?;
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(writer.file_id(), writer.written())]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    Ok(())
}

fn running_pair() -> Result<(Rig, Writer)> {
    let mut rig = Rig::new(&RigOptions::default())?;
    let writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    rig.wait_for_agent()?;
    Ok((rig, writer))
}

#[test]
fn garbage_on_the_ports_disturbs_nobody() -> Result<()> {
    let (rig, mut writer) = running_pair()?;
    let garbage: Vec<u8> = (0..70_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut kept = Vec::new();
    for address in [&rig.grpc, &rig.http, &rig.admin] {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxx",
            &garbage,
            b"\x16\x03\x01",
            b"",
        ] {
            let mut stream = TcpStream::connect(address)?;
            // A server that closes in the middle of it is right, too.
            let _ = stream.write_all(bytes);
            stream.set_read_timeout(Some(Duration::from_millis(50)))?;
            let _ = stream.read(&mut [0; 1024]);
            kept.push(stream);
        }
    }
    assert_undisturbed(&rig, &mut writer)
}

#[test]
fn a_certificate_of_another_authority_is_refused_on_both_sides() -> Result<()> {
    let (mut rig, mut writer) = running_pair()?;
    let other = certificates_of_another_authority(&rig)?;
    let query = |ca: &str, cert: &str, key: &str| -> Result<(Option<i32>, String)> {
        let mut command = Command::new(binary("lapwing")?);
        command.args([
            "query",
            "--endpoint",
            &format!("https://{}", rig.grpc),
            "--ca",
            ca,
            "--cert",
            cert,
            "--key",
            key,
        ]);
        let output = command.arg("SELECT 1").output()?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    // The collector shows a certificate that the other authority did not sign.
    let (code, told) = query(&format!("{other}/ca.pem"), &rig.cert("user-me.pem"), &rig.cert("user-me.key"))?;
    assert!(matches!(code, Some(3 | 4)) && told.contains("certificate"), "{code:?}: {told}");
    // The client shows one that the collector's authority did not sign.
    let (code, told) =
        query(&rig.cert("ca.pem"), &format!("{other}/user-me.pem"), &format!("{other}/user-me.key"))?;
    assert!(matches!(code, Some(3 | 4)), "{code:?}: {told}");
    // An agent in that place says so and goes on trying.
    rig.agent.kill()?;
    let config = rig.root().join("agent.toml");
    let good = fs::read_to_string(&config)?;
    fs::write(&config, good.replace("/certs/agent-", "/other/agent-"))?;
    rig.start_agent()?;
    wait::until("the agent says why it can't ship", PATIENCE, || {
        let (status, body) = http::request(&rig.admin, "/healthz")?;
        Ok((status == 503 && body.contains("collector")).then_some(()))
    })?;
    rig.agent.kill()?;
    fs::write(&config, good)?;
    rig.start_agent()?;
    assert_undisturbed(&rig, &mut writer)
}

#[test]
fn an_agent_can_not_ask_and_can_not_send_as_another() -> Result<()> {
    let (rig, mut writer) = running_pair()?;
    let output = Command::new(binary("lapwing")?)
        .args(["query", "--endpoint", &format!("https://{}", rig.grpc), "--ca", &rig.cert("ca.pem")])
        .args([
            "--cert",
            &rig.cert("agent-agent-001.pem"),
            "--key",
            &rig.cert("agent-agent-001.key"),
            "SELECT 1",
        ])
        .output()?;
    let told = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("is an agent; queries need a user's certificate"), "{told}");
    assert_undisturbed(&rig, &mut writer)
}

#[test]
fn a_second_agent_with_the_same_id_takes_over_once_and_the_first_says_so() -> Result<()> {
    let (rig, mut writer) = running_pair()?;
    let mut second = lapwing_e2e::process::Process::new(
        "lapwing-agent",
        &["--config", &rig.root().join("second.toml").display().to_string()],
        &rig.root().join("second.log"),
    )?;
    let [admin] = lapwing_e2e::rig::free_addresses()?;
    let config = fs::read_to_string(rig.root().join("agent.toml"))?;
    let config = config.replace(&rig.admin, &admin).replace("/agent\"\n", "/second\"\n");
    fs::write(rig.root().join("second.toml"), config)?;
    second.start()?;
    wait::until("the second one ships", PATIENCE, || Ok(http::get(&admin, "/healthz").ok()))?;
    writer.write(1_000)?;
    rig.wait_for_rows(writer.written())?;
    wait::until("the first one says that it was fenced", PATIENCE, || {
        let (status, body) = http::request(&rig.admin, "/healthz")?;
        Ok((status == 503 && body.contains("took over")).then_some(()))
    })?;
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, writer.written())]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    Ok(())
}

#[test]
fn an_expired_token_is_refused_with_a_reason() -> Result<()> {
    let rig = Rig::new(&RigOptions { token_secret: Some(SECRET), ..RigOptions::default() })?;
    let ask = |token: &str| ask_with_token(&rig, token);
    let good = Command::new(binary("lapwing")?)
        .args(["token", "create", "--user", "me", "--ttl", "1h"])
        .env("JWT_SECRET", SECRET)
        .output()?;
    assert_eq!(ask(String::from_utf8(good.stdout)?.trim())?.0, Some(0));
    // Signed with the right secret, and long over.
    let token = expired_token()?;
    let (code, told) = ask(&token)?;
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("expired") && !told.contains(&token), "{told}");
    Ok(())
}

fn expired_token() -> Result<String> {
    let secret = lapwing_service::secret::Secret::new(SECRET);
    let end = std::time::UNIX_EPOCH + Duration::from_secs(1);
    Ok(lapwing_service::token::Tokens::new(&secret)?.create_until(&Identity::user("me")?, end)?)
}

/// `{"sub":"me","exp":4102444800,"role":"user"}`, signed with the rig's secret.
const OLD_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJtZSIsImV4cCI6NDEwMjQ0NDgwMCwicm9sZSI6InVzZXIifQ.8KP5_Fj270tlTnA_XJva9HHis55TKRi12GYBRvJLq6E";
/// `{"alg":"none\n2026-11-28T00:00:00Z  INFO lease given agent=\"admin\""}`, and no token behind it.
const FORGED: &str =
    "eyJhbGciOiJub25lCjIwMjYtMTEtMjhUMDA6MDA6MDBaICBJTkZPIGxlYXNlIGdpdmVuIGFnZW50PVwiYWRtaW5cIiJ9.x.x";

fn ask_with_token(rig: &Rig, token: &str) -> Result<(Option<i32>, String)> {
    let endpoint = format!("https://{}", rig.grpc);
    let output = Command::new(binary("lapwing")?)
        .args(["query", "--endpoint", &endpoint, "--ca", &rig.cert("ca.pem"), "SELECT 1"])
        .env("LAPWING_TOKEN", token)
        .output()?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

#[test]
fn a_token_of_an_earlier_version_says_how_to_make_a_new_one_and_a_forged_one_writes_no_log() -> Result<()> {
    let rig = Rig::new(&RigOptions { token_secret: Some(SECRET), ..RigOptions::default() })?;
    let (code, told) = ask_with_token(&rig, OLD_TOKEN)?;
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("no audience (aud)") && told.contains("lapwing token create"), "{told}");
    let (code, told) = ask_with_token(&rig, FORGED)?;
    assert_eq!(code, Some(4), "{told}");
    let log = rig.collector.output();
    assert!(log.contains("the token is refused") && !log.contains("lease given"), "{log}");
    Ok(())
}

/// Makes a certificate of the rig again, so that it is over after so many days; the programs read it by themselves.
fn renew(rig: &Rig, stem: &str, days: u32) -> Result<()> {
    Ok(Authority::open_or_create(&rig.root().join("certs"))?.for_days(days).renew(stem)?)
}

#[test]
fn an_expired_certificate_is_told_where_it_is_and_a_renewed_one_is_used_without_a_restart() -> Result<()> {
    let (mut rig, mut writer) = running_pair()?;
    let health = |address: &str, expected: u16, word: &str| {
        wait::until(&format!("{address} says {expected} and {word}"), PATIENCE, || {
            let (status, body) = http::request(address, "/healthz")?;
            anyhow::ensure!(status == expected && body.contains(word), "{status}: {body}");
            Ok(Some(()))
        })
    };
    // Soon: still well, and told.
    renew(&rig, "server", 3)?;
    health(&rig.http, 200, "server.pem expires at")?;
    // Over, at the collector: new connections are refused, and it knows why.
    renew(&rig, "server", 0)?;
    health(&rig.http, 503, "server.pem expired at")?;
    assert!(http::get(&rig.http, "/metrics")?.contains("lapwing_certificate_expires_seconds -"));
    let output = rig.lapwing(&["query", "SELECT 1"])?;
    let told = String::from_utf8(output.stderr)?;
    assert!(told.contains("the collector's certificate expired"), "{told}");
    renew(&rig, "server", 30)?;
    health(&rig.http, 200, "ok")?;

    // Over, at the agent: the collector's refusal is told by its cause.
    renew(&rig, "agent-agent-001", 0)?;
    health(&rig.admin, 503, "agent-agent-001.pem expired at")?;
    rig.agent.kill()?;
    rig.start_agent()?;
    wait::until("the agent's log names the cause", PATIENCE, || {
        let output = rig.agent.output();
        anyhow::ensure!(output.contains("refuses this side's certificate: it has expired"), "{output}");
        Ok(Some(()))
    })?;
    let output = Command::new(binary("lapwing-agent")?)
        .args(["--check", "--config"])
        .arg(rig.root().join("agent.toml"))
        .output()?;
    let told = String::from_utf8(output.stderr)?;
    assert!(output.status.code() == Some(2) && told.contains("expired at"), "{told}");
    renew(&rig, "agent-agent-001", 30)?;
    health(&rig.admin, 200, "ok")?;
    assert!(
        rig.collector.output().contains("the client's certificate expired"),
        "{}",
        rig.collector.output()
    );
    assert_undisturbed(&rig, &mut writer)
}

#[test]
fn another_authority_with_all_that_it_signed_takes_over_without_a_restart() -> Result<()> {
    let (rig, mut writer) = running_pair()?;
    writer.write(100)?;
    rig.wait_for_rows(writer.written())?;
    let (fresh, used) = (rig.root().join("fresh"), rig.root().join("certs"));
    let old = rig.root().join("old");
    fs::create_dir(&old)?;
    let authority = Authority::open_or_create(&fresh)?;
    authority.server(&["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    authority.client(&Identity::agent("agent-001")?)?;
    authority.client(&Identity::user("me")?)?;
    for entry in fs::read_dir(&fresh)? {
        let name = entry?.file_name();
        fs::rename(used.join(&name), old.join(&name))?;
        fs::rename(fresh.join(&name), used.join(&name))?;
    }
    wait::until("the new user is let in", PATIENCE, || {
        Ok(rig.lapwing(&["query", "SELECT 1"])?.status.success().then_some(()))
    })?;
    let output = Command::new(binary("lapwing")?)
        .args([
            "query",
            "--endpoint",
            &format!("https://{}", rig.grpc),
            "--ca",
            &rig.cert("ca.pem"),
            "--cert",
        ])
        .arg(old.join("user-me.pem"))
        .arg("--key")
        .arg(old.join("user-me.key"))
        .arg("SELECT 1")
        .output()?;
    let told = String::from_utf8(output.stderr)?;
    assert!(!output.status.success() && told.contains("not signed by the collector's authority"), "{told}");
    assert_undisturbed(&rig, &mut writer)
}

#[test]
fn a_stolen_certificate_is_let_in_no_more_once_it_is_on_the_list() -> Result<()> {
    let (mut rig, mut writer) = running_pair()?;
    let list = rig.root().join("revoked");
    fs::write(&list, "# none yet\n")?;
    let config = rig.root().join("collector.toml");
    let with_list = format!("mode = \"mtls\"\nrevoked_file = \"{}\"", list.display());
    fs::write(&config, fs::read_to_string(&config)?.replace("mode = \"mtls\"", &with_list))?;
    rig.collector.kill()?;
    rig.start_collector()?;
    rig.wait_for_agent()?;

    let stolen = Certificate::open(Path::new(&rig.cert("agent-agent-001.pem")))?;
    fs::write(&list, format!("certificate {} # laptop\n", stolen.serial))?;
    wait::until("the agent is told", PATIENCE, || {
        writer.write(10)?;
        let (status, body) = http::request(&rig.admin, "/healthz")?;
        anyhow::ensure!(status == 503 && body.contains("taken back"), "{status}: {body}");
        Ok(Some(()))
    })?;
    // The true agent gets a new one.
    renew(&rig, "agent-agent-001", 30)?;
    rig.wait_for_agent()?;
    assert_undisturbed(&rig, &mut writer)
}

#[test]
fn http_on_a_port_with_tls_and_https_on_one_without_are_told_as_that() -> Result<()> {
    let (mut rig, mut writer) = running_pair()?;
    let query = |scheme: &str, address: &str| -> Result<String> {
        let output = Command::new(binary("lapwing")?)
            .args([
                "query",
                "--endpoint",
                &format!("{scheme}://{address}"),
                "--ca",
                &rig.cert("ca.pem"),
                "SELECT 1",
            ])
            .output()?;
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stderr)?)
    };
    let told = query("http", &rig.grpc)?;
    assert!(told.contains("use https://"), "{told}");
    let told = query("https", &rig.http)?;
    assert!(told.contains("speaks no TLS"), "{told}");
    assert!(rig.collector.output().contains("such as plain HTTP"), "{}", rig.collector.output());

    rig.agent.kill()?;
    let config = rig.root().join("agent.toml");
    let good = fs::read_to_string(&config)?;
    let plain = good
        .lines()
        .filter(|line| !["ca_file", "cert_file", "key_file"].iter().any(|key| line.starts_with(key)));
    fs::write(&config, plain.collect::<Vec<_>>().join("\n").replace("https://", "http://"))?;
    rig.start_agent()?;
    wait::until("the agent says so", PATIENCE, || {
        let (status, body) = http::request(&rig.admin, "/healthz")?;
        anyhow::ensure!(status == 503 && body.contains("use https://"), "{status}: {body}");
        Ok(Some(()))
    })?;
    rig.agent.kill()?;
    fs::write(&config, good)?;
    rig.start_agent()?;
    assert_undisturbed(&rig, &mut writer)
}

#[test]
fn a_folder_of_ones_own_is_closed_to_others_and_one_that_others_may_write_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().join("data");
    fs::create_dir(&data_dir)?;
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(&data_dir, 0o755)?;
    let options =
        RigOptions { data_dir: Some(data_dir.clone()), flush_interval_secs: 1, ..RigOptions::default() };
    let mut rig = Rig::new(&options)?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    assert_undisturbed(&rig, &mut writer)?;
    wait::until("a Parquet file is there", PATIENCE, || {
        let open = open_to_others(&data_dir)?;
        assert!(open.is_empty(), "others may look at {open:?}");
        let found = files(&data_dir.join("lake"))?;
        Ok(found.iter().any(|path| path.extension().is_some_and(|end| end == "parquet")).then_some(()))
    })?;
    assert!(open_to_others(&rig.root().join("agent"))?.is_empty());

    rig.collector.kill()?;
    mode(&data_dir, 0o777)?;
    rig.collector.start()?;
    assert!(!rig.collector.wait(PATIENCE)?.success());
    let log = rig.collector.output();
    assert!(log.contains("data_dir") && log.contains("others may write it"), "{log}");
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
        found.push(folder);
    }
    Ok(found)
}

fn open_to_others(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_open = |path: &PathBuf| path.metadata().is_ok_and(|about| about.permissions().mode() & 0o007 != 0);
    Ok(files(folder)?.into_iter().filter(is_open).collect())
}
