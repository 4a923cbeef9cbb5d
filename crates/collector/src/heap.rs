//! Memory that was freed, given back (docs/adr/0005).

use std::{fs, io, time::Duration};

use lapwing_service::{said::Said, watchdog::Beat};
use tokio::{task::spawn_blocking, time::sleep};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Time after memory was given back: whoever needs memory meanwhile waits, a tenth of a second for a heap that is all pieces.
const PAUSE: Duration = Duration::from_secs(20);
/// So much more resident memory than once was enough is looked through, in bytes.
const WORTH: u64 = 16 << 20;

/// Looks at the memory of this process again and again, and gives back what was freed while it has more than it once had.
pub(crate) async fn run(beat: Beat) {
    let said = Said::default();
    let (mut least, mut pause) = (u64::MAX, LOOK);
    loop {
        beat.rest();
        sleep(pause).await;
        beat.work();
        let looked = spawn_blocking(move || give_back(least)).await.unwrap_or_else(|error| Err(error.into()));
        match looked {
            Ok((left, given)) => {
                least = least.min(left);
                pause = if given.is_some() { PAUSE } else { LOOK };
            }
            Err(error) => {
                if let Some(left_out) = said.again(&()) {
                    tracing::warn!("can't tell how much memory this process has: {error}{left_out}");
                }
            }
        }
    }
}

/// Returns how many bytes are resident now, and how many were given back, if it was tried.
fn give_back(least: u64) -> io::Result<(u64, Option<u64>)> {
    let before = resident()?;
    if before < least.saturating_add(WORTH) {
        return Ok((before, None));
    }
    let _ = lapwing_heap::give_back();
    let left = resident()?;
    let given = before.saturating_sub(left);
    tracing::debug!("gave {} KiB of freed memory back", given >> 10);
    Ok((left, Some(given)))
}

/// Resident memory of this process that is its own, in bytes (`/proc/self/statm`, proc_pid_statm(5)).
fn resident() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let mut words = statm.split_whitespace().map(|word| word.parse::<u64>().ok());
    let (resident, shared) = (words.nth(1).flatten(), words.next().flatten());
    let (Some(resident), Some(shared)) = (resident, shared) else {
        return Err(io::Error::other(format!("/proc/self/statm is {statm:?}")));
    };
    Ok(resident.saturating_sub(shared).saturating_mul(rustix::param::page_size() as u64))
}
