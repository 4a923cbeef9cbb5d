//! `lapwing spool show`.

use super::{DirectoryArgs, RangeArgs, contents::Contents};
use crate::{
    exit::{Exit, Failure, OrExit},
    listing::{Listing, number, text},
    output, query,
};

/// List a spool's records, or print their rows
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    directory: DirectoryArgs,
    #[command(flatten)]
    range: RangeArgs,
    /// Most records
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// The rows in the records, an object per line
    #[arg(long, conflicts_with = "format")]
    rows: bool,
    /// Form of the list [default: table on a terminal, ndjson elsewhere]
    #[arg(long, value_enum)]
    format: Option<query::Format>,
}

/// Prints them.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (_, mut inspector) = args.directory.open()?;
    let places = args.range.of(&inspector);
    let columns = [
        ("index", true),
        ("segment", true),
        ("offset", true),
        ("bytes", true),
        ("kind", false),
        ("rows", true),
        ("about", false),
    ];
    let mut listing = Listing::new(&columns);
    for place in places.iter().take(args.limit) {
        let Some(payload) = inspector.read(place).or_exit(Exit::Broke)? else { continue };
        let contents = Contents::of(&payload);
        if args.rows {
            rows(place.index, &contents)?;
            continue;
        }
        listing.push(vec![
            number(place.index),
            number(place.segment),
            number(place.offset),
            number(u64::from(place.bytes)),
            text(contents.kind()),
            number(contents.rows()),
            text(contents.about()),
        ]);
    }
    if !args.rows {
        listing.print(args.format)?;
    }
    if places.len() > args.limit {
        output::note(format_args!("{} of {} records; --limit takes more", args.limit, places.len()));
    }
    Ok(())
}

fn rows(index: u64, contents: &Contents) -> Result<(), Failure> {
    match contents.json() {
        Ok(lines) => lines.iter().try_for_each(output::line),
        Err(error) => {
            output::note(format_args!("record {index}: {error:#}"));
            Ok(())
        }
    }
}
