//! Breaks lapwing in every way it knows, and prints what became of each line.
//!
//! usage: lapwing-chaos [--short] [--seed N] [--until-lines N] [--results FILE] [--page FILE] [NAME]...
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use lapwing_e2e::chaos::{self, Figures, Form, Outcome, Scenario, report, scenarios, watchdog};

struct Args {
    form: Form,
    seed: u64,
    until_lines: u64,
    results: Option<PathBuf>,
    page: Option<PathBuf>,
    names: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [command, seconds] = &words[..]
        && command == watchdog::COMMAND
    {
        watchdog::run(Duration::from_secs(seconds.parse()?));
        return Ok(ExitCode::SUCCESS);
    }
    let args = parse(words)?;
    let chosen = choose(&args.names)?;
    println!("{}", report::HEAD);
    let (mut all, mut lines, mut round) = (Vec::new(), 0, 0);
    loop {
        for scenario in &chosen {
            let figures = chaos::run(scenario, args.form, args.seed + round);
            println!("{}", report::row(&figures));
            lines += figures.verdict.written;
            tell(&args, &figures)?;
            all.push(figures);
        }
        round += 1;
        if lines >= args.until_lines {
            break;
        }
    }
    let failed = all
        .iter()
        .filter(|figures| matches!(figures.outcome, Outcome::Failed(_) | Outcome::Vacuous(_)))
        .count();
    let skipped = all.iter().filter(|figures| matches!(figures.outcome, Outcome::Skipped(_))).count();
    println!("\n{lines} lines in {} runs: {failed} failed, {skipped} skipped", all.len());
    if let Some(page) = &args.page {
        let old = fs::read_to_string(page).with_context(|| page.display().to_string())?;
        fs::write(page, report::page(&old, &all).context("the page has no marks for the table")?)?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(words: Vec<String>) -> Result<Args> {
    let mut args =
        Args { form: Form::Full, seed: 1, until_lines: 0, results: None, page: None, names: Vec::new() };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--short" => args.form = Form::Short,
            "--seed" => args.seed = value()?.parse().context("--seed takes a number")?,
            "--until-lines" => args.until_lines = value()?.parse().context("--until-lines takes a number")?,
            "--results" => args.results = Some(value()?.into()),
            "--page" => args.page = Some(value()?.into()),
            option if option.starts_with('-') => bail!("{option} is not known"),
            _ => args.names.push(word),
        }
    }
    Ok(args)
}

fn choose(names: &[String]) -> Result<Vec<Scenario>> {
    let known: Vec<&str> = scenarios::all().map(|scenario| scenario.name).collect();
    if let Some(wrong) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("{wrong} is no scenario; expected one of {}", known.join(", "));
    }
    Ok(scenarios::all()
        .filter(|scenario| names.is_empty() || names.iter().any(|name| name == scenario.name))
        .collect())
}

/// Keeps the figures of a run, and says how to repeat one that failed.
fn tell(args: &Args, figures: &Figures) -> Result<()> {
    if let Some(path) = &args.results {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{}", figures.json())?;
    }
    if let Outcome::Failed(reason) | Outcome::Vacuous(reason) = &figures.outcome {
        let form = figures.form.pick("--short ", "");
        eprintln!("{reason}\n  {}", figures.schedule.join("\n  "));
        eprintln!("again: lapwing-chaos {form}--seed {} {}", figures.seed, figures.scenario);
    }
    Ok(())
}
