//! Connections whose other end is known, by its name.
//!
//! A name has at most so many of them. When one more comes, the oldest is closed, not the new one refused: an agent whose network went away
//! connects again before anybody has noticed that its old connection is dead.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// All connections of a listener that have a name.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_name: Mutex<HashMap<String, VecDeque<(u64, CancellationToken)>>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Named {
    known: Arc<Known>,
    name: String,
    number: u64,
}

impl Known {
    /// Counts connection `number` for `name`, which has at most `most`; `leave` is cancelled when it has to make room for a newer one.
    pub(super) fn enter(
        self: &Arc<Self>,
        name: &str,
        most: usize,
        number: u64,
        leave: CancellationToken,
    ) -> Named {
        let mut by_name = self.by_name();
        let own = by_name.entry(name.to_owned()).or_default();
        own.push_back((number, leave));
        if own.len() > most
            && let Some((_, oldest)) = own.pop_front()
        {
            oldest.cancel();
        }
        Named { known: Arc::clone(self), name: name.to_owned(), number }
    }

    fn by_name(&self) -> MutexGuard<'_, HashMap<String, VecDeque<(u64, CancellationToken)>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let mut by_name = self.known.by_name();
        if let Some(own) = by_name.get_mut(&self.name) {
            own.retain(|(number, _)| *number != self.number);
            if own.is_empty() {
                by_name.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_a_name_makes_room_and_nobody_elses() {
        let known = Arc::new(Known::default());
        let enter = |name: &str, number| {
            let leave = CancellationToken::new();
            (known.enter(name, 2, number, leave.clone()), leave)
        };
        let all = [enter("a", 0), enter("b", 1), enter("a", 2), enter("a", 3)];
        let gone: Vec<bool> = all.iter().map(|(_, leave)| leave.is_cancelled()).collect();
        assert_eq!(gone, [true, false, false, false]);
        drop(all);
        assert!(known.by_name().is_empty());
    }
}
