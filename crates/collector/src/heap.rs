//! Memory that was freed, given back (docs/adr/0005).

use std::{fs, io, time::Duration};

use lapwing_service::{said::Said, watchdog::Beat};
use tokio::{task::spawn_blocking, time::sleep};

/// Time between two looks, and the longest one while there is little to give back.
const LOOK: Duration = Duration::from_secs(5);
const SELDOM: Duration = Duration::from_secs(30);
/// So much more resident memory than once was enough is looked through, in bytes.
const WORTH: u64 = 16 << 20;
/// Giving back less was not worth the work.
const LITTLE: u64 = 4 << 20;

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
            Ok(Given { left, was_little }) => {
                least = least.min(left);
                pause = if was_little { (pause * 2).min(SELDOM) } else { LOOK };
            }
            Err(error) => {
                if let Some(left_out) = said.again(&()) {
                    tracing::warn!("can't tell how much memory this process has: {error}{left_out}");
                }
            }
        }
    }
}

/// What a look came to.
struct Given {
    /// Resident memory now, in bytes.
    left: u64,
    /// It was looked through for little.
    was_little: bool,
}

fn give_back(least: u64) -> io::Result<Given> {
    let before = resident()?;
    if before < least.saturating_add(WORTH) {
        return Ok(Given { left: before, was_little: false });
    }
    let _ = lapwing_heap::give_back();
    let left = resident()?;
    let given = before.saturating_sub(left);
    tracing::debug!("gave {} KiB of freed memory back", given >> 10);
    Ok(Given { left, was_little: given < LITTLE })
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
