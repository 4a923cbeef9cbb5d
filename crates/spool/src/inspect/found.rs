//! What was found in a directory.

use crate::{holder::Holder, recover::DamageKind};

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentState {
    /// Its file.
    pub name: String,
    /// Index of its first record, by its name.
    pub first: u64,
    /// Index after its last record.
    pub next: u64,
    /// Whole records.
    pub records: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes at its end that are no record. A crash leaves such an end; the next segment says that it was given up.
    pub torn: u64,
    /// The header does not hold.
    pub headless: bool,
    /// Written by a newer program, in this version: nothing of it can be read.
    pub newer: Option<u32>,
}

/// A stretch of a segment that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file.
    pub segment: String,
    /// What is wrong.
    pub kind: DamageKind,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Records that are gone with it.
    pub records: u64,
}

/// Indexes that were given and that no segment holds: a file is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The segment behind them.
    pub before: String,
    /// The first of them.
    pub first: u64,
    /// How many.
    pub records: u64,
}

/// Bytes at the end of the newest segment that are no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The segment's file.
    pub segment: String,
    /// Where they begin.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
    /// How many records they can have held at most.
    pub records: u64,
    /// A writer is at work: they are on their way.
    pub in_progress: bool,
}

/// What is in a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Who has it open.
    pub holder: Option<Holder>,
    /// All segments, oldest first.
    pub segments: Vec<SegmentState>,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// What is gone.
    pub missing: Vec<Missing>,
    /// The torn end of the newest segment.
    pub tail: Option<Tail>,
    /// Names that are not a spool's.
    pub foreign: Vec<String>,
}

impl Inspection {
    /// Whole records.
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.records).sum()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Records that are damaged or missing.
    pub fn lost(&self) -> u64 {
        let damaged: u64 = self.damage.iter().map(|damage| damage.records).sum();
        damaged + self.missing.iter().map(|missing| missing.records).sum::<u64>()
    }

    /// A segment that only a newer program reads.
    pub fn newer(&self) -> Option<(&str, u32)> {
        self.segments.iter().find_map(|segment| Some((&*segment.name, segment.newer?)))
    }

    /// Whether nothing is damaged, missing or unknown. A torn end is what a crash leaves, and no damage.
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty() && self.missing.is_empty() && self.newer().is_none()
    }
}
