//! The books of one sender: what it said it read of each source, and what of it is in the journal.
//!
//! A batch's positions say how many events the agent had read and dropped of each source; its rows are what arrives. Both are
//! booked when the batch is durable, so that with every sequence `read = dropped + journaled` holds for every source. A batch with
//! which it does not is a gap.

mod booking;
mod books;

use std::collections::{BTreeMap, VecDeque};

use lapwing::{batch, v1::Origin};
use prost::Message;

pub use self::booking::{Booking, MAX_JUMP};
use self::{
    booking::Counts,
    books::{Books, Name},
};
use crate::retention::Item;

/// Sources with books of their own; rows of further ones are booked together.
const MAX_ACCOUNTS: usize = 20_000;
/// What their books take in memory, names included.
const MAX_BYTES: usize = 6 << 20;
/// What sources without books of their own are called.
const OTHERS: &str = "(others)";
/// Batches remembered that a sender did not confirm; more than it may have in flight.
const MAX_UNCONFIRMED: usize = 256;
/// Bytes of those batches in a snapshot, where each has its names. In memory they share those of the books.
const MAX_UNCONFIRMED_BYTES: usize = 2 << 20;
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
    books: BTreeMap<Name, Box<Books>>,
    /// What they take in memory.
    bytes: usize,
    gaps: VecDeque<Account>,
    waiting: VecDeque<Waiting>,
    /// Bytes of those, written with their names.
    waiting_bytes: usize,
}

/// Rows whose acknowledgement the agent has not confirmed, under the names of their books.
#[derive(Debug, Clone, PartialEq)]
struct Waiting {
    sequence: u64,
    rows: Box<[(Name, u64)]>,
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
            self.wait_for(origin.sequence, &origin.agent_id, &rows);
        }
    }

    /// Books one source of a batch; when anything of it is missing, the batch is a gap.
    fn add(&mut self, origin: &Origin, source: &str, counts: Counts, received: u64) {
        let missing = clamp(counts.missing);
        let name = self.name(&origin.agent_id, source);
        let has_room = self.bytes < MAX_BYTES;
        let books = self.books.entry(name.clone()).or_default();
        books.told = origin.epoch != 0;
        books.epoch = origin.epoch;
        books.sequence = origin.sequence;
        books.received = received;
        self.bytes += books.add(counts, has_room);

        if missing == 0 {
            return;
        }
        let gap = Account {
            agent: name.agent().to_owned(),
            source: name.source().to_owned(),
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

    /// Remembers the rows of a batch until the agent confirms it. What it never confirms is forgotten; those rows then never count as
    /// acknowledged.
    fn wait_for(&mut self, sequence: u64, agent: &str, rows: &[SourceRows]) {
        let rows = rows.iter().map(|SourceRows { source, rows }| (self.name(agent, source), *rows)).collect();
        let batch = Waiting { sequence, rows };
        self.waiting_bytes += batch.bytes();
        self.waiting.push_back(batch);
        while self.waiting.len() > MAX_UNCONFIRMED || self.waiting_bytes > MAX_UNCONFIRMED_BYTES {
            let Some(oldest) = self.waiting.pop_front() else { return };
            self.waiting_bytes -= oldest.bytes();
        }
    }

    /// Rows that were booked as journaled can't be stored: they are dropped.
    pub fn leave_out(&mut self, agent: &str, rows: &[SourceRows]) {
        for SourceRows { source, rows } in rows {
            let name = self.name(agent, source);
            self.bytes += self.books.entry(name).or_default().leave_out(*rows, batch::UNREADABLE);
        }
    }

    /// The agent knows that everything up to `sequence` is durable.
    pub fn confirm(&mut self, sequence: u64) {
        while let Some(batch) = self.waiting.pop_front_if(|batch| batch.sequence <= sequence) {
            self.waiting_bytes -= batch.bytes();
            for (name, rows) in batch.rows {
                self.books.entry(name).or_default().acknowledge(rows);
            }
        }
    }

    /// Books and gaps.
    pub fn iter(&self) -> (impl Iterator<Item = Account>, impl Iterator<Item = &Account>) {
        (self.books.iter().map(|(name, books)| books.account(name)), self.gaps.iter())
    }

    /// The name under which a source is booked, with books of its own as long as there is room.
    fn name(&mut self, agent: &str, source: &str) -> Name {
        let mut name = Name::new(agent, source);
        let is_full = self.books.len() >= MAX_ACCOUNTS || self.bytes + name.bytes() > MAX_BYTES;
        if is_full && !self.books.contains_key(&name) {
            name = Name::new(agent, OTHERS);
        }
        if let Some((known, _)) = self.books.get_key_value(&name) {
            return known.clone();
        }
        self.bytes += name.bytes();
        self.books.insert(name.clone(), Box::default());
        name
    }

    /// All of it, for a snapshot. Books come before what waits under their names.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> {
        let (accounts, gaps) = self.iter();
        let gaps = gaps.cloned().map(Item::Gap);
        let waiting = self.waiting.iter().map(|batch| Item::Unconfirmed(batch.record()));
        accounts.map(Item::Account).chain(gaps).chain(waiting)
    }

    /// Takes what stands in a part of a snapshot.
    pub(crate) fn extend(&mut self, record: &AccountsRecord) {
        for account in &record.accounts {
            // They had room when they were booked: earlier versions gave more.
            let name = Name::new(&account.agent, &account.source);
            let books = Books::from(account);
            self.bytes += name.bytes() + books.cause_bytes();
            self.books.insert(name, Box::new(books));
        }
        self.gaps.extend(record.gaps.iter().cloned());
        for batch in &record.unconfirmed {
            self.wait_for(batch.sequence, &batch.agent, &batch.rows);
        }
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        let rows = self.rows.iter().map(|(name, _)| name.source().len() + size_of::<SourceRows>());
        rows.sum()
    }

    /// All rows of a batch are one agent's.
    fn record(&self) -> Unconfirmed {
        let rows = |(name, rows): &(Name, u64)| SourceRows { source: name.source().to_owned(), rows: *rows };
        Unconfirmed {
            sequence: self.sequence,
            agent: self.rows.first().map(|(name, _)| name.agent().to_owned()).unwrap_or_default(),
            rows: self.rows.iter().map(rows).collect(),
        }
    }
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

        fn account(&self) -> Account {
            self.accounts.iter().0.next().unwrap()
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
        let mut record = AccountsRecord::default();
        for item in case.accounts.items() {
            match item {
                Item::Account(account) => record.accounts.push(account),
                Item::Gap(gap) => record.gaps.push(gap),
                Item::Unconfirmed(batch) => record.unconfirmed.push(batch),
                _ => {}
            }
        }
        let mut again = Accounts::default();
        again.extend(&AccountsRecord::decode(&*record.encode_to_vec()).unwrap());
        assert_eq!(again, case.accounts);
    }

    #[test]
    fn sources_beyond_the_limit_share_an_account() {
        let mut accounts = Accounts::default();
        let rows = |n: usize| [SourceRows { source: format!("{n}"), rows: 1 }];
        let booking = |n| Booking::new(&Batch::default(), &rows(n), |_| None, 0);
        (0..MAX_ACCOUNTS + 10).for_each(|n| accounts.book(booking(n)));
        assert_eq!(accounts.books.len(), MAX_ACCOUNTS + 1);
        let sum: u64 = accounts.iter().0.map(|account| account.journaled).sum();
        assert_eq!(sum as usize, MAX_ACCOUNTS + 10);
    }
}
