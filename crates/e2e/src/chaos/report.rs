//! The tables of runs.

use std::fmt::Write;

use super::{Figures, Form, Outcome};

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

/// Head of the table of the long run: all runs with one fault are a row.
const LONG_HEAD: &str = "\
| fault | runs | lines | lost | doubled | altered | slowest recovery | peak agent | peak collector | verdict |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---|";

/// Runs with one fault.
fn long_row(runs: &[&Figures]) -> String {
    let sum = |of: fn(&Figures) -> u64| runs.iter().map(|figures| of(figures)).sum::<u64>();
    let peak = |place: usize| runs.iter().map(|figures| figures.peaks[place]).max().unwrap_or(0) as f64 / 1e6;
    let recovery = runs.iter().filter_map(|figures| figures.recovery).max().unwrap_or_default();
    let kept = runs.iter().filter(|figures| figures.outcome == Outcome::Kept).count();
    let verdict =
        if kept == runs.len() { "kept".to_owned() } else { format!("**{} not kept**", runs.len() - kept) };
    let lost = match sum(|figures| figures.missing) {
        0 => sum(|figures| figures.verdict.lost).to_string(),
        missing => format!("{}; the ledger misses {missing}", sum(|figures| figures.verdict.lost)),
    };
    format!(
        "| {} | {} | {} | {lost} | {} | {} | {:.1} s | {:.0} MB | {:.0} MB | {verdict} |",
        runs[0].fault,
        runs.len(),
        sum(|figures| figures.verdict.written),
        sum(|figures| figures.verdict.doubled),
        sum(|figures| figures.verdict.altered),
        recovery.as_secs_f64(),
        peak(0),
        peak(1),
    )
}

/// The table of the long run.
fn long_table(runs: &[Figures]) -> String {
    let ran = || runs.iter().filter(|figures| !matches!(figures.outcome, Outcome::Skipped(_)));
    let mut faults: Vec<&str> = Vec::new();
    ran().for_each(|figures| {
        if !faults.contains(&figures.fault) {
            faults.push(figures.fault);
        }
    });
    let row = |fault: &&str| long_row(&ran().filter(|figures| figures.fault == *fault).collect::<Vec<_>>());
    let rows: Vec<String> = faults.iter().map(row).collect();
    format!("{LONG_HEAD}\n{}\n", rows.join("\n"))
}

/// Marks between which the page holds the table of a form.
fn marks(form: Form) -> [String; 2] {
    let name = if form == Form::Long { "long table" } else { "table" };
    ["begins", "ends"].map(|what| format!("<!-- {name} {what} -->\n"))
}

/// The page with the table of these runs in the place of the old one; `None` when it has no place for one.
pub fn page(old: &str, form: Form, runs: &[Figures]) -> Option<String> {
    let [begin, end] = marks(form);
    let begin = old.find(&begin)? + begin.len();
    let end = begin + old[begin..].find(&end)?;
    let lines: u64 = runs.iter().map(|figures| figures.verdict.written).sum();
    let table = match form {
        Form::Long => long_table(runs),
        _ => format!("{HEAD}\n{}\n", runs.iter().map(row).collect::<Vec<_>>().join("\n")),
    };
    let ran = runs.iter().filter(|figures| !matches!(figures.outcome, Outcome::Skipped(_))).count();
    Some(format!("{}{table}\n{lines} lines in {ran} runs.\n{}", &old[..begin], &old[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verdict, chaos::scenarios};

    fn run(place: usize, written: u64, outcome: Outcome) -> Figures {
        let scenario = scenarios::all().nth(place).unwrap();
        let verdict = Verdict { written, ..Verdict::default() };
        Figures { verdict, outcome, ..Figures::new(&scenario, Form::Long, 1) }
    }

    #[test]
    fn the_long_table_has_a_row_for_each_fault_and_its_own_place() {
        let page_before = "a\n<!-- table begins -->\nx\n<!-- table ends -->\n<!-- long table begins -->\n<!-- long table ends -->\nb\n";
        let runs = [
            run(0, 10, Outcome::Kept),
            run(1, 5, Outcome::Failed("no".to_owned())),
            run(0, 20, Outcome::Kept),
            run(2, 0, Outcome::Skipped("no root".to_owned())),
        ];
        let page = page(page_before, Form::Long, &runs).unwrap();
        assert!(page.contains("| 2 | 30 | 0 | 0 | 0 |") && page.contains("**1 not kept**"), "{page}");
        assert!(
            page.contains("35 lines in 3 runs.") && page.starts_with("a\n<!-- table begins -->\nx\n"),
            "{page}"
        );
        assert_eq!(page.lines().filter(|line| line.starts_with('|')).count(), 4, "{page}");
    }
}
