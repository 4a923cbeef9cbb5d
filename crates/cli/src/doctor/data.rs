//! The data folder.

use std::path::Path;

use rustix::fs::{Access, StatVfs, access, statvfs};

use super::Finding;

const MIB: u64 = 1 << 20;
/// With less than this nothing can be kept.
const TOO_LITTLE: u64 = 100 * MIB;
/// With less than this it won't last long.
const LITTLE: u64 = 2048 * MIB;

/// Whether the folder can be written, or made.
pub(super) fn folder(path: &Path) -> Finding {
    let what = "data folder";
    let nearest = nearest(path);
    let state = if nearest == path { "is there and can be written" } else { "can be made" };
    match access(nearest, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if nearest.is_dir() => Finding::good(what, format!("{} {state}", path.display())),
        Ok(()) => Finding::fault(
            what,
            format!("{} is no folder", nearest.display()),
            "choose another with --data-dir",
        ),
        Err(error) => Finding::fault(
            what,
            format!("{} can't be written: {error}", nearest.display()),
            "change its permissions, or choose another with --data-dir",
        ),
    }
}

/// How much room there is.
pub(super) fn space(path: &Path) -> Finding {
    match statvfs(nearest(path)) {
        Ok(about) => judge_space(free(&about)),
        Err(error) => {
            Finding::warning("disk", format!("can't be asked for free space: {error}"), "look at `df`")
        }
    }
}

fn free(about: &StatVfs) -> u64 {
    about.f_bavail.saturating_mul(about.f_frsize)
}

fn judge_space(free: u64) -> Finding {
    let advice = "make room, or choose a folder on another disk with --data-dir";
    let detail = format!("{} MiB free for data", free / MIB);
    match free {
        ..TOO_LITTLE => Finding::fault("disk", detail, advice),
        TOO_LITTLE..LITTLE => Finding::warning("disk", detail, advice),
        LITTLE.. => Finding::good("disk", detail),
    }
}

/// The path, or the nearest folder above it that is there.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_folder_that_is_not_there_is_judged_by_the_one_above() {
        let root = tempfile::tempdir().unwrap();
        let finding = folder(&root.path().join("a/b"));
        assert!(finding.level == Level::Good && finding.detail.ends_with("a/b can be made"), "{finding}");
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(folder(&file.join("data")).level, Level::Fault);
    }

    #[test]
    fn little_room_is_a_warning_and_none_a_fault() {
        let levels = [0, LITTLE - 1, LITTLE].map(|free| judge_space(free).level);
        assert_eq!(levels, [Level::Fault, Level::Warning, Level::Good]);
    }
}
