//! A row of the ledger in words.

use std::collections::BTreeMap;

use prost_types::{ListValue, value};

use crate::{
    escape,
    output::{Palette, Tone},
};

/// What is asked of the ledger.
pub(super) const COLUMNS: [&str; 14] = [
    "source",
    "kind",
    "read",
    "truncated",
    "spooled",
    "acknowledged",
    "journaled",
    "stored",
    "in_memory",
    "missing",
    "dropped_by",
    "epoch",
    "sequence",
    "agent",
];

/// A row.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Account {
    source: String,
    is_gap: bool,
    read: Option<u64>,
    truncated: u64,
    spooled: u64,
    acknowledged: u64,
    journaled: u64,
    stored: Option<u64>,
    in_memory: u64,
    missing: i64,
    dropped: BTreeMap<String, u64>,
    number: String,
    agent: String,
}

impl Account {
    /// Reads the values of [`COLUMNS`].
    pub(super) fn read(row: &ListValue) -> Self {
        let value = |name: &str| {
            let place = COLUMNS.iter().position(|column| *column == name);
            place.and_then(|place| row.values.get(place)).and_then(|value| value.kind.as_ref())
        };
        let text = |name: &str| match value(name) {
            Some(value::Kind::StringValue(text)) => text.clone(),
            _ => String::new(),
        };
        // Beyond the whole numbers of a double they travel as text.
        let signed = |name: &str| match value(name) {
            Some(value::Kind::NumberValue(number)) => Some(*number as i64),
            Some(value::Kind::StringValue(text)) => text.parse().ok(),
            _ => None,
        };
        let count = |name: &str| signed(name).map(i64::unsigned_abs);
        Self {
            source: text("source"),
            is_gap: text("kind") == "gap",
            read: count("read"),
            truncated: count("truncated").unwrap_or(0),
            spooled: count("spooled").unwrap_or(0),
            acknowledged: count("acknowledged").unwrap_or(0),
            journaled: count("journaled").unwrap_or(0),
            stored: count("stored"),
            in_memory: count("in_memory").unwrap_or(0),
            missing: signed("missing").unwrap_or(0),
            dropped: serde_json::from_str(&text("dropped_by")).unwrap_or_default(),
            number: format!("batch {} of run {}", count("sequence").unwrap_or(0), text("epoch")),
            agent: text("agent"),
        }
    }

    /// Whether all of its events are there.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_gap && self.missing == 0 && self.dropped.is_empty()
    }

    /// Whose events these are.
    pub(super) fn agent(&self) -> &str {
        &self.agent
    }

    /// What became of the source's events.
    pub(super) fn words(&self, palette: Palette) -> String {
        if self.is_gap {
            return palette
                .paint(Tone::Red, &format!("  gap: {} with {}", missing(self.missing), self.number));
        }
        let mut lines = vec![palette.paint(Tone::Cyan, &escape::text(&self.source))];
        match self.read {
            Some(read) => {
                let cut = if self.truncated > 0 {
                    format!(", {} of them cut at the limit", self.truncated)
                } else {
                    String::new()
                };
                let spooled = if self.spooled > 0 { ", through the agent's spool" } else { "" };
                lines.push(format!("  read {read}{cut}{spooled}"));
            }
            None => {
                lines.push("  sent by a client that keeps no numbers: what it read is not known".to_owned())
            }
        }
        for (cause, events) in &self.dropped {
            lines.push(palette.paint(Tone::Yellow, &format!("  dropped {events}: {}", reason(cause))));
        }
        let confirmed = match self.read {
            Some(_) => format!(" (the agent has word of {})", self.acknowledged),
            None => String::new(),
        };
        lines.push(format!("  journaled {}{confirmed}", self.journaled));
        lines.push(match self.stored {
            Some(stored) => {
                format!("  stored {stored}, in memory {}{}", self.in_memory, self.underway(stored))
            }
            None => format!("  in memory {}; this store does not count", self.in_memory),
        });
        lines.push(match self.missing {
            0 if self.dropped.contains_key("gone") => {
                palette.paint(Tone::Red, "  lines may be missing that nobody can count any more")
            }
            0 => "  nothing is missing".to_owned(),
            events => palette.paint(Tone::Red, &format!("  {}", missing(events))),
        });
        lines.join("\n")
    }

    fn underway(&self, stored: u64) -> String {
        match self.journaled.saturating_sub(stored + self.in_memory) {
            0 => String::new(),
            events => format!(", on the way {events}"),
        }
    }
}

/// One line over all sources.
pub(super) fn summary(agent: &str, accounts: &[Account]) -> String {
    let sources = || accounts.iter().filter(|account| !account.is_gap);
    let dropped: u64 = sources().flat_map(|account| account.dropped.values()).sum();
    let journaled: u64 = sources().map(|account| account.journaled).sum();
    let short: i64 = sources().map(|account| account.missing.abs()).sum();
    let gone: u64 = sources().filter_map(|account| account.dropped.get("gone")).sum();
    let verdict = if short == 0 && gone > 0 {
        format!("files gone before they were read to their end: {gone}")
    } else if short == 0 {
        "every event is accounted for".to_owned()
    } else {
        format!("{short} are not accounted for")
    };
    format!(
        "{}: {journaled} events journaled from {} sources, {dropped} dropped; {verdict}",
        escape::text(agent),
        sources().count()
    )
}

fn missing(events: i64) -> String {
    match events {
        events if events < 0 => format!("{} more than were read", -events),
        events => format!("{events} were read and are not there"),
    }
}

fn reason(cause: &str) -> &str {
    match cause {
        "dead_letter" => {
            "the collector refused them for good; `lapwing deadletter list` on the agent's host shows them"
        }
        "unreadable" => {
            "the collector could not turn them into rows; its log says which journal records that were, and why"
        }
        "collector_restored" => {
            "the collector had acknowledged them, and was then restored from an older copy"
        }
        "spool_full" => {
            "the collector was away for longer than the agent's spool holds ([buffer] max_disk_bytes)"
        }
        "agent_crashed" => "the agent ended before they were on its disk",
        "gone" => {
            "the file, or what was in it, was gone before it was read to its end; each time counts as one, how many lines it held \
             nobody knows"
        }
        "utf16" => "the file is UTF-16, which is not read yet; it counts as one",
        "spool_damaged" => "their record in the agent's spool was damaged",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Value;

    use super::*;

    fn row(values: [&str; 14]) -> ListValue {
        let value = |text: &str| {
            let number = text.parse::<f64>().map(value::Kind::NumberValue);
            Value { kind: Some(number.unwrap_or_else(|_| value::Kind::StringValue(text.to_owned()))) }
        };
        ListValue { values: values.into_iter().map(value).collect() }
    }

    #[test]
    fn the_ledger_is_put_in_words() {
        let row = row([
            "a.log",
            "source",
            "100",
            "2",
            "0",
            "80",
            "95",
            "50",
            "40",
            "0",
            r#"{"dead_letter":5}"#,
            "ab",
            "9",
            "web-1",
        ]);
        let account = Account::read(&row);
        let words = account.words(Palette::none());
        assert_eq!(account.agent(), "web-1");
        assert_eq!(
            words,
            "a.log\n  read 100, 2 of them cut at the limit\n  dropped 5: the collector refused them for good; \
             `lapwing deadletter list` on the agent's host shows them\n  journaled 95 (the agent has word of 80)\n  \
             stored 50, in memory 40, on the way 5\n  nothing is missing"
        );
        assert_eq!(
            summary("web-1", &[account]),
            "web-1: 95 events journaled from 1 sources, 5 dropped; every event is accounted for"
        );
    }

    #[test]
    fn what_is_gone_uncounted_is_not_called_nothing() {
        let row = row([
            "a.log",
            "source",
            "8",
            "0",
            "0",
            "7",
            "7",
            "7",
            "0",
            "0",
            r#"{"gone":1}"#,
            "ab",
            "9",
            "web-1",
        ]);
        let account = Account::read(&row);
        let words = account.words(Palette::none());
        assert!(
            words.contains("dropped 1: the file, or what was in it, was gone before it was read"),
            "{words}"
        );
        assert!(words.ends_with("lines may be missing that nobody can count any more"), "{words}");
        let summary = summary("web-1", &[account]);
        assert!(
            summary.ends_with("1 dropped; files gone before they were read to their end: 1"),
            "{summary}"
        );
    }

    #[test]
    fn a_gap_names_its_batch() {
        let row = row(["a.log", "gap", "", "", "", "", "", "", "", "3", "", "00ab", "9", "web-1"]);
        let words = Account::read(&row).words(Palette::none());
        assert_eq!(words, "  gap: 3 were read and are not there with batch 9 of run 00ab");
    }
}
