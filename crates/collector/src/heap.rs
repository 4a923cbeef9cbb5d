//! Memory that was freed, given back (docs/adr/0005).

use std::{io, time::Duration};

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
            Ok((left, was_tried)) => {
                least = least.min(left);
                pause = if was_tried { PAUSE } else { LOOK };
            }
            Err(error) => {
                if let Some(left_out) = said.again(&()) {
                    tracing::warn!("can't tell how much memory this process has: {error}{left_out}");
                }
            }
        }
    }
}

/// Returns how many bytes are resident now, and whether it was tried to make them fewer.
fn give_back(least: u64) -> io::Result<(u64, bool)> {
    let before = lapwing_heap::resident()?;
    if before < least.saturating_add(WORTH) {
        return Ok((before, false));
    }
    let _ = lapwing_heap::give_back();
    let left = lapwing_heap::resident()?;
    tracing::debug!("gave {} KiB of freed memory back", before.saturating_sub(left) >> 10);
    Ok((left, true))
}
