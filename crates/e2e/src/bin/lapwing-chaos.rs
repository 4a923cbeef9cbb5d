//! Breaks lapwing in every way it knows, and prints what became of each line.
//!
//! usage: lapwing-chaos [--short|--long] [--seed N] [--until-lines N] [--seconds N] [--results FILE] [--page FILE] NAME...
//!
//! With `--until-lines` scenarios are drawn by chance, each with a seed of its own, until so many lines are written or `--seconds` are over.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use lapwing_e2e::{
    chaos::{self, Figures, Form, Outcome, Scenario, report, scenarios, watchdog},
    random::Random,
};

const USAGE: &str = "usage: lapwing-chaos [--short|--long] [--seed N] [--until-lines N] [--seconds N] [--results FILE] [--page FILE] NAME...";

struct Args {
    form: Form,
    seed: u64,
    until_lines: u64,
    seconds: u64,
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
    if words.iter().any(|word| word == "--help") {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let args = parse(words)?;
    let chosen = choose(&args.names)?;
    println!("{}", report::HEAD);
    let mut all = Vec::new();
    let mut run = |scenario: &Scenario, seed| -> Result<u64> {
        let figures = chaos::run(scenario, args.form, seed);
        println!("{}", report::row(&figures));
        tell(&args, &figures)?;
        let lines = figures.verdict.written;
        all.push(figures);
        Ok(lines)
    };
    if args.until_lines > 0 {
        draw(&args, &chosen, &mut run)?;
    } else {
        chosen.iter().try_for_each(|scenario| run(scenario, args.seed).map(|_| ()))?;
    }
    let bad = |figures: &&Figures| matches!(figures.outcome, Outcome::Failed(_) | Outcome::Vacuous(_));
    let failed = all.iter().filter(bad).count();
    let executed = all.iter().filter(|figures| !matches!(figures.outcome, Outcome::Skipped(_))).count();
    let lines: u64 = all.iter().map(|figures| figures.verdict.written).sum();
    println!("\n{lines} lines in {executed} runs: {failed} failed, {} skipped", all.len() - executed);
    if let Some(page) = &args.page {
        let old = fs::read_to_string(page).with_context(|| page.display().to_string())?;
        fs::write(page, report::page(&old, args.form, &all).context("the page has no marks for the table")?)?;
    }
    // A run in which much was skipped must not look like one in which all was kept.
    let too_few = args.names.is_empty() && args.until_lines == 0 && executed < scenarios::LEAST;
    if too_few {
        eprintln!("only {executed} scenarios ran, at least {} must", scenarios::LEAST);
    }
    Ok(if failed == 0 && !too_few { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs scenarios by chance until there are lines enough, or the time is over.
fn draw(args: &Args, chosen: &[Scenario], run: &mut impl FnMut(&Scenario, u64) -> Result<u64>) -> Result<()> {
    let (mut random, started, mut lines) = (Random::new(args.seed), Instant::now(), 0);
    while lines < args.until_lines && started.elapsed().as_secs() < args.seconds {
        let scenario = &chosen[random.within(0..chosen.len() as u64) as usize];
        lines += run(scenario, random.within(0..1_000_000))?;
        let (wanted, minutes) = (args.until_lines as f64 / 1e6, started.elapsed().as_secs() / 60);
        eprintln!("{:.1} of {wanted:.1} million lines after {minutes} min", lines as f64 / 1e6);
    }
    Ok(())
}

fn parse(words: Vec<String>) -> Result<Args> {
    let mut args = Args {
        form: Form::Full,
        seed: 1,
        until_lines: 0,
        seconds: u64::MAX,
        results: None,
        page: None,
        names: Vec::new(),
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--short" => args.form = Form::Short,
            "--long" => args.form = Form::Long,
            "--seed" => args.seed = value()?.parse().context("--seed takes a number")?,
            "--until-lines" => args.until_lines = value()?.parse().context("--until-lines takes a number")?,
            "--seconds" => args.seconds = value()?.parse().context("--seconds takes a number")?,
            "--results" => args.results = Some(value()?.into()),
            "--page" => args.page = Some(value()?.into()),
            option if option.starts_with('-') => bail!("{option} is not known; {USAGE}"),
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
        eprintln!("{reason}\n  {}", figures.schedule.join("\n  "));
        let form =
            if figures.form == Form::Full { String::new() } else { format!("--{} ", figures.form.name()) };
        eprintln!("again: lapwing-chaos {form}--seed {} {}", figures.seed, figures.scenario);
    }
    Ok(())
}
