//! `query` and `tail` as a user sees them: what is printed where, and the exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fake;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    process::{Child, Output, Stdio},
};

use fake::{Fake, TOKEN, lapwing};
use rustix::process::{Pid, Signal, kill_process};

/// Exit code, stdout and stderr.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn in_a_pipe_an_answer_is_a_json_object_per_line_and_a_cut_is_told_on_stderr() {
    let fake = Fake::start(None);
    let (code, out, err) = told(&fake.asked(&["query", "SELECT 1"]));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        "{\"n\":1,\"body\":\"line 1\"}\n{\"n\":2,\"body\":\"line 2\"}\n{\"n\":3,\"body\":\"line 3\"}\n"
    );
    assert!(err.starts_with("cut at 3 rows"), "{err}");
}

#[test]
fn a_table_has_its_count_on_stderr() {
    let (code, out, err) = told(&Fake::start(None).asked(&["query", "--format", "table", "SELECT 1"]));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, "n │ body\n──┼───────\n1 │ line 1\n2 │ line 2\n3 │ line 3\n");
    assert!(err.starts_with("(3 rows)\n"), "{err}");
}

#[test]
fn a_statement_can_come_from_stdin() {
    let fake = Fake::start(None);
    let mut command = lapwing(&["query", "-", "--endpoint", &fake.endpoint()]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"wrong").unwrap();
    let (code, _, err) = told(&child.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (Some(5), "error: no such column: x\n"));
}

#[test]
fn a_fault_in_the_middle_of_an_answer_is_not_taken_for_its_end() {
    let (code, _, err) = told(&Fake::start(None).asked(&["query", "broken"]));
    assert!(code == Some(1) && err.contains("the disk is gone"), "{err}");
}

#[test]
fn a_token_is_taken_from_the_environment_or_a_file_and_a_wrong_one_is_refused() {
    let fake = Fake::start(None);
    let (code, _, err) = told(&fake.asked(&["query", "who"]));
    assert!(code == Some(4) && err.contains("refused: no valid token"), "{err}");
    let mut command = lapwing(&["query", "who"]);
    let given =
        command.env("LAPWING_ENDPOINT", fake.endpoint()).env("LAPWING_TOKEN", TOKEN).output().unwrap();
    assert_eq!(given.status.code(), Some(0));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let given = fake.asked(&["query", "who", "--token-file", file.to_str().unwrap()]);
    assert_eq!(given.status.code(), Some(0));
}

#[test]
fn a_collector_that_is_not_there_is_named_with_the_reason() {
    // Bound and let go of: nobody else gets this port so soon.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let (code, _, err) = told(&lapwing(&["query", "SELECT 1", "--endpoint", &endpoint]).output().unwrap());
    assert!(code == Some(3) && err.contains(&endpoint) && err.contains("Connection refused"), "{err}");
}

#[test]
fn certificates_let_in_who_has_one_and_another_authority_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let dir = folder.path().join(name);
        let args =
            ["certs", "create", "--server", "localhost", "--user", "me", "--dir", dir.to_str().unwrap()];
        assert!(lapwing(&args).output().unwrap().status.success());
        dir
    };
    let (ours, theirs) = (make("ours"), make("theirs"));
    let fake = Fake::start(Some(&ours));
    let endpoint = format!("https://localhost:{}", fake.port);
    let ask = |ca: &str, identity: Option<&str>| {
        let mut command = lapwing(&["query", "SELECT 1", "--endpoint", &endpoint, "--ca", ca]);
        let files = identity.map(|dir| (format!("{dir}/user-me.pem"), format!("{dir}/user-me.key")));
        let args = files.iter().flat_map(|(cert, key)| ["--cert", cert, "--key", key]);
        told(&command.args(args).output().unwrap())
    };
    let path = |dir: &std::path::Path| dir.to_str().unwrap().to_owned();
    let ca = format!("{}/ca.pem", path(&ours));

    let (code, out, err) = ask(&ca, Some(&path(&ours)));
    assert!(code == Some(0) && out.lines().count() == 3, "{err}");
    let (code, _, err) = ask(&format!("{}/ca.pem", path(&theirs)), Some(&path(&ours)));
    assert!(
        code == Some(3) && err.contains("not signed by the authority given here") && err.contains(&endpoint),
        "{err}"
    );
    let (code, _, err) = ask(&ca, Some(&path(&theirs)));
    assert!(code == Some(3) && err.contains("not signed by the collector's authority"), "{err}");
    let (code, _, err) = ask(&ca, None);
    assert!(code == Some(3) && err.contains("wants to see a certificate"), "{err}");
}

fn tail(fake: &Fake, host: &str) -> Child {
    let args = ["tail", "--endpoint", &fake.endpoint(), "--host", host, "--text", "hello", "--backlog", "2"];
    lapwing(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_tail_prints_records_tells_what_it_left_out_and_that_the_connection_ended() {
    let (code, out, err) = told(&tail(&Fake::start(None), "").wait_with_output().unwrap());
    assert_eq!(code, Some(3));
    assert_eq!(out, "2026-01-01T00:00:00.000Z web-1 a.log hello\n".repeat(2));
    assert!(err.starts_with("7 records left out") && err.contains("ended the connection"), "{err}");
}

#[test]
fn ctrl_c_ends_a_tail_with_130() {
    let fake = Fake::start(None);
    let mut child = tail(&fake, "endless");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_tail_quietly() {
    let fake = Fake::start(None);
    let mut child = tail(&fake, "flood");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (code, _, err) = told(&child.wait_with_output().unwrap());
    assert_eq!((line.is_empty(), code, err.as_str()), (false, Some(0), ""));
}
