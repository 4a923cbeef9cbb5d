//! Log files to read.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use super::Finding;

const LOGS: &str = "/var/log";
/// How deep is looked, and how many files are tried: enough to tell.
const MAX_DEPTH: usize = 4;
const MAX_FILES: usize = 1000;

/// How many log files of this machine can be read.
pub(super) fn logs() -> Finding {
    let mut files = Vec::new();
    collect(Path::new(LOGS), MAX_DEPTH, &mut files);
    let readable = files.iter().filter(|path| File::open(path).is_ok()).count();
    judge(readable, files.len())
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    // A folder that can't be listed hides its files from the agent as well.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 {
            collect(&entry.path(), depth - 1, files);
        } else if kind.is_file() && is_log(&entry.path()) && files.len() < MAX_FILES {
            files.push(entry.path());
        }
    }
}

fn is_log(path: &Path) -> bool {
    let named = |name: &str| path.file_name().is_some_and(|file| file == name);
    path.extension().is_some_and(|end| end == "log") || named("syslog") || named("messages")
}

fn judge(readable: usize, all: usize) -> Finding {
    let detail = format!("{readable} of {all} log files in {LOGS} can be read");
    match (readable, all) {
        (_, 0) => Finding::warning(
            "logs",
            format!("no log files in {LOGS}"),
            "name the files of your programs with `lapwing up --logs GLOB`",
        ),
        (readable, all) if readable < all => {
            Finding::warning("logs", detail, "to read all of them, run as root or as a member of group adm")
        }
        _ => Finding::good("logs", detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn log_files_are_found_by_their_names() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        for file in ["syslog", "x.log", "a/b/y.log", "z.gz", "a/wtmp"] {
            fs::write(root.path().join(file), "").unwrap();
        }
        let mut files = Vec::new();
        collect(root.path(), MAX_DEPTH, &mut files);
        assert_eq!(files.len(), 3, "{files:?}");
    }

    #[test]
    fn unreadable_and_missing_files_are_warnings() {
        assert_eq!(
            [judge(0, 0), judge(1, 2), judge(2, 2)].map(|finding| finding.level),
            [Level::Warning, Level::Warning, Level::Good]
        );
    }
}
