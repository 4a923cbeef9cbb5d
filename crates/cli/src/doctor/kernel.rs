//! What the kernel allows: file watches and open files.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::Finding;

/// A watch per folder with log files.
const WATCHES: u64 = 8192;
/// An instance per program; desktops and containers share one budget per user.
const INSTANCES: u64 = 64;
/// A descriptor per file that is read.
const FILES: u64 = 1024;

/// inotify and descriptors.
pub(super) fn limits() -> Vec<Finding> {
    vec![
        inotify("file watches", "fs.inotify.max_user_watches", WATCHES),
        inotify("watch instances", "fs.inotify.max_user_instances", INSTANCES),
        open_files(getrlimit(Resource::Nofile).current),
    ]
}

fn inotify(what: &'static str, name: &str, enough: u64) -> Finding {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let value = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    judge(what, name, value, enough)
}

fn judge(what: &'static str, name: &str, value: Option<u64>, enough: u64) -> Finding {
    match value {
        Some(value) if value >= enough => Finding::good(what, format!("{name} is {value}")),
        Some(value) => Finding::warning(
            what,
            format!("{name} is {value}, at least {enough} are advised"),
            format!("`sysctl -w {name}={enough}` as root"),
        ),
        None => Finding::warning(
            what,
            format!("{name} can't be read"),
            "new lines may be seen later here: files are polled where they can't be watched",
        ),
    }
}

/// `None` means no limit.
fn open_files(limit: Option<u64>) -> Finding {
    match limit {
        None => Finding::good("open files", "no limit"),
        Some(limit) if limit >= FILES => Finding::good("open files", format!("at most {limit}")),
        Some(limit) => Finding::warning(
            "open files",
            format!("at most {limit}, at least {FILES} are advised"),
            format!("`ulimit -n {FILES}`, or LimitNOFILE= in the unit"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn low_limits_are_warnings_with_the_command_that_raises_them() {
        let low = judge("file watches", "fs.inotify.max_user_watches", Some(10), WATCHES);
        assert_eq!(low.level, Level::Warning);
        assert!(low.advice.contains("sysctl -w fs.inotify.max_user_watches=8192"), "{low}");
        assert_eq!(judge("w", "n", Some(WATCHES), WATCHES).level, Level::Good);
        assert_eq!(judge("w", "n", None, WATCHES).level, Level::Warning);
        assert_eq!([open_files(None), open_files(Some(256))].map(|f| f.level), [Level::Good, Level::Warning]);
    }
}
