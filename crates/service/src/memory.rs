//! Memory that is given back when it is freed (docs/adr/0005).

use std::{env, io, os::unix::process::CommandExt, process::Command};

/// Where the C library reads it, at start only.
const THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";
/// Batches, columns and pages of a lake are larger.
const BYTES: &str = "131072";

/// Starts this program again, in the same process, with large buffers as mappings of their own. As it is, glibc raises that bound with
/// the buffers it sees, to tens of megabytes; then they lie between others in the heaps of many threads, and what is freed is neither
/// given back nor fits what comes. A third of the memory of a busy collector was such holes.
///
/// Gives why it could not be done; the program goes on as it is then. Where the variable is set, its value stands.
pub fn give_back_what_is_freed() -> Option<io::Error> {
    if env::var_os(THRESHOLD).is_some() {
        return None;
    }
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return Some(error),
    };
    let mut words = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    Some(command.args(words).env(THRESHOLD, BYTES).env("MALLOC_TRIM_THRESHOLD_", BYTES).exec())
}
