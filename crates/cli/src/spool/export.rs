//! `lapwing spool export`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use bytes::Bytes;
use lapwing_spool::inspect::RecordPlace;

use super::{DirectoryArgs, RangeArgs, contents::Contents};
use crate::{
    exit::{Exit, Failure, OrExit},
    output,
};

/// Write a spool's rows as NDJSON, or its records as files
///
/// Damaged records are left out and counted; the exit code is 6 then.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    directory: DirectoryArgs,
    #[command(flatten)]
    range: RangeArgs,
    /// A new file for the rows [default: stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A folder for the records as they are, a file each, named by index
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    raw: Option<PathBuf>,
}

/// What was written.
#[derive(Debug, Default)]
struct Written {
    records: u64,
    rows: u64,
    unreadable: u64,
}

/// Writes them.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (_, mut inspector) = args.directory.open()?;
    let places = args.range.of(&inspector);
    let mut written = Written::default();
    let mut sink = Sink::of(args)?;
    for place in &places {
        let Some(payload) = inspector.read(place).or_exit(Exit::Broke)? else { continue };
        sink.take(place, &payload, &mut written)?;
    }
    sink.end()?;
    let lost = inspector.inspection().lost();
    let Written { records, rows, unreadable } = written;
    output::note(format_args!(
        "{records} records, {rows} rows; {lost} damaged or missing, {unreadable} not decoded"
    ));
    if lost + unreadable > 0 { Err(Exit::Unsound.quietly()) } else { Ok(()) }
}

/// Where they go.
enum Sink {
    Rows(Box<dyn Write>, bool),
    Raw(PathBuf),
}

impl Sink {
    fn of(args: &Args) -> Result<Self, Failure> {
        if let Some(folder) = &args.raw {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            return Ok(Self::Raw(folder.clone()));
        }
        Ok(match &args.output {
            Some(path) => Self::Rows(Box::new(BufWriter::new(new_file(path)?)), false),
            None => Self::Rows(Box::new(BufWriter::new(io::stdout().lock())), true),
        })
    }

    fn take(&mut self, place: &RecordPlace, payload: &Bytes, written: &mut Written) -> Result<(), Failure> {
        written.records += 1;
        match self {
            Self::Raw(folder) => {
                let path = folder.join(format!("{:020}.record", place.index));
                new_file(&path)?.write_all(payload).with_context(|| path.display().to_string())?;
            }
            Self::Rows(out, is_stdout) => match Contents::of(payload).json() {
                Ok(lines) => {
                    written.rows += lines.len() as u64;
                    let all = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
                    all.map_err(|error| failed(error, *is_stdout))?;
                }
                Err(error) => {
                    written.unreadable += 1;
                    output::note(format_args!("record {}: {error:#}", place.index));
                }
            },
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        match self {
            Self::Rows(mut out, is_stdout) => out.flush().map_err(|error| failed(error, is_stdout)),
            Self::Raw(_) => Ok(()),
        }
    }
}

fn failed(error: io::Error, is_stdout: bool) -> Failure {
    if is_stdout {
        output::failed(error)
    } else {
        Failure::from(anyhow::Error::from(error).context("write the rows"))
    }
}

/// Nothing that is there is written over.
fn new_file(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("make {}", path.display())).or_exit(Exit::Usage)
}
