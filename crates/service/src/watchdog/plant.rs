//! Panics and hangs that a test wants.
//!
//! A program with debug assertions that finds the folder `LAPWING_PLANT` in its environment looks there for a file with a part's name: it says `panic`
//! or `hang`, and at its next beat the part does. Release builds have none of this, and nobody but who starts a program sets its environment.

use std::{fs, path::PathBuf, sync::atomic::Ordering::Relaxed, time::Duration};

use super::part::{Beat, State};

const PANIC: u8 = 1;
const HANG: u8 = 2;

/// Where faults come from.
#[derive(Debug)]
pub(super) struct Plants(Option<PathBuf>);

impl Plants {
    pub(super) fn from_environment() -> Self {
        let folder = std::env::var_os("LAPWING_PLANT").filter(|_| cfg!(debug_assertions));
        Self(folder.map(PathBuf::from))
    }

    /// Time between two looks, shorter than else: a test need not wait for a whole bound.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.0.as_ref().map(|_| Duration::from_millis(250))
    }

    /// Takes the fault that lies there for this part.
    pub(super) fn plant(&self, state: &State) {
        let Some(folder) = &self.0 else { return };
        let path = folder.join(&*state.name);
        let Ok(word) = fs::read_to_string(&path) else { return };
        let fault = match word.trim() {
            "panic" => PANIC,
            "hang" => HANG,
            _ => return,
        };
        if fs::remove_file(&path).is_ok() {
            state.planted.store(fault, Relaxed);
        }
    }
}

/// Takes what is planted for a part; zero for nothing.
fn planted(state: &State) -> u8 {
    if !cfg!(debug_assertions) || state.planted.load(Relaxed) == 0 {
        return 0;
    }
    state.planted.swap(0, Relaxed)
}

/// Does to a thread what is planted for it.
pub(super) fn strike(beat: &Beat) {
    match planted(beat.state()) {
        PANIC => panic_here(),
        HANG => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        _ => {}
    }
}

/// Does to a task what is planted for it; `true` when it is to hang without taking a thread of the runtime with it.
pub(super) fn strike_task(beat: &Beat) -> bool {
    match planted(beat.state()) {
        PANIC => panic_here(),
        HANG => true,
        _ => false,
    }
}

#[expect(clippy::panic, reason = "a test asked for it")]
fn panic_here() -> ! {
    panic!("planted by a test")
}
