//! The patterns of log files in the agents' configs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::Finding;
use crate::{escape, home::Home, program};

/// The config of an agent that the system starts.
const SYSTEMS: &str = "/etc/lapwing/agent.toml";
/// What the agent says of a pattern begins with this, behind the time and the level.
const PATTERN: &str = "[collectors.logs] files: ";

/// Which patterns match nothing, as the agent itself finds them; nothing is said of a machine that has no config yet.
pub(super) fn unmatched(home: &Home) -> Vec<Finding> {
    let configs = [home.path().join("agent.toml"), PathBuf::from(SYSTEMS)];
    let Ok(agent) = program::sibling(program::AGENT) else { return Vec::new() };
    configs.iter().filter(|config| config.exists()).flat_map(|config| check(&agent, config)).collect()
}

fn check(agent: &Path, config: &Path) -> Vec<Finding> {
    let mut command = Command::new(agent);
    command.arg("--check").arg("--config").arg(config).stdin(Stdio::null());
    command.env("LAPWING_LOG", "warn").env_remove("LAPWING_LOG_FORMAT");
    match command.output() {
        Ok(output) => judge(config, output.status.success(), &String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            let agent = agent.display();
            vec![Finding::fault("patterns", format!("{agent}: {error}"), "install it again")]
        }
    }
}

/// What to say of a config for which the agent's check ended well or not, and said `told`.
fn judge(config: &Path, is_right: bool, told: &str) -> Vec<Finding> {
    let config = config.display();
    if !is_right {
        let advice = format!("`lapwing config check {config}` says all of it");
        let first = told.lines().next().unwrap_or("its check fails without a word");
        return vec![Finding::fault("patterns", escape::text(first).into_owned(), advice)];
    }
    let lines = told.lines().filter_map(|line| Some(line.split_once(PATTERN)?.1));
    let unmatched: Vec<Finding> = lines
        .map(|line| Finding::warning("patterns", format!("{config}: {}", escape::text(line)), ""))
        .collect();
    if unmatched.is_empty() {
        return vec![Finding::good("patterns", format!("each one in {config} matches a file"))];
    }
    unmatched
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn each_pattern_that_matches_nothing_is_a_warning_and_a_wrong_config_a_fault() {
        let config = Path::new("/etc/lapwing/agent.toml");
        let [good] = &judge(config, true, "")[..] else { panic!() };
        assert_eq!(good.level, Level::Good);

        let told = "2026-11-28T07:31:05Z  WARN [collectors.logs] files: \"/a/*.log\" matches no file\n\
                    2026-11-28T07:31:05Z  WARN something else\n\
                    2026-11-28T07:31:05Z  WARN [collectors.logs] files: \"/b\" matches no file\n";
        let findings = judge(config, true, told);
        let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert_eq!(texts[1], "patterns: /etc/lapwing/agent.toml: \"/b\" matches no file");
        assert!(findings.iter().all(|finding| finding.level == Level::Warning));

        let [wrong] = &judge(config, false, "agent.toml:1:2: unknown key\n")[..] else { panic!() };
        assert_eq!(wrong.level, Level::Fault);
        assert!(wrong.detail.contains("unknown key"), "{wrong}");
    }
}
