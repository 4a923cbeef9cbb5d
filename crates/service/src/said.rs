//! A message that repeats is said once in a while, and counted in between.
//!
//! Whoever can make a program write a line can fill its disk with them, or hide one line among a million. So what is caused from
//! outside is said once in [`PAUSE`] for each subject (an address, a file, a kind of error), and the next line says how many were left
//! out. Subjects are bounded as well: beyond `SUBJECTS` of them in one pause all further ones share one line.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The usual pause between two lines about the same subject.
pub const PAUSE: Duration = Duration::from_secs(10);
/// Most subjects that are remembered.
const SUBJECTS: usize = 1024;

/// What was said about which subject, and when.
#[derive(Debug)]
pub struct Said<K> {
    pause: Duration,
    heard: Mutex<HashMap<Option<K>, Heard>>,
}

#[derive(Debug)]
struct Heard {
    at: Instant,
    /// Lines left out since.
    left_out: u64,
}

/// How many lines were left out since the last one that was written. It is displayed as the end of a line: as nothing, or as
/// ` (and 7 more such)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut(pub u64);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            more => write!(f, " (and {more} more such)"),
        }
    }
}

impl<K: Eq + Hash + Clone> Default for Said<K> {
    fn default() -> Self {
        Self::new(PAUSE)
    }
}

impl<K: Eq + Hash + Clone> Said<K> {
    /// Nothing was said so far; two lines about a subject are `pause` apart.
    pub fn new(pause: Duration) -> Self {
        Self { pause, heard: Mutex::default() }
    }

    /// Whether a line about `subject` is to be written now, and how many were left out before it. `None` means: not now, it is counted.
    pub fn again(&self, subject: &K) -> Option<LeftOut> {
        self.again_at(subject, Instant::now())
    }

    fn again_at(&self, subject: &K, now: Instant) -> Option<LeftOut> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= SUBJECTS {
            heard.retain(|_, about| now.duration_since(about.at) < self.pause);
        }

        let own = Some(subject.clone());
        let subject = if heard.len() < SUBJECTS || heard.contains_key(&own) { own } else { None };
        let Some(about) = heard.get_mut(&subject) else {
            heard.insert(subject, Heard { at: now, left_out: 0 });
            return Some(LeftOut(0));
        };
        if now.duration_since(about.at) < self.pause {
            about.left_out += 1;
            return None;
        }
        about.at = now;
        Some(LeftOut(std::mem::take(&mut about.left_out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_said_once_in_a_pause_and_counted() {
        let said = Said::default();
        let start = Instant::now();
        assert_eq!(said.again_at(&"a", start), Some(LeftOut(0)));
        (0..7).for_each(|_| assert_eq!(said.again_at(&"a", start), None));
        assert_eq!(said.again_at(&"b", start), Some(LeftOut(0)), "another subject has a line of its own");

        let again = said.again_at(&"a", start + PAUSE).unwrap();
        assert_eq!(again.to_string(), " (and 7 more such)");
        assert_eq!(said.again_at(&"a", start + PAUSE * 2).unwrap().to_string(), "");
    }

    #[test]
    fn a_crowd_of_subjects_shares_one_line_and_is_forgotten() {
        let said = Said::default();
        let start = Instant::now();
        let spoken = (0..10_000).filter(|subject| said.again_at(subject, start).is_some()).count();
        assert_eq!(spoken, SUBJECTS + 1, "each of the first, and one for all others");
        assert!(said.heard.lock().unwrap().len() <= SUBJECTS + 1);

        assert!(said.again_at(&20_000, start + PAUSE).is_some());
        assert_eq!(said.heard.lock().unwrap().len(), 1);
    }
}
