//! Judges what the collector holds against what was written.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{http, line};

/// Rows fetched per question; below the collector's row limit.
const PAGE: usize = 50_000;
/// Part of the order of arrival that is asked for first: 16 records of the journal.
const SPAN: i64 = 16 << 20;

/// What a run came to. Everything but `written` and `stored` should be zero.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Lines written.
    pub written: u64,
    /// Rows found.
    pub stored: u64,
    /// Lines that are nowhere.
    pub lost: u64,
    /// Rows beyond the first of their line.
    pub doubled: u64,
    /// Rows that carry an id and other content than was written.
    pub altered: u64,
    /// Rows that no line was written for.
    pub foreign: u64,
    /// Rows that arrived after a later line of their file.
    pub out_of_order: u64,
    /// The first few lost lines, as (file, number).
    pub examples: Vec<(u32, u64)>,
    /// The beginning of the first altered or foreign row.
    pub stranger: Option<String>,
}

impl Verdict {
    /// Nothing lost, doubled, altered, foreign or out of order.
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.altered + self.foreign + self.out_of_order == 0
    }
}

/// Rows that carry ids, by the collector's own count.
pub fn count(address: &str) -> Result<u64> {
    let query = "SELECT count(*) AS n FROM logs WHERE body LIKE 'lw %'";
    let rows = http::rows(address, query)?;
    u64::try_from(number(&rows.first().context("empty answer")?["n"])?).context("no count")
}

/// Reads all rows that carry ids, in order of arrival, and judges them against `written` (lines per file).
pub fn judge(address: &str, written: &BTreeMap<u32, u64>) -> Result<Verdict> {
    let mut judge = Judge::new(written);
    let (mut from, last) = bounds(address)?;
    let mut span = SPAN;
    while from <= last {
        // A part of the order of arrival at a time, so that no question sorts or reads more than that.
        let until = from.saturating_add(span);
        let query = format!(
            "SELECT seq, body FROM logs WHERE body LIKE 'lw %' AND seq >= {from} AND seq < {until} ORDER BY seq LIMIT {PAGE}"
        );
        let (mut rows, mut after) = (0, from);
        for row in http::rows(address, &query)? {
            after = number(&row["seq"])?;
            judge.take(row["body"].as_str().context("no body")?);
            rows += 1;
        }
        (from, span) = match rows {
            PAGE => (after + 1, (span / 2).max(1)),
            _ if rows < PAGE / 4 => (until, span.saturating_mul(2)),
            _ => (until, span),
        };
    }
    Ok(judge.verdict())
}

/// The first and the last place in the order of arrival; the last is before the first when there are no rows.
fn bounds(address: &str) -> Result<(i64, i64)> {
    let query = "SELECT min(seq) AS first, max(seq) AS last FROM logs WHERE body LIKE 'lw %'";
    match http::rows(address, query)?.first() {
        Some(row) if !row["first"].is_null() => Ok((number(&row["first"])?, number(&row["last"])?)),
        _ => Ok((0, -1)),
    }
}

fn number(value: &Value) -> Result<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).context("no number")
}

/// Takes rows one by one, in order of arrival. A line costs it a bit.
#[derive(Debug)]
pub struct Judge {
    files: BTreeMap<u32, Lines>,
    verdict: Verdict,
}

#[derive(Debug)]
struct Lines {
    written: u64,
    stored: Vec<u64>,
    /// The line that is due.
    next: u64,
}

impl Lines {
    /// Notes that a line is stored; `true` when it was before.
    fn store(&mut self, n: u64) -> bool {
        let (word, bit) = (&mut self.stored[(n / 64) as usize], 1 << (n % 64));
        std::mem::replace(word, *word | bit) & bit != 0
    }

    fn lost(&self) -> impl Iterator<Item = u64> {
        (0..self.written).filter(|n| self.stored[(n / 64) as usize] & 1 << (n % 64) == 0)
    }
}

impl Judge {
    /// Over `written` lines per file.
    pub fn new(written: &BTreeMap<u32, u64>) -> Self {
        let lines = |written: u64| Lines { written, stored: vec![0; written.div_ceil(64) as usize], next: 0 };
        Self {
            files: written.iter().map(|(file, written)| (*file, lines(*written))).collect(),
            verdict: Verdict { written: written.values().sum(), ..Verdict::default() },
        }
    }

    /// The next row.
    pub fn take(&mut self, body: &str) {
        self.verdict.stored += 1;
        let known = line::parse(body).and_then(|(file, n)| Some((file, n, self.files.get_mut(&file)?)));
        let Some((file, n, lines)) = known.filter(|(_, n, lines)| *n < lines.written) else {
            self.verdict.foreign += 1;
            return self.remember(body);
        };
        if body != line::line(file, n) {
            self.verdict.altered += 1;
            self.remember(body);
        } else if lines.store(n) {
            self.verdict.doubled += 1;
        } else {
            self.verdict.out_of_order += u64::from(n < lines.next);
            lines.next = n + 1;
        }
    }

    fn remember(&mut self, body: &str) {
        self.verdict.stranger.get_or_insert_with(|| body.chars().take(100).collect());
    }

    /// What the rows came to.
    pub fn verdict(mut self) -> Verdict {
        for (file, lines) in &self.files {
            for n in lines.lost() {
                self.verdict.lost += 1;
                if self.verdict.examples.len() < 5 {
                    self.verdict.examples.push((*file, n));
                }
            }
        }
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(rows: &[(u32, u64)], more: &[&str]) -> Verdict {
        let mut judge = Judge::new(&BTreeMap::from([(1, 130), (2, 1)]));
        rows.iter().for_each(|(file, n)| judge.take(&line::line(*file, *n)));
        more.iter().for_each(|body| judge.take(body));
        judge.verdict()
    }

    #[test]
    fn the_judge_tells_lost_doubled_altered_foreign_and_late_lines_apart() {
        let all: Vec<(u32, u64)> = (0..130).map(|n| (1, n)).chain([(2, 0)]).collect();
        assert!(judged(&all, &[]).is_clean());
        let verdict = judged(&all[..all.len() - 2], &["lw 0002 0000000000 x", "lw 0007 0000000000 y"]);
        assert_eq!((verdict.lost, verdict.altered, verdict.foreign), (2, 1, 1));
        assert_eq!(verdict.examples, [(1, 129), (2, 0)]);
        assert_eq!(judged(&[&all[..], &[(1, 64), (1, 64)]].concat(), &[]).doubled, 2);
        assert_eq!(judged(&[(1, 5), (1, 4), (1, 6)], &[]).out_of_order, 1);
        assert_eq!(judged(&[(1, 130)], &[]).foreign, 1, "a line that was never written");
    }
}
