//! Dead letters: what the collector refuses for good is set aside, and comes in once the cause is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use lapwing_e2e::{
    Rig, RigOptions, Writer, http, oracle, process::binary, proxy::Direction, rig::PATIENCE, wait,
};
use serde_json::Value;

/// One line in 97 is longer than this.
const SHORT: &str = "[limits]\nbody_bytes = 1000";

fn deadletter(args: &[&str]) -> Result<Output> {
    Ok(Command::new(binary("lapwing")?).arg("deadletter").args(args).output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn list(config: &str) -> Result<Vec<Value>> {
    let output = deadletter(&["list", "--config", config])?;
    ensure!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The collector again, with another config.
fn restart_with(rig: &mut Rig, from: &str, to: &str) -> Result<()> {
    let path = rig.root().join("collector.toml");
    let config = fs::read_to_string(&path)?;
    ensure!(config.contains(from), "{config}");
    fs::write(&path, config.replace(from, to))?;
    rig.collector.stop(PATIENCE)?;
    rig.start_collector()
}

/// Puts letters that were sent back to those that wait.
fn put_back(letters: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(letters.join("replayed"))? {
        let entry = entry?;
        fs::rename(entry.path(), letters.join(entry.file_name()))?;
        files += 1;
    }
    Ok(files)
}

#[test]
fn a_dead_letter_comes_in_exactly_once_when_the_cause_is_gone_however_often_it_is_sent() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { collector: SHORT, ..RigOptions::default() })?;
    let config = rig.root().join("agent.toml").display().to_string();
    let letters = rig.root().join("agent/dead-letters");
    let mut long = Writer::new(&rig.logs().join("long.log"), 1)?;
    long.write(500)?;
    rig.start_agent()?;
    let listed = wait::until("a batch is set aside", PATIENCE, || {
        let all = list(&config)?;
        let rows: u64 = all.iter().filter_map(|letter| letter["rows"].as_u64()).sum();
        Ok((rows == 500).then_some(all))
    })
    .with_context(|| rig.agent.output())?;
    assert!(listed[0]["reason"].as_str().unwrap().contains("TOO_LARGE: a log body is"), "{listed:?}");
    assert!(listed[0]["sources"].as_str().unwrap().ends_with("long.log"), "{listed:?}");
    assert_eq!(listed[0]["signal"], "logs");

    // What is behind it arrives: the agent gave its number to an empty batch.
    fs::write(rig.logs().join("short.log"), "lw behind\n")?;
    rig.wait_for_rows(1)?;

    // The cause is still there: the letters stay.
    let refused = deadletter(&["replay", "--all", "--config", &config])?;
    assert_eq!(refused.status.code(), Some(6), "{}", text(&refused.stderr));
    assert!(text(&refused.stdout).contains("refused again: TOO_LARGE"), "{}", text(&refused.stdout));
    assert_eq!(list(&config)?.len(), listed.len());

    let name = listed[0]["name"].as_str().unwrap();
    let shown = deadletter(&["show", name, "--config", &config])?;
    let first: Value = serde_json::from_str(text(&shown.stdout).lines().next().context("no row")?)?;
    assert!(first["body"].as_str().unwrap().starts_with("lw 0001 "), "{first}");

    restart_with(&mut rig, SHORT, "")?;
    // Another's certificate does not do.
    let state = rig.root().join("agent").display().to_string();
    let endpoint = format!("https://{}", rig.grpc);
    let (ca, cert, key) = (rig.cert("ca.pem"), rig.cert("user-me.pem"), rig.cert("user-me.key"));
    let user = ["--endpoint", &endpoint, "--ca", &ca, "--cert", &cert, "--key", &key];
    let as_user = deadletter(&[&["replay", "--all", "--state-dir", &state][..], &user].concat())?;
    assert_eq!(as_user.status.code(), Some(4), "{}", text(&as_user.stderr));
    assert!(text(&as_user.stderr).contains("give the agent's config"), "{}", text(&as_user.stderr));

    let dry = deadletter(&["replay", "--all", "--dry-run", "--config", &config])?;
    assert!(dry.status.success() && text(&dry.stdout).contains("would be sent"), "{}", text(&dry.stdout));
    assert_eq!(list(&config)?.len(), listed.len());

    let sent = deadletter(&["replay", "--all", "--config", &config])?;
    assert!(sent.status.success(), "{}{}", text(&sent.stdout), text(&sent.stderr));
    assert!(text(&sent.stdout).contains("500 rows stored"), "{}", text(&sent.stdout));
    assert!(list(&config)?.is_empty());
    rig.wait_for_rows(501)?;

    assert_eq!(put_back(&letters)?, 2 * listed.len());
    let again = deadletter(&["replay", "--all", "--config", &config])?;
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(text(&again.stdout).contains("nothing stored again"), "{}", text(&again.stdout));

    // The key outlives the collector.
    put_back(&letters)?;
    rig.collector.kill()?;
    rig.start_collector()?;
    let third = deadletter(&["replay", name, "--config", &config])?;
    assert!(text(&third.stdout).contains("nothing stored again"), "{}", text(&third.stderr));
    rig.wait_for_rows(501)?;
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, 500)]))?;
    assert_eq!(
        (verdict.lost, verdict.doubled, verdict.altered, verdict.foreign),
        (0, 0, 0, 1),
        "{verdict:?}"
    );
    let agents = rig.sql("SELECT DISTINCT agent FROM logs")?;
    assert_eq!(agents.trim(), r#"{"agent":"agent-001"}"#);
    Ok(())
}

/// What is durable was within the limits when it came.
#[test]
fn a_batch_that_is_durable_is_acknowledged_under_narrower_limits_too() -> Result<()> {
    let mut rig = Rig::new(&RigOptions { proxied: true, ..RigOptions::default() })?;
    let mut writer = Writer::new(&rig.logs().join("app.log"), 1)?;
    rig.start_agent()?;
    rig.wait_for_agent()?;
    rig.proxy.as_ref().context("no proxy")?.weather(Direction::Down, |down| down.stalled = true);
    writer.write(500)?;
    rig.wait_for_rows(500)?;
    // Its answer is lost with the connection.
    let config = rig.root().join("collector.toml");
    fs::write(&config, fs::read_to_string(&config)? + "\n" + SHORT + "\n")?;
    rig.collector.kill()?;
    let proxy = rig.proxy.as_ref().context("no proxy")?;
    proxy.cut();
    proxy.heal();
    rig.start_collector()?;
    let acknowledged = "lapwing_agent_events_total{cause=\"acknowledged\"}";
    wait::until("all is acknowledged", PATIENCE, || {
        Ok(http::figure(&rig.admin, acknowledged).ok().filter(|events| *events == 500))
    })?;
    assert_eq!(list(&rig.root().join("agent.toml").display().to_string())?, Vec::<Value>::new());
    let verdict = oracle::judge(&rig.http, &BTreeMap::from([(1, 500)]))?;
    assert!(verdict.is_clean(), "{verdict:?}");
    Ok(())
}
