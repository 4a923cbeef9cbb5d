//! What recognising adds to a batch, counted before it is decoded: a line of 1 MiB may hold a hundred thousand fields.

use lapwing::{
    columns::{Encoded, LogColumns},
    limits::Limits,
    v1::Signal,
};
use memchr::{memchr_iter, memmem};

/// For each row: its time, its severity as a run of a number and one of a text, and a run of attributes with one that says something about
/// the row.
const ROW: usize = 8 + 8 + 40 + RUN_OF_ATTRIBUTES + PAIR + 24;
const RUN_OF_ATTRIBUTES: usize = 32;
/// An attribute in its column and in the table, beside its text.
const PAIR: usize = 96;
/// An attribute of the sender that is copied, since others stand beside it.
const OWN_PAIR: usize = 64;
/// What is escaped is copied once to be read, and each text once into the table.
const COPIES: usize = 2;

/// What it adds at most.
pub(super) fn estimate(encoded: &Encoded) -> usize {
    if encoded.signal() != Signal::Logs {
        return 0;
    }
    let fields = fields(encoded.tail());
    let text = if fields > 0 { encoded.tail().len() } else { 0 };
    base(encoded.rows(), encoded.cost().pairs)
        .saturating_add(fields.saturating_mul(PAIR))
        .saturating_add(text.saturating_mul(COPIES))
}

/// What it adds to most batches of so many rows.
pub(super) fn usual(rows: usize) -> usize {
    base(rows, 0)
}

fn base(rows: usize, own_pairs: usize) -> usize {
    rows.saturating_mul(ROW).saturating_add(own_pairs.saturating_mul(OWN_PAIR))
}

/// At most how many fields of JSON and logfmt there are; those with a blank before their colon are not counted.
fn fields(bodies: &[u8]) -> usize {
    let json = memmem::find_iter(bodies, b"\":").count();
    let has_key = |position: &usize| {
        position.checked_sub(1).and_then(|before| bodies.get(before)).is_some_and(u8::is_ascii_alphanumeric)
    };
    json + memchr_iter(b'=', bodies).filter(has_key).count()
}

/// What is left of the room that a batch has for this.
#[derive(Debug)]
pub(super) struct Room {
    /// Bytes of memory.
    memory: usize,
    /// Bytes of keys and values: no more than the bodies have.
    text: usize,
    max_value: usize,
    max_attributes: usize,
}

impl Room {
    /// The room of a batch, or none when it isn't even enough for what each row gets.
    pub(super) fn new(logs: &LogColumns, room: usize) -> Option<Self> {
        let own = logs.attributes.runs();
        let own = own.fold(0_usize, |sum, (rows, own)| sum.saturating_add(rows.saturating_mul(own.len())));
        let limits = Limits::default();
        Some(Self {
            memory: room.checked_sub(base(logs.bodies.rows(), own))?,
            text: logs.bodies.data().len(),
            max_value: limits.max_value_bytes,
            max_attributes: limits.max_attributes,
        })
    }

    /// Takes room for a pair of a row that has so many, if there is any.
    pub(super) fn takes(&mut self, attributes: usize, key: &str, value: &str) -> bool {
        let text = key.len().saturating_add(value.len());
        let memory = text.saturating_mul(COPIES).saturating_add(PAIR);
        let fits = text <= self.text && memory <= self.memory;
        if !fits || value.len() > self.max_value || attributes >= self.max_attributes {
            return false;
        }
        self.text -= text;
        self.memory -= memory;
        true
    }
}
