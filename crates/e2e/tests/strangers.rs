//! Wrong certificates, expired tokens and garbage: each a clear error, nobody else disturbed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use anyhow::Result;
use lapwing_e2e::{Rig, RigOptions, Writer, http, oracle, process::binary, rig::PATIENCE, wait};

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
    let rig = Rig::new(&RigOptions {
        token_secret: Some("0123456789abcdef0123456789abcdef"),
        ..RigOptions::default()
    })?;
    let ask = |token: &str| -> Result<(Option<i32>, String)> {
        let endpoint = format!("https://{}", rig.grpc);
        let output = Command::new(binary("lapwing")?)
            .args(["query", "--endpoint", &endpoint, "--ca", &rig.cert("ca.pem"), "SELECT 1"])
            .env("LAPWING_TOKEN", token)
            .output()?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    let good = Command::new(binary("lapwing")?)
        .args(["token", "create", "--user", "me", "--ttl", "1h"])
        .env("JWT_SECRET", "0123456789abcdef0123456789abcdef")
        .output()?;
    assert_eq!(ask(String::from_utf8(good.stdout)?.trim())?.0, Some(0));
    // Signed with the right secret, and long over.
    let token = expired_token()?;
    let (code, told) = ask(&token)?;
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("expired") && !told.contains(&token), "{told}");
    Ok(())
}

/// HS256 over `{"alg":"HS256","typ":"JWT"}.{"sub":"me","exp":1,"role":"user"}` with the rig's secret.
fn expired_token() -> Result<String> {
    let secret = lapwing_service::secret::Secret::new("0123456789abcdef0123456789abcdef");
    lapwing_service::token::Tokens::new(&secret)?
        .create_until(
            "me",
            lapwing_service::token::Role::User,
            std::time::UNIX_EPOCH + Duration::from_secs(1),
        )
        .map_err(Into::into)
}
