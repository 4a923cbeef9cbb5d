//! Log files: found by glob, read in chunks, followed through rotation.
//!
//! - **Identity.** A file is its inode and birth time on its device, and what was read of it; a path is only a name for it. A renamed file goes on
//!   where it was; a new file under an old name, or on a reused inode, begins at its start, unless it is a copy of the old one.
//! - **Changes below the position** are seen by the size, or by bytes that changed. What was not read before a truncation is read from the copy that
//!   rotation leaves, if there is one; then reading goes on where the content is not what was read, or at the beginning.
//! - **Descriptors.** When there are too few for all files, those that are read to their end give theirs to others in turn.
//! - **Positions** are behind whole lines. They travel with the lines; the file's next reading begins at the one that is durable.
//! - **Reading** is by chunks of up to 256 KiB; line ends are found by SIMD, and nothing is allocated per line. A last line without its
//!   end is given out when nothing came to it for a while; its rest is a row of its own.
//! - **Waking.** An idle file has a one-shot inotify watch; one that grows is polled, so that a busy writer costs one wake-up
//!   per [`PACE`] and not one per write. A scan of the globs now and then is the safety net.
//! - **Back-pressure.** A full channel stops the thread. Files are held open meanwhile, also when they are rotated away or deleted.

mod blocks;
mod content;
mod copy;
mod discover;
mod file;
mod fingerprint;
mod first_lines;
mod holes;
mod identity;
mod keys;
mod last_lines;
mod lines;
mod names;
mod tailer;
mod text;
mod watch;

use std::time::Duration;

use lapwing_service::config::Section;

pub use self::{
    discover::{Globs, Pattern},
    tailer::Tailer,
};

/// Pause between two looks at files that grow. A line waits for half of it on average, and each look costs a shipment: at
/// 10,000 lines a second shipments, and not lines, are what the agent's CPU goes to.
pub const PACE: Duration = Duration::from_millis(75);

/// Where a file that was never seen begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At its first byte.
    Beginning,
    /// Behind what is in it when the agent starts for the first time.
    End,
}

/// What makes a file the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileIdentity {
    /// Its inode, and what it holds: what is still the same in a file that was replaced, overwritten or cut is not read again.
    Auto,
    /// Its inode: other bytes under the position are another content, which is read whole.
    Inode,
}

/// `[collectors.logs]`, checked.
#[derive(Debug, Clone)]
pub struct FilesConfig {
    /// What to read.
    pub globs: Globs,
    /// Where files begin that are there at the very first start. Later ones begin at their first byte.
    pub start_at: StartAt,
    /// Longer lines are cut, and marked.
    pub max_line_bytes: usize,
    /// Longest time until a new file is found without an event.
    pub rescan_interval: Duration,
    /// What makes a file the same.
    pub identity: FileIdentity,
    /// How long a last line may wait for its end until it is given out without; `None` is for ever.
    pub unfinished_line: Option<Duration>,
    /// How long a file that was rotated away or deleted is still followed after its last line.
    pub close_after: Duration,
}

impl FilesConfig {
    /// Takes the section; `None` when logs are not enabled.
    pub fn take(logs: &Section<'_>, warnings: &mut Vec<String>) -> Option<Self> {
        let enabled = logs.bool("enabled").unwrap_or(logs.is_there());
        let identity_words = [("auto", FileIdentity::Auto), ("inode", FileIdentity::Inode)];
        let start_words = [("beginning", StartAt::Beginning), ("end", StartAt::End)];
        let files = logs.strings("files").unwrap_or_default();
        let exclude = logs.strings("exclude").unwrap_or_default();
        let units = logs.strings("journald_units").unwrap_or_default();
        let globs = Globs {
            include: discover::patterns(&files, |reason| logs.problem("files", reason)),
            exclude: discover::patterns(&exclude, |reason| logs.problem("exclude", reason)),
        };
        let config = Self {
            globs,
            start_at: logs.one_of("start_at", &start_words).unwrap_or(StartAt::Beginning),
            max_line_bytes: logs.number("max_line_bytes", 64, 1 << 20).unwrap_or(256 << 10) as usize,
            rescan_interval: logs.seconds("rescan_interval_secs", 1, 3600).unwrap_or(Duration::from_secs(5)),
            identity: logs.one_of("identity", &identity_words).unwrap_or(FileIdentity::Auto),
            unfinished_line: match logs.number("unfinished_line_ms", 0, 86_400_000).unwrap_or(1000) {
                0 => None,
                millis => Some(Duration::from_millis(millis)),
            },
            close_after: logs.seconds("close_after_secs", 1, 86_400).unwrap_or(Duration::from_secs(30)),
        };
        logs.finish();
        if !enabled {
            return None;
        }
        if !units.is_empty() {
            warnings.push(format!(
                "[collectors.logs] journald_units: the journal is not read yet; {} is left out",
                units.join(", ")
            ));
        }
        if files.is_empty() && units.is_empty() {
            logs.problem("files", "names no file; give paths or globs such as \"/var/log/**/*.log\"");
        }
        Some(config)
    }
}
