//! What `lapwing up` says when all is up: commands to paste into another terminal.

use std::{borrow::Cow, path::Path};

use super::{certificates, configs::Plan};
use crate::{exit::Failure, ports, program};

/// A row typed by hand.
const ROW: &str = r#"{"batch":{"rows":{"logs":[{"body":"hello"}]}}}"#;
/// The newest lines in their order, without lapwing's own.
const NEWEST: &str = "SELECT time, source, body FROM (SELECT * FROM logs \
    WHERE source NOT LIKE '%/lapwing-%.log' ORDER BY seq DESC LIMIT 10) ORDER BY seq";
const METRICS: &str = "SELECT name, value FROM metrics ORDER BY time DESC LIMIT 5";

/// Where to look, and how.
pub(super) fn text(plan: &Plan<'_>) -> Result<String, Failure> {
    let lapwing = lapwing()?;
    let home = if plan.home().is_usual() {
        String::new()
    } else {
        format!(" --data-dir {}", shell(plan.home().path()))
    };
    let (grpc, http) = (ports::local(plan.ports().grpc), ports::local(plan.ports().http));
    let grpcurl = grpcurl(plan);
    let data = plan.home().path().display();
    Ok(format!(
        r#"
lapwing is up: gRPC with TLS on {grpc}, HTTP on {http}, data in {data}

Ask, in another terminal:

  {lapwing} query{home} "{NEWEST}"
  {lapwing} tail{home}

Over HTTP:

  curl -G http://{http}/api/v1/sql --data-urlencode "q={METRICS}"

Over gRPC, to look around and to send a row typed by hand:

  {grpcurl} {grpc} list
  {grpcurl} -d '{ROW}' {grpc} lapwing.v1.IngestService/Ingest

Ctrl-C stops both programs; the next start goes on from here."#
    ))
}

/// This program as it can be called: by its name where the PATH leads to it, else by its path.
fn lapwing() -> Result<String, Failure> {
    let own = program::own()?;
    let named = program::on_path("lapwing").and_then(|path| path.canonicalize().ok());
    let is_named = named.is_some() && named == own.canonicalize().ok();
    Ok(if is_named { "lapwing".to_owned() } else { shell(&own).into_owned() })
}

/// `grpcurl` with all that it needs to be let in. Its path is told, since another terminal may have another PATH.
fn grpcurl(plan: &Plan<'_>) -> String {
    let stem = certificates::user().stem();
    let program = program::on_path("grpcurl");
    let program = program.as_deref().map_or(Cow::Borrowed("grpcurl"), shell);
    let cert = |name: &str| shell(&plan.home().cert(name)).into_owned();
    let (ca, cert, key) = (cert("ca.pem"), cert(&format!("{stem}.pem")), cert(&format!("{stem}.key")));
    format!("{program} -cacert {ca} -cert {cert} -key {key}")
}

/// A path as one word of a shell.
fn shell(path: &Path) -> Cow<'static, str> {
    let text = path.display().to_string();
    let plain = |char: char| char.is_ascii_alphanumeric() || "/._-+:@".contains(char);
    if text.chars().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{home::HomeArgs, ports::Ports};

    #[test]
    fn every_command_can_be_pasted() {
        let home = HomeArgs::at(Path::new("/tmp/it's data")).home().unwrap();
        let plan = Plan::new(&home, Ports::from(9000), &[]).unwrap();
        let text = text(&plan).unwrap();
        assert!(text.contains(r" tail --data-dir '/tmp/it'\''s data'"), "{text}");
        assert!(text.contains(r"-cert '/tmp/it'\''s data/certs/user-me.pem'"), "{text}");
        assert!(
            text.contains("127.0.0.1:9000 list") && text.contains("http://127.0.0.1:9001/api/v1/sql"),
            "{text}"
        );
    }

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(shell(Path::new("/a/b-c_d.e")), "/a/b-c_d.e");
        assert_eq!(shell(Path::new("/a b$(x)")), "'/a b$(x)'");
    }
}
