//! What one batch may name, and what is remembered of one sender. docs/security.md has the figures.
//!
//! The bounds are far beyond what an agent sends: the longest path that a kernel takes, and more files than one host follows.

use lapwing::{
    status::Kind,
    v1::{Batch, SourcePosition},
};
use prost::Message;

/// Most positions of a batch.
pub const MAX_BATCH_POSITIONS: usize = 4_096;
/// Positions remembered of a sender ...
pub(crate) const MAX_POSITIONS: usize = 50_000;
/// ... and what they take in memory.
pub(crate) const MAX_POSITIONS_BYTES: usize = 16 << 20;
/// Longest key of a source.
const MAX_SOURCE_BYTES: usize = 256;
/// Longest name of a source: a path has at most 4,096 bytes.
pub const MAX_NAME_BYTES: usize = 4096;
/// Longest position, with its names: a link and its target, of the longest there are.
const MAX_POSITION_BYTES: usize = 12 << 10;
/// Most causes for which events of one source were dropped ...
const MAX_CAUSES: usize = 16;
/// ... and the longest.
const MAX_CAUSE_BYTES: usize = 64;
/// Longest id of an agent.
const MAX_ID_BYTES: usize = 256;

/// Checks the names and positions of a batch.
///
/// # Errors
/// What is too long or too many, and what is allowed.
pub fn check_bounds(batch: &Batch) -> Result<(), (Kind, String)> {
    let id = batch.origin.as_ref().map_or(0, |origin| origin.agent_id.len());
    check_id(id)?;
    check("dropped_cause", batch.dropped_cause.len(), MAX_CAUSE_BYTES)?;
    if batch.positions.len() > MAX_BATCH_POSITIONS {
        let text = format!(
            "positions: there are {}, at most {MAX_BATCH_POSITIONS} go into a batch",
            batch.positions.len()
        );
        return Err((Kind::TooLarge, text));
    }
    batch.positions.iter().try_for_each(check_position)
}

/// Checks the length of an agent's id.
///
/// # Errors
/// When it is too long.
pub fn check_id(bytes: usize) -> Result<(), (Kind, String)> {
    check("agent_id", bytes, MAX_ID_BYTES)
}

fn check_position(position: &SourcePosition) -> Result<(), (Kind, String)> {
    check("positions: a source", position.source.len(), MAX_SOURCE_BYTES)?;
    check("positions: a display_name", position.display_name.len(), MAX_NAME_BYTES)?;
    check("positions: a position", position.encoded_len(), MAX_POSITION_BYTES)?;
    if position.events_dropped.len() > MAX_CAUSES {
        let causes = position.events_dropped.len();
        let text = format!("positions: events_dropped has {causes} causes, at most {MAX_CAUSES} are taken");
        return Err((Kind::InvalidArgument, text));
    }
    let longest = position.events_dropped.keys().map(String::len).max().unwrap_or(0);
    check("positions: a cause", longest, MAX_CAUSE_BYTES)
}

fn check(what: &str, bytes: usize, limit: usize) -> Result<(), (Kind, String)> {
    if bytes <= limit {
        return Ok(());
    }
    Err((Kind::InvalidArgument, format!("{what} has {bytes} bytes, at most {limit} are taken")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(position: SourcePosition) -> bool {
        check_bounds(&Batch { positions: vec![position], ..Batch::default() }).is_err()
    }

    #[test]
    fn the_longest_path_is_a_name_and_nothing_longer() {
        let named = |bytes| SourcePosition { display_name: "x".repeat(bytes), ..SourcePosition::default() };
        assert!(!refused(named(4096)));
        assert!(refused(named(4097)));
    }

    #[test]
    fn a_position_has_few_causes_and_short_ones() {
        let causes = |count: usize, bytes: usize| SourcePosition {
            events_dropped: (0..count).map(|n| (format!("{n:0bytes$}"), 1)).collect(),
            ..SourcePosition::default()
        };
        assert!(!refused(causes(16, 64)));
        assert!(refused(causes(17, 64)) && refused(causes(1, 65)));
    }

    #[test]
    fn a_batch_names_many_positions_but_not_any_number() {
        let with = |count| Batch { positions: vec![SourcePosition::default(); count], ..Batch::default() };
        assert_eq!(check_bounds(&with(MAX_BATCH_POSITIONS)), Ok(()));
        assert!(matches!(check_bounds(&with(MAX_BATCH_POSITIONS + 1)), Err((Kind::TooLarge, _))));
    }
}
