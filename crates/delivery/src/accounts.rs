//! The books of one sender: what it said it read of each source, and what of it is in the journal.
//!
//! A batch's positions say how many events the agent had read and dropped of each source; its rows are what arrives. Both are
//! booked when the batch is durable, so that with every sequence `read = dropped + journaled` holds for every source. A batch with
//! which it does not is a gap.

mod booking;

use std::collections::{BTreeMap, VecDeque};

use lapwing::{batch, v1::Origin};
use prost::Message;

use self::booking::Counts;
pub use self::booking::{Booking, MAX_JUMP};

/// Sources with books of their own; rows of further ones are booked together.
const MAX_ACCOUNTS: usize = 20_000;
/// What sources without books of their own are called.
const OTHERS: &str = "(others)";
/// Batches remembered that a sender did not confirm; more than it may have in flight.
const MAX_UNCONFIRMED: usize = 256;
/// Bytes of the source names of those batches.
const MAX_UNCONFIRMED_BYTES: usize = 4 << 20;
/// Gaps remembered.
const MAX_GAPS: usize = 64;
/// Bytes of the names of all sources with books of their own.
const MAX_NAME_BYTES: usize = 4 << 20;
/// Causes of one source; events dropped for further ones are booked together.
const MAX_CAUSES: usize = 16;
/// What is missing of a source whose sums do not fit any more.
const UNKNOWN: i64 = i64::MAX;

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
    /// Of these, those that are in no batch, by cause; and those of batches that could not be turned into rows, whoever sent them.
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
    /// Bytes of the names of all sources.
    name_bytes: usize,
}

impl Accounts {
    /// Books a durable batch. Its [`Booking`] was computed before it became durable: nothing here can fail.
    pub fn book(&mut self, booking: Booking) {
        let told = booking.told();
        let Booking { origin, sources, rows, received, confirmed, .. } = booking;
        for (source, counts) in sources {
            self.add(&origin, &source, counts, received);
        }
        if told {
            self.confirm(confirmed);
            self.unconfirmed.push_back(Unconfirmed {
                sequence: origin.sequence,
                agent: origin.agent_id,
                rows,
            });
            self.bound_unconfirmed();
        }
    }

    /// Books one source of a batch; when anything of it is missing, the batch is a gap.
    fn add(&mut self, origin: &Origin, source: &str, counts: Counts, received: u64) {
        let missing = clamp(counts.missing);
        let account = self.account(&origin.agent_id, source);
        account.told = origin.epoch != 0;
        account.epoch = origin.epoch;
        account.sequence = origin.sequence;
        account.received_unix_nano = received;
        account.add(counts);

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

    /// What an agent never confirms is forgotten; its rows are then never counted as acknowledged.
    fn bound_unconfirmed(&mut self) {
        let size = |batch: &Unconfirmed| -> usize {
            batch.rows.iter().map(|rows| rows.source.len() + size_of::<SourceRows>()).sum()
        };
        let mut bytes: usize = self.unconfirmed.iter().map(size).sum();
        while self.unconfirmed.len() > MAX_UNCONFIRMED || bytes > MAX_UNCONFIRMED_BYTES {
            let Some(oldest) = self.unconfirmed.pop_front() else { return };
            bytes -= size(&oldest);
        }
    }

    /// Rows that were booked as journaled can't be stored: they are dropped.
    pub fn leave_out(&mut self, agent: &str, rows: &[SourceRows]) {
        for SourceRows { source, rows } in rows {
            let account = self.account(agent, source);
            let moved = account.journaled.min(*rows);
            account.journaled -= moved;
            let dropped = account.dropped_for(batch::UNREADABLE.to_owned());
            *dropped = dropped.saturating_add(moved);
        }
    }

    /// The agent knows that everything up to `sequence` is durable.
    pub fn confirm(&mut self, sequence: u64) {
        while let Some(batch) = self.unconfirmed.pop_front_if(|batch| batch.sequence <= sequence) {
            for SourceRows { source, rows } in &batch.rows {
                let account = self.account(&batch.agent, source);
                account.acknowledged = account.acknowledged.saturating_add(*rows);
            }
        }
    }

    /// Books and gaps.
    pub fn iter(&self) -> (impl Iterator<Item = &Account>, impl Iterator<Item = &Account>) {
        (self.accounts.values(), self.gaps.iter())
    }

    fn account(&mut self, agent: &str, source: &str) -> &mut Account {
        let mut key = (agent.to_owned(), source.to_owned());
        if !self.accounts.contains_key(&key) {
            let full = self.accounts.len() >= MAX_ACCOUNTS
                || self.name_bytes.saturating_add(source.len()) > MAX_NAME_BYTES;
            if full {
                OTHERS.clone_into(&mut key.1);
            } else {
                self.name_bytes += source.len();
            }
        }
        let new = || Account { agent: agent.to_owned(), source: key.1.clone(), ..Account::default() };
        self.accounts.entry(key.clone()).or_insert_with(new)
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
            name_bytes: record.accounts.iter().map(|account| account.source.len()).sum(),
            accounts: record.accounts.into_iter().map(|account| (key(&account), account)).collect(),
            gaps: record.gaps.into(),
            unconfirmed: record.unconfirmed.into(),
        }
    }
}

impl Account {
    /// Adds what a batch books. A sum that does not fit is not known any more: then the account never closes again.
    fn add(&mut self, counts: Counts) {
        let mut exact = self.missing != UNKNOWN;
        exact &= add(&mut self.read, counts.read);
        exact &= add(&mut self.truncated, counts.truncated);
        exact &= add(&mut self.journaled, counts.journaled);
        for (cause, events) in counts.dropped {
            exact &= add(self.dropped_for(cause), events);
        }
        let missing = i64::try_from(i128::from(self.missing) + counts.missing);
        self.missing = missing.ok().filter(|_| exact).unwrap_or(UNKNOWN);
        // What is told by the way, and compared with nothing.
        add(&mut self.spooled, counts.spooled);
    }

    fn dropped_for(&mut self, cause: String) -> &mut u64 {
        let full = self.dropped.len() >= MAX_CAUSES && !self.dropped.contains_key(&cause);
        self.dropped.entry(if full { OTHERS.to_owned() } else { cause }).or_default()
    }
}

/// Moves a sum, to the nearest number that there is; tells whether the sum is exact.
fn add(sum: &mut u64, change: i128) -> bool {
    let exact = i128::from(*sum).saturating_add(change);
    let nearest = u64::try_from(exact.max(0)).unwrap_or(u64::MAX);
    *sum = nearest;
    i128::from(nearest) == exact
}

fn clamp(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use lapwing::v1::{Batch, SourcePosition};

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
                origin: Some(Origin {
                    agent_id: "a".to_owned(),
                    epoch: 7,
                    sequence: self.sequence,
                    ..Origin::default()
                }),
                positions: vec![position.clone()],
                dropped_cause: cause.to_owned(),
                acknowledged_sequence,
                ..Batch::default()
            };
            let rows = (rows > 0).then(|| SourceRows { source: "a.log".to_owned(), rows });
            let rows: Vec<SourceRows> = rows.into_iter().collect();
            self.accounts.book(Booking::new(&batch, &rows, |source| self.held.get(source).cloned(), 5));
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
            origin: Some(Origin { agent_id: "a".to_owned(), epoch: 7, sequence: 2, ..Origin::default() }),
            positions: vec![SourcePosition { closed: true, ..position(12, 0) }, position(3, 0)],
            ..Batch::default()
        };
        let rows = [SourceRows { source: "a.log".to_owned(), rows: 5 }];
        case.accounts.book(Booking::new(&batch, &rows, |source| case.held.get(source).cloned(), 5));
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
        let booking = |n| Booking::new(&Batch::default(), &rows(n), |_| None, 0);
        (0..MAX_ACCOUNTS + 10).for_each(|n| accounts.book(booking(n)));
        assert_eq!(accounts.accounts.len(), MAX_ACCOUNTS + 1);
        let sum: u64 = accounts.accounts.values().map(|account| account.journaled).sum();
        assert_eq!(sum as usize, MAX_ACCOUNTS + 10);
    }
}
