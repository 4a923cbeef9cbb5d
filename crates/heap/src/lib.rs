//! How much memory this process has, and freed memory given back to the system.
//!
//! glibc gives back what lies at the end of a heap. Small pieces that were freed in the middle stay resident for ever, however many there are. One
//! call gives back each page of them (`malloc_trim(3)`), and Rust counts it as unsafe, as it does every function of the C library. It is a crate of
//! its own so that all others can forbid unsafe code.

use std::{fs, io};

/// Resident memory of this process that is its own, in bytes (`/proc/self/statm`, proc_pid_statm(5)).
///
/// # Errors
/// When the system does not tell.
pub fn resident() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let mut words = statm.split_whitespace().map(|word| word.parse::<u64>().ok());
    let (resident, shared) = (words.nth(1).flatten(), words.next().flatten());
    let (Some(resident), Some(shared)) = (resident, shared) else {
        return Err(io::Error::other(format!("/proc/self/statm is {statm:?}")));
    };
    Ok(resident.saturating_sub(shared).saturating_mul(rustix::param::page_size() as u64))
}

/// Gives every page back that holds nothing, and returns whether there were any. Each of the heaps is locked while it is looked through: some
/// milliseconds for a hundred megabytes. Does nothing where the C library is another one.
#[must_use]
pub fn give_back() -> bool {
    trim()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no other way to call it")]
fn trim() -> bool {
    // SAFETY: it takes a number, no pointer, and may be called by any thread at any time ("MT-Safe" in malloc_trim(3)).
    unsafe { libc::malloc_trim(0) == 1 }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() -> bool {
    false
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_freed_between_others_are_given_back() -> io::Result<()> {
        let mut pieces: Vec<Option<Vec<u8>>> = (0..32_000).map(|_| Some(vec![1; 2048])).collect();
        // One in sixteen stays, so that no end of a heap is free.
        for (place, piece) in pieces.iter_mut().enumerate() {
            if place % 16 != 0 {
                *piece = None;
            }
        }
        let before = resident()?;
        assert!(give_back());
        let after = resident()?;
        assert!(after + (20 << 20) < before, "{before} bytes, then {after}");
        assert_eq!(pieces.iter().flatten().count(), 2000);
        Ok(())
    }
}
