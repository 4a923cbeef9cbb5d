//! `lapwing doctor`.

mod clock;
mod data;
mod kernel;
mod network;
mod patterns;
mod sources;
mod trust;

use std::fmt;

use lapwing_service::client::Address;

use crate::{
    connection::Target,
    exit::{Exit, Failure, OrExit},
    home::HomeArgs,
    output::{self, Palette, Tone},
    ports::Ports,
    program,
};

/// Look at this machine: is there all that lapwing needs?
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    home: HomeArgs,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    level: Level,
    what: &'static str,
    detail: String,
    /// What to do about it; empty when nothing has to be done.
    advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Good,
    /// It will run, but not as well as it could.
    Warning,
    /// It won't run.
    Fault,
}

impl Finding {
    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self { level: Level::Good, what, detail: detail.into(), advice: String::new() }
    }

    fn warning(what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warning, what, detail: detail.into(), advice: advice.into() }
    }

    fn fault(what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Fault, what, detail: detail.into(), advice: advice.into() }
    }

    fn painted(&self, palette: Palette) -> String {
        let (word, tone) = match self.level {
            Level::Good => ("ok  ", Tone::Dim),
            Level::Warning => ("warn", Tone::Yellow),
            Level::Fault => ("FAIL", Tone::Red),
        };
        format!("{} {self}", palette.paint(tone, word))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, detail, advice, .. } = self;
        let end = if advice.is_empty() { "" } else { "; " };
        write!(f, "{what}: {detail}{end}{advice}")
    }
}

/// Checks everything, a line each, and fails when there is a fault.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let home = args.home.home()?;
    let collector = Address::parse(&Target::of(&home)?.endpoint).or_exit(Exit::Usage)?;
    let mut findings = programs();
    findings.extend(network::ports(Ports::from(collector.port)));
    findings.push(data::folder(home.path()));
    findings.push(data::space(home.path()));
    findings.push(sources::logs());
    findings.extend(patterns::unmatched(&home));
    findings.extend(trust::certificates(&home));
    findings.push(clock::check(&collector).await);
    findings.extend(kernel::limits());
    let palette = Palette::for_stdout();
    findings.iter().try_for_each(|finding| output::line(finding.painted(palette)))?;
    if findings.iter().any(|finding| finding.level == Level::Fault) {
        return Err(Exit::Broke.quietly());
    }
    Ok(())
}

fn programs() -> Vec<Finding> {
    let look = |name: &'static str| match program::sibling(name) {
        Ok(path) => Finding::good(name, path.display().to_string()),
        Err(_) => Finding::fault(
            name,
            "not found beside this program or on the PATH",
            "install it, or build it with `cargo build --bins`",
        ),
    };
    vec![look(program::COLLECTOR), look(program::AGENT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_with_what_to_do() {
        let good = Finding::good("clock", "2026");
        assert_eq!(good.painted(Palette::none()), "ok   clock: 2026");
        let fault = Finding::fault("disk", "full", "make room");
        assert_eq!(fault.painted(Palette::none()), "FAIL disk: full; make room");
    }
}
