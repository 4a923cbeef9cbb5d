//! `lapwing spool check`.

mod verdict;

use std::path::Path;

use lapwing_spool::inspect::{DamageKind, Inspection};
use serde_json::{Value, json};

pub(super) use self::verdict::words;
use super::DirectoryArgs;
use crate::{
    escape,
    exit::{Exit, Failure},
    listing::{Listing, number, text},
    output, query,
};

/// Say what is in a spool, and what is damaged, missing or torn; ends with 6 when records are lost
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    directory: DirectoryArgs,
    /// Form of the answer [default: table on a terminal, json elsewhere]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A verdict in words, and tables.
    Table,
    /// One object.
    Json,
}

/// Looks, and tells.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (path, inspector) = args.directory.open()?;
    let found = inspector.inspection();
    let usual = if output::is_terminal() { Format::Table } else { Format::Json };
    match args.format.unwrap_or(usual) {
        Format::Table => tables(&path, found)?,
        Format::Json => output::line(escape::json(object(&path, found).to_string()))?,
    }
    if found.is_whole() { Ok(()) } else { Err(Exit::Unsound.quietly()) }
}

fn tables(path: &Path, found: &Inspection) -> Result<(), Failure> {
    output::line(format_args!("{}: {}", path.display(), verdict::words(found)))?;
    segments(found).print(Some(query::Format::Table))?;
    if !found.is_whole() {
        output::line("")?;
        losses(found).print(Some(query::Format::Table))?;
    }
    if !found.foreign.is_empty() {
        let names: Vec<_> = found.foreign.iter().map(|name| escape::text(name)).collect();
        output::line(format_args!("not the spool's, left alone: {}", names.join(", ")))?;
    }
    Ok(())
}

fn segments(found: &Inspection) -> Listing {
    let columns = [
        ("segment", false),
        ("first", true),
        ("last", true),
        ("records", true),
        ("bytes", true),
        ("state", false),
    ];
    let mut listing = Listing::new(&columns);
    for segment in &found.segments {
        let last = segment.next.saturating_sub(1);
        listing.push(vec![
            text(segment.name.as_str()),
            number(segment.first),
            if last < segment.first { crate::listing::nothing() } else { number(last) },
            number(segment.records),
            number(segment.bytes),
            text(verdict::state(found, segment)),
        ]);
    }
    listing
}

fn losses(found: &Inspection) -> Listing {
    let columns =
        [("segment", false), ("what", false), ("offset", true), ("bytes", true), ("records_lost", true)];
    let mut listing = Listing::new(&columns);
    for damage in &found.damage {
        listing.push(vec![
            text(damage.segment.as_str()),
            text(verdict::what(damage.kind)),
            number(damage.offset),
            number(damage.bytes),
            number(damage.records),
        ]);
    }
    for missing in &found.missing {
        let what =
            format!("records {} to {} are in no file", missing.first, missing.first + missing.records - 1);
        let nothing = crate::listing::nothing;
        listing.push(vec![
            text(missing.before.as_str()),
            text(what),
            nothing(),
            nothing(),
            number(missing.records),
        ]);
    }
    listing
}

fn object(path: &Path, found: &Inspection) -> Value {
    let segments = found.segments.iter().map(|segment| {
        json!({
            "name": segment.name, "first": segment.first, "next": segment.next, "records": segment.records,
            "bytes": segment.bytes, "torn_bytes": segment.torn, "newer_version": segment.newer,
        })
    });
    let damage = found.damage.iter().map(|damage| {
        json!({
            "segment": damage.segment, "kind": word(damage.kind), "offset": damage.offset, "bytes": damage.bytes,
            "records": damage.records,
        })
    });
    let missing = found
        .missing
        .iter()
        .map(|missing| json!({"before": missing.before, "first": missing.first, "records": missing.records}));
    let tail = found.tail.as_ref().map(|tail| {
        json!({
            "segment": tail.segment, "offset": tail.offset, "bytes": tail.bytes, "most_records": tail.records,
            "in_progress": tail.in_progress,
        })
    });
    json!({
        "path": path, "verdict": verdict::words(found), "whole": found.is_whole(), "format_version": 1,
        "records": found.records(), "bytes": found.bytes(), "lost_records": found.lost(),
        "holder": found.holder.as_ref().map(|holder| json!({"pid": holder.pid, "program": holder.program})),
        "segments": segments.collect::<Value>(), "damage": damage.collect::<Value>(),
        "missing": missing.collect::<Value>(), "tail": tail, "foreign": found.foreign,
    })
}

fn word(kind: DamageKind) -> &'static str {
    match kind {
        DamageKind::SegmentHeader => "segment_header",
        DamageKind::NoRecord => "no_record",
        DamageKind::Payload => "payload",
        DamageKind::End => "end",
        DamageKind::Unreadable => "unreadable",
    }
}
