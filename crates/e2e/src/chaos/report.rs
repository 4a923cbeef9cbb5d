//! The table of runs.

use std::fmt::Write;

use super::{Figures, Outcome};

/// Head of the table.
pub const HEAD: &str = "\
| fault | lines | lost | doubled | altered | out of order | recovery | peak agent | peak collector | verdict |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---|";

/// One row of the table.
pub fn row(figures: &Figures) -> String {
    let unproven = [("memory measured only", &figures.uncapped), ("DuckDB SKIPPED", &figures.unread)];
    let unproven =
        unproven.iter().filter_map(|(what, reason)| Some(format!("; {what}: {}", reason.as_ref()?)));
    let verdict = match &figures.outcome {
        Outcome::Kept => format!("kept{}", unproven.collect::<String>()),
        Outcome::Failed(reason) => format!("**FAILED**: {}", first_line(reason)),
        Outcome::Vacuous(reason) => format!("**VACUOUS**: {reason}"),
        Outcome::Skipped(reason) => format!("SKIPPED: {reason}"),
    };
    if matches!(figures.outcome, Outcome::Skipped(_)) {
        return format!("| {} | | | | | | | | | {verdict} |", figures.fault);
    }
    let v = &figures.verdict;
    let lost = match figures.missing {
        0 => v.lost.to_string(),
        missing => format!("{}; the ledger misses {missing}", v.lost),
    };
    let recovery =
        figures.recovery.map_or("-".to_owned(), |recovery| format!("{:.1} s", recovery.as_secs_f64()));
    let [agent, collector] = figures.peaks.map(|bytes| format!("{:.0} MB", bytes as f64 / 1e6));
    let mut row = format!("| {} | {} | {lost} | {} | {} | ", figures.fault, v.written, v.doubled, v.altered);
    let _ = write!(row, "{} | {recovery} | {agent} | {collector} | {verdict} |", v.out_of_order);
    row
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Marks between which the page holds the table.
const MARKS: [&str; 2] = ["<!-- table begins -->\n", "<!-- table ends -->\n"];

/// The page with the table of these runs in the place of the old one; `None` when it has no place for one.
pub fn page(old: &str, runs: &[Figures]) -> Option<String> {
    let begin = old.find(MARKS[0])? + MARKS[0].len();
    let end = begin + old[begin..].find(MARKS[1])?;
    let rows: Vec<String> = runs.iter().map(row).collect();
    let lines: u64 = runs.iter().map(|figures| figures.verdict.written).sum();
    let table = format!("{HEAD}\n{}\n\n{lines} lines in {} runs.\n", rows.join("\n"), runs.len());
    Some(format!("{}{table}{}", &old[..begin], &old[end..]))
}
