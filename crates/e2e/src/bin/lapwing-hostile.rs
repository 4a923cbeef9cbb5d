//! Attacks a collector in every way it knows, beside a well-behaved agent, and prints what became of both.
//!
//! usage: lapwing-hostile [--short] [--memory MIB] [--results FILE] [--page FILE] NAME...
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use lapwing_e2e::{
    chaos::Form,
    hostile::{self, Attack, HEAD, Outcome, attacks},
};

const USAGE: &str = "usage: lapwing-hostile [--short] [--memory MIB] [--results FILE] [--page FILE] NAME...";

struct Args {
    form: Form,
    memory: Option<u64>,
    results: Option<PathBuf>,
    page: Option<PathBuf>,
    names: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help") {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let args = parse(words)?;

    println!("{HEAD}");
    let mut all = Vec::new();
    for attack in choose(&args.names)? {
        let attack = Attack { memory: args.memory.unwrap_or(attack.memory), ..attack };
        let figures = hostile::run(&attack, args.form);
        println!("{}", figures.row());
        if let Some(path) = &args.results {
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            writeln!(file, "{}", figures.json())?;
        }
        if let Outcome::Failed(reason) = &figures.outcome {
            eprintln!("{}: {reason}", figures.attack);
        }
        all.push(figures);
    }

    let failed = all.iter().filter(|figures| figures.outcome != Outcome::Holds).count();
    println!("\n{} attacks: {failed} did harm", all.len());
    if let Some(page) = &args.page {
        let old = fs::read_to_string(page).with_context(|| page.display().to_string())?;
        fs::write(page, hostile::page(&old, &all).context("the page has no marks for the table")?)?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(words: Vec<String>) -> Result<Args> {
    let mut args = Args { form: Form::Full, memory: None, results: None, page: None, names: Vec::new() };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--short" => args.form = Form::Short,
            "--memory" => {
                args.memory = Some(value()?.parse::<u64>().context("--memory: expected MiB")? << 20)
            }
            "--results" => args.results = Some(value()?.into()),
            "--page" => args.page = Some(value()?.into()),
            option if option.starts_with('-') => bail!("{option} is not known; {USAGE}"),
            _ => args.names.push(word),
        }
    }
    Ok(args)
}

fn choose(names: &[String]) -> Result<Vec<Attack>> {
    let known: Vec<&str> = attacks::all().map(|attack| attack.name).collect();
    if let Some(wrong) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("{wrong} is no attack; expected one of {}", known.join(", "));
    }
    let chosen = |attack: &Attack| names.is_empty() || names.iter().any(|name| name == attack.name);
    Ok(attacks::all().filter(chosen).collect())
}
