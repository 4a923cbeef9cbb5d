//! Judges what the collector holds against what was written.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{http, line};

/// Rows fetched per question; below the collector's row limit.
const PAGE: usize = 50_000;

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
    let answer = http::get(address, &format!("/api/v1/sql?format=ndjson&q={}", http::encode(query)))?;
    let row: Value = serde_json::from_str(answer.lines().next().context("empty answer")?)?;
    row["n"].as_u64().or_else(|| row["n"].as_str()?.parse().ok()).context("no count")
}

/// Reads all rows that carry ids, in order of arrival, and judges them against `written` (lines per file).
pub fn judge(address: &str, written: &BTreeMap<u32, u64>) -> Result<Verdict> {
    let mut verdict = Verdict { written: written.values().sum(), ..Verdict::default() };
    let mut seen: BTreeMap<u32, (Vec<bool>, u64)> =
        written.iter().map(|(file, lines)| (*file, (vec![false; *lines as usize], 0))).collect();
    let mut after = i64::MIN;
    loop {
        let query = format!(
            "SELECT seq, body FROM logs WHERE body LIKE 'lw %' AND seq > {after} ORDER BY seq LIMIT {PAGE}"
        );
        let answer = http::get(address, &format!("/api/v1/sql?format=ndjson&q={}", http::encode(&query)))?;
        let mut rows = 0;
        for text in answer.lines().filter(|line| !line.is_empty()) {
            let row: Value = serde_json::from_str(text)?;
            let seq = &row["seq"];
            after = seq.as_i64().or_else(|| seq.as_str()?.parse().ok()).context("no seq")?;
            take(row["body"].as_str().context("no body")?, &mut seen, &mut verdict);
            rows += 1;
        }
        if rows < PAGE {
            break;
        }
    }
    for (file, (lines, _)) in &seen {
        for (n, _) in lines.iter().enumerate().filter(|(_, stored)| !**stored) {
            verdict.lost += 1;
            if verdict.examples.len() < 5 {
                verdict.examples.push((*file, n as u64));
            }
        }
    }
    Ok(verdict)
}

fn take(body: &str, seen: &mut BTreeMap<u32, (Vec<bool>, u64)>, verdict: &mut Verdict) {
    verdict.stored += 1;
    let known = line::parse(body).and_then(|(file, n)| Some((file, n, seen.get_mut(&file)?)));
    let Some((file, n, (lines, next))) = known else {
        verdict.foreign += 1;
        return;
    };
    let Some(stored) = lines.get_mut(n as usize) else {
        verdict.foreign += 1;
        return;
    };
    if body != line::line(file, n) {
        verdict.altered += 1;
    } else if *stored {
        verdict.doubled += 1;
    } else {
        *stored = true;
        if n < *next {
            verdict.out_of_order += 1;
        }
        *next = n + 1;
    }
}
