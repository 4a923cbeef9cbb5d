//! `lapwing spool repair`.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::anyhow;
use lapwing_spool::{
    SpoolError, holder,
    inspect::{Inspection, Tail},
    repair::{self, Repair},
};

use super::{DirectoryArgs, check, look};
use crate::{
    exit::{Exit, Failure},
    output, time,
};

/// Repair a spool that no process has open
///
/// The torn end that a crash left is cut, damaged headers are written again, and segments of which nothing can be read are set
/// aside. Every record that can be read stays. What is changed is kept in a folder `damaged-TIME` in the spool first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    directory: DirectoryArgs,
    /// Only say what would be changed
    #[arg(long)]
    dry_run: bool,
}

/// Repairs, and tells what was lost.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let path = args.directory.find()?;
    if let Some(holder) = holder(&path) {
        return Err(in_use(&path, &holder.to_string()));
    }
    let inspector = look(&path)?;
    let before = inspector.inspection();
    let plan = Repair::plan(before);
    output::line(format_args!("{}: {}", path.display(), check::words(before)))?;
    if args.dry_run {
        tell(&plan, "would be")?;
        return told_loss(before);
    }
    let done = repair::repair(&path, &now()).map_err(|error| failed(&path, error))?;
    tell(&done, "was")?;
    if let Some(kept_in) = &done.kept_in {
        output::line(format_args!("what was changed is kept in {}", kept_in.display()))?;
    }
    told_loss(before)
}

fn tell(repair: &Repair, was: &str) -> Result<(), Failure> {
    if repair.is_empty() {
        return output::line("there is nothing to change");
    }
    if let Some(Tail { segment, offset, bytes, .. }) = &repair.cut {
        output::line(format_args!("{segment}: {bytes} bytes {was} cut from byte {offset} on"))?;
    }
    for name in &repair.headers {
        output::line(format_args!("{name}: its header {was} written again"))?;
    }
    for (name, bytes) in &repair.set_aside {
        output::line(format_args!("{name}: {bytes} bytes of which nothing can be read {was} set aside"))?;
    }
    Ok(())
}

fn told_loss(found: &Inspection) -> Result<(), Failure> {
    let (records, lost) = (found.records(), found.lost());
    output::line(format_args!("{records} records can be read, {lost} are lost"))
}

fn failed(path: &Path, error: SpoolError) -> Failure {
    match error {
        SpoolError::Locked { .. } => {
            let who = holder(path).map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
            in_use(path, &who)
        }
        error => Exit::Broke.because(error),
    }
}

fn in_use(path: &Path, who: &str) -> Failure {
    Exit::Usage.because(anyhow!(
        "{}: {who} has it open; stop that first. `lapwing spool check` looks at a spool in use",
        path.display()
    ))
}

/// The time as it stands in a file's name: `2026-01-01T00-00-00Z`.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    time::rfc3339_seconds(since.as_secs()).replace(':', "-")
}
