//! The books of one sender: what it said it read of each source, and what of it is in the journal.
//!
//! A batch's positions say how many events the agent had read and dropped of each source; its rows are what arrives. Both are
//! booked when the batch is durable, so that with every sequence `read = dropped + journaled` holds for every source. A batch with
//! which it does not is a gap.

use std::collections::{BTreeMap, VecDeque};

use lapwing::v1::{Batch, Origin, SourcePosition, source_position::Position};
use prost::Message;

use crate::planted::{self, Bug};

/// Sources with books of their own; rows of further ones are booked together.
const MAX_ACCOUNTS: usize = 20_000;
/// What sources without books of their own are called.
const OTHERS: &str = "(others)";
/// Batches remembered that a sender did not confirm; more than it may have in flight.
const MAX_UNCONFIRMED: usize = 256;
/// Gaps remembered.
const MAX_GAPS: usize = 64;

/// Rows of a batch that name one source.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SourceRows {
    /// The source.
    #[prost(string, tag = "1")]
    pub source: String,
    /// How many.
    #[prost(uint64, tag = "2")]
    pub rows: u64,
}

/// What is booked of one source.
#[derive(Clone, PartialEq, Message)]
pub struct Account {
    /// The agent.
    #[prost(string, tag = "1")]
    pub agent: String,
    /// The source, as rows name it.
    #[prost(string, tag = "2")]
    pub source: String,
    /// Whether the sender keeps numbers, and so says what it read.
    #[prost(bool, tag = "3")]
    pub told: bool,
    /// Events read.
    #[prost(uint64, tag = "4")]
    pub read: u64,
    /// Of these, lines that were cut.
    #[prost(uint64, tag = "5")]
    pub truncated: u64,
    /// Of these, those that went through the agent's spool.
    #[prost(uint64, tag = "6")]
    pub spooled: u64,
    /// Of these, those that the agent knew to be durable.
    #[prost(uint64, tag = "7")]
    pub acknowledged: u64,
    /// Of these, those that are in no batch, by cause.
    #[prost(btree_map = "string, uint64", tag = "8")]
    pub dropped: BTreeMap<String, u64>,
    /// Rows in the journal.
    #[prost(uint64, tag = "9")]
    pub journaled: u64,
    /// `read - dropped - journaled`.
    #[prost(int64, tag = "10")]
    pub missing: i64,
    /// Epoch of the newest batch.
    #[prost(fixed64, tag = "11")]
    pub epoch: u64,
    /// Its sequence.
    #[prost(uint64, tag = "12")]
    pub sequence: u64,
    /// When it came, nanoseconds since the Unix epoch.
    #[prost(fixed64, tag = "13")]
    pub received_unix_nano: u64,
}

/// Rows whose acknowledgement the agent has not confirmed.
#[derive(Clone, PartialEq, Message)]
pub struct Unconfirmed {
    /// The batch.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// Its agent.
    #[prost(string, tag = "2")]
    pub agent: String,
    /// Its rows.
    #[prost(message, repeated, tag = "3")]
    pub rows: Vec<SourceRows>,
}

/// The books, as they are kept in a snapshot.
#[derive(Clone, PartialEq, Message)]
pub struct AccountsRecord {
    /// One per source.
    #[prost(message, repeated, tag = "1")]
    pub accounts: Vec<Account>,
    /// The newest gaps; each says what was missing with its batch.
    #[prost(message, repeated, tag = "2")]
    pub gaps: Vec<Account>,
    /// Rows on the disk, of which the agent may not know yet.
    #[prost(message, repeated, tag = "3")]
    pub unconfirmed: Vec<Unconfirmed>,
}

/// The books.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Accounts {
    accounts: BTreeMap<(String, String), Account>,
    gaps: VecDeque<Account>,
    unconfirmed: VecDeque<Unconfirmed>,
}

impl Accounts {
    /// Books a durable batch. `before` are the positions that its own ones replace.
    pub fn book(
        &mut self,
        batch: &Batch,
        rows: &[SourceRows],
        before: &BTreeMap<String, SourcePosition>,
        received: u64,
    ) {
        let origin = batch.origin.clone().unwrap_or_default();
        let told = origin.epoch != 0;
        let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
        let mut moved: BTreeMap<&str, Option<&SourcePosition>> = BTreeMap::new();
        for position in &batch.positions {
            let goes_on = !position.closed || planted::is(Bug::ClosedSourceBookedOn);
            let now = Some(position).filter(|_| goes_on);
            let before = moved.insert(&position.source, now).unwrap_or_else(|| before.get(&position.source));
            let account = self.account(&origin.agent_id, &position.display_name);
            let events = tell(account, before, position);
            *expected.entry(&position.display_name).or_default() += events;
        }
        if !batch.dropped_cause.is_empty() {
            for (source, events) in &mut expected {
                let account = self.account(&origin.agent_id, source);
                *account.dropped.entry(batch.dropped_cause.clone()).or_default() += (*events).max(0) as u64;
                *events = 0;
            }
        }
        for SourceRows { source, rows } in rows {
            self.account(&origin.agent_id, source).journaled += rows;
            *expected.entry(source).or_default() -= if told { *rows as i64 } else { 0 };
        }
        for (source, missing) in expected {
            self.compare(&origin, source, missing, received);
        }
        if told {
            self.confirm(batch.acknowledged_sequence);
            if self.unconfirmed.len() >= MAX_UNCONFIRMED {
                self.unconfirmed.pop_front();
            }
            self.unconfirmed.push_back(Unconfirmed {
                sequence: origin.sequence,
                agent: origin.agent_id,
                rows: rows.to_vec(),
            });
        }
    }

    /// Books what of a source is `missing` with a batch; when it is anything, the batch is a gap.
    fn compare(&mut self, origin: &Origin, source: &str, missing: i64, received: u64) {
        let account = self.account(&origin.agent_id, source);
        account.told = origin.epoch != 0;
        account.missing += missing;
        (account.epoch, account.sequence) = (origin.epoch, origin.sequence);
        account.received_unix_nano = received;
        if missing == 0 {
            return;
        }
        let gap = Account {
            agent: account.agent.clone(),
            source: account.source.clone(),
            missing,
            epoch: origin.epoch,
            sequence: origin.sequence,
            received_unix_nano: received,
            ..Account::default()
        };
        self.gaps.push_back(gap);
        if self.gaps.len() > MAX_GAPS {
            self.gaps.pop_front();
        }
    }

    /// The agent knows that everything up to `sequence` is durable.
    pub fn confirm(&mut self, sequence: u64) {
        while let Some(batch) = self.unconfirmed.pop_front_if(|batch| batch.sequence <= sequence) {
            for SourceRows { source, rows } in &batch.rows {
                self.account(&batch.agent, source).acknowledged += rows;
            }
        }
    }

    /// Books and gaps.
    pub fn iter(&self) -> (impl Iterator<Item = &Account>, impl Iterator<Item = &Account>) {
        (self.accounts.values(), self.gaps.iter())
    }

    fn account(&mut self, agent: &str, source: &str) -> &mut Account {
        let key = (agent.to_owned(), source.to_owned());
        let full = self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(&key);
        let key = if full { (agent.to_owned(), OTHERS.to_owned()) } else { key };
        let (agent, source) = key.clone();
        self.accounts.entry(key).or_insert_with(|| Account { agent, source, ..Account::default() })
    }

    /// As a part of a snapshot.
    pub fn record(&self) -> AccountsRecord {
        AccountsRecord {
            accounts: self.accounts.values().cloned().collect(),
            gaps: self.gaps.iter().cloned().collect(),
            unconfirmed: self.unconfirmed.iter().cloned().collect(),
        }
    }
}

impl From<AccountsRecord> for Accounts {
    fn from(record: AccountsRecord) -> Self {
        let key = |account: &Account| (account.agent.clone(), account.source.clone());
        Self {
            accounts: record.accounts.into_iter().map(|account| (key(&account), account)).collect(),
            gaps: record.gaps.into(),
            unconfirmed: record.unconfirmed.into(),
        }
    }
}

/// Books what a position says beyond the one before, and gives how many rows are to come with it.
fn tell(account: &mut Account, before: Option<&SourcePosition>, now: &SourcePosition) -> i64 {
    let none = SourcePosition::default();
    let before = before.unwrap_or(&none);
    let read = now.events_read.wrapping_sub(before.events_read) as i64;
    account.read = account.read.saturating_add_signed(read);
    account.truncated += now.events_truncated.saturating_sub(before.events_truncated);
    let mut dropped = 0;
    for (cause, events) in &now.events_dropped {
        let more = events.saturating_sub(before.events_dropped.get(cause).copied().unwrap_or(0));
        *account.dropped.entry(cause.clone()).or_default() += more;
        dropped += more;
    }
    let arriving = read.saturating_sub_unsigned(dropped);
    if matches!(now.position, Some(Position::SpoolIndex(_))) {
        account.spooled = account.spooled.saturating_add_signed(arriving);
    }
    arriving
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(read: u64, dropped: u64) -> SourcePosition {
        SourcePosition {
            source: "file:1".to_owned(),
            display_name: "a.log".to_owned(),
            events_read: read,
            events_truncated: read / 10,
            events_dropped: (dropped > 0).then(|| ("spool_full".to_owned(), dropped)).into_iter().collect(),
            ..SourcePosition::default()
        }
    }

    struct Case {
        accounts: Accounts,
        held: BTreeMap<String, SourcePosition>,
        sequence: u64,
    }

    impl Case {
        fn new() -> Self {
            Self { accounts: Accounts::default(), held: BTreeMap::new(), sequence: 0 }
        }

        fn book(&mut self, position: SourcePosition, rows: u64, cause: &str, acknowledged_sequence: u64) {
            self.sequence += 1;
            let batch = Batch {
                origin: Some(Origin { agent_id: "a".to_owned(), epoch: 7, sequence: self.sequence }),
                positions: vec![position.clone()],
                dropped_cause: cause.to_owned(),
                acknowledged_sequence,
                ..Batch::default()
            };
            let rows = (rows > 0).then(|| SourceRows { source: "a.log".to_owned(), rows });
            let rows: Vec<SourceRows> = rows.into_iter().collect();
            self.accounts.book(&batch, &rows, &self.held, 5);
            self.held.insert(position.source.clone(), position);
        }

        fn account(&self) -> &Account {
            self.accounts.accounts.values().next().unwrap()
        }
    }

    #[test]
    fn what_is_read_is_dropped_or_journaled() {
        let mut case = Case::new();
        case.book(position(10, 0), 10, "", 0);
        case.book(position(30, 5), 15, "", 1);
        case.book(position(40, 5), 0, "dead_letter", 2);
        let account = case.account();
        assert_eq!((account.read, account.journaled, account.missing), (40, 25, 0));
        assert_eq!((account.truncated, account.acknowledged), (4, 25));
        assert_eq!((account.dropped["spool_full"], account.dropped["dead_letter"]), (5, 10));
        assert!(case.accounts.gaps.is_empty());
    }

    #[test]
    fn rows_that_are_too_few_or_too_many_are_a_gap_at_their_batch() {
        let mut case = Case::new();
        case.book(position(10, 0), 10, "", 0);
        case.book(position(20, 0), 7, "", 0);
        case.book(position(30, 0), 11, "", 0);
        let gaps: Vec<(u64, i64)> =
            case.accounts.gaps.iter().map(|gap| (gap.sequence, gap.missing)).collect();
        assert_eq!(gaps, [(2, 3), (3, -1)]);
        assert_eq!(case.account().missing, 2);
    }

    #[test]
    fn a_source_that_is_closed_and_comes_again_in_one_batch_counts_from_nothing() {
        let mut case = Case::new();
        case.book(position(10, 0), 10, "", 0);
        let batch = Batch {
            origin: Some(Origin { agent_id: "a".to_owned(), epoch: 7, sequence: 2 }),
            positions: vec![SourcePosition { closed: true, ..position(12, 0) }, position(3, 0)],
            ..Batch::default()
        };
        case.accounts.book(&batch, &[SourceRows { source: "a.log".to_owned(), rows: 5 }], &case.held, 5);
        let account = case.account();
        assert_eq!((account.read, account.journaled, account.missing), (15, 15, 0));
    }

    #[test]
    fn a_snapshot_holds_the_books() {
        let mut case = Case::new();
        case.book(position(10, 0), 9, "", 0);
        let record = AccountsRecord::decode(&*case.accounts.record().encode_to_vec()).unwrap();
        assert_eq!(Accounts::from(record), case.accounts);
    }

    #[test]
    fn sources_beyond_the_limit_share_an_account() {
        let mut accounts = Accounts::default();
        let rows = |n: usize| [SourceRows { source: format!("{n}"), rows: 1 }];
        (0..MAX_ACCOUNTS + 10).for_each(|n| accounts.book(&Batch::default(), &rows(n), &BTreeMap::new(), 0));
        assert_eq!(accounts.accounts.len(), MAX_ACCOUNTS + 1);
        let sum: u64 = accounts.accounts.values().map(|account| account.journaled).sum();
        assert_eq!(sum as usize, MAX_ACCOUNTS + 10);
    }
}
