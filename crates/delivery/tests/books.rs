//! Whatever a message claims, the books stand: nothing panics, and an account that closes is right.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use lapwing::{
    status::Kind,
    v1::{Batch, Origin, SourcePosition, source_position::Position},
};
use lapwing_delivery::{
    Agent,
    accounts::{Account, MAX_JUMP, SourceRows},
    journal::{BatchRecord, Move},
};
use proptest::prelude::*;

/// Numbers at the ends of their range, and some between.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..20,
        Just(u64::MAX),
        Just(u64::MAX - 1),
        Just(1 << 63),
        Just((1 << 63) - 1),
        Just(MAX_JUMP),
        any::<u64>(),
    ]
}

fn position() -> impl Strategy<Value = SourcePosition> {
    let dropped = prop::collection::hash_map("[ab]", number(), 0..3);
    let counts = (number(), number(), dropped, any::<bool>());
    ("[xy]", "[ab]", counts, prop::option::of(number())).prop_map(|(source, name, counts, spool)| {
        SourcePosition {
            source,
            display_name: name,
            events_read: counts.0,
            events_truncated: counts.1,
            events_dropped: counts.2,
            closed: counts.3,
            position: spool.map(Position::SpoolIndex),
        }
    })
}

fn batch() -> impl Strategy<Value = (Batch, Vec<SourceRows>)> {
    let rows = prop::collection::vec(("[abc]", number()), 0..3);
    let cause = prop_oneof![Just(String::new()), Just("dead_letter".to_owned())];
    (prop::collection::vec(position(), 0..4), rows, cause, number()).prop_map(
        |(positions, rows, dropped_cause, acknowledged_sequence)| {
            let batch = Batch { positions, dropped_cause, acknowledged_sequence, ..Batch::default() };
            (batch, rows.into_iter().map(|(source, rows)| SourceRows { source, rows }).collect())
        },
    )
}

fn closes_right(account: &Account) -> bool {
    let dropped: i128 = account.dropped.values().copied().map(i128::from).sum();
    let missing = i128::from(account.read) - dropped - i128::from(account.journaled);
    account.missing != 0 || missing == 0
}

proptest! {
    #[test]
    fn no_count_makes_the_books_panic_or_close_wrongly(batches in prop::collection::vec(batch(), 1..8)) {
        let mut agent = Agent::default();
        let origin = |sequence| Origin { agent_id: "a".to_owned(), epoch: 7, sequence, ..Origin::default() };
        for (sequence, (batch, rows)) in (1..).zip(batches) {
            let batch = Batch { origin: Some(origin(sequence)), ..batch };
            // The door may refuse it; what an earlier version journaled is replayed nevertheless.
            let _ = agent.booking(&batch, &rows, 5);
            let record = BatchRecord { batch: Some(batch), received_unix_nano: 5, sender: "a".to_owned(), rows };
            agent.replay(Move::Batch(&record));
            for account in agent.accounts().iter().0 {
                prop_assert!(closes_right(&account), "{:?}", account);
            }
        }
    }
}

fn claims(events_read: u64, events_truncated: u64) -> Batch {
    let position = SourcePosition {
        source: "file:1".to_owned(),
        display_name: "a.log".to_owned(),
        events_read,
        events_truncated,
        ..SourcePosition::default()
    };
    let origin = Origin { agent_id: "a".to_owned(), epoch: 7, sequence: 1, ..Origin::default() };
    Batch { origin: Some(origin), positions: vec![position], ..Batch::default() }
}

#[test]
fn counts_that_jump_further_than_any_host_reads_are_refused_before_they_are_journaled() {
    let agent = Agent::default();
    let refused = |batch: &Batch| agent.booking(batch, &[], 5).map(|_| ()).map_err(|(kind, _)| kind);
    assert_eq!(refused(&claims(u64::MAX, 0)), Err(Kind::InvalidArgument));
    assert_eq!(refused(&claims(0, u64::MAX)), Err(Kind::InvalidArgument));
    assert_eq!(refused(&claims(MAX_JUMP + 1, 0)), Err(Kind::InvalidArgument));
    assert_eq!(refused(&claims(MAX_JUMP, MAX_JUMP)), Ok(()));
}

#[test]
fn a_sender_leaves_so_many_positions_behind_and_no_more() {
    let mut agent = Agent::default();
    let batch = |sequence: u64, bytes: usize| {
        let position = |n: usize| SourcePosition {
            source: format!("file:{sequence}:{n}"),
            display_name: "x".repeat(bytes),
            ..SourcePosition::default()
        };
        let origin = Origin { agent_id: "a".to_owned(), epoch: 7, sequence, ..Origin::default() };
        Batch { origin: Some(origin), positions: (0..2_000).map(position).collect(), ..Batch::default() }
    };
    // 20,000 files with long names, and some hundred bytes of what they hold, are an honest agent's.
    for sequence in 1..=10 {
        let batch = batch(sequence, 700);
        let booking = agent.booking(&batch, &[], 5).unwrap();
        agent.deliver(&batch, booking);
    }
    let refused = agent.booking(&batch(11, 4_000), &[], 5).unwrap_err();
    assert_eq!(refused.0, Kind::Overloaded);
    // One that is known may move on.
    let again = batch(3, 700);
    assert!(agent.booking(&again, &[], 5).is_ok());
}
