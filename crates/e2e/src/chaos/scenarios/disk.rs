//! Disks that are full, refuse, or hold what is not ours.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{Scenario, needs, needs_root};
use crate::{
    RigOptions,
    chaos::{
        Stage,
        stage::Program::{Agent, Collector},
        tracer::Tracer,
        watchdog::Undo,
    },
    rig::PATIENCE,
    wait,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("full-disk", "the collector's disk is full for 10 s", fill)
        .with(|_| RigOptions { data_dir: Some(mount_point()), ..RigOptions::default() })
        .where_possible(|| mount().map_err(|error| format!("{error:#}")))
        .short(),
    Scenario::new("fsync-fails", "fsync of the journal fails once (EIO), 3 times over", fail_sync)
        .where_possible(|| needs_root().and_then(|()| needs("strace")))
        .short(),
    Scenario::new("read-only", "every write to the journal is refused (EROFS) for 5 s", refuse_writes)
        .where_possible(|| needs_root().and_then(|()| needs("strace"))),
    Scenario::new(
        "foreign-files",
        "foreign files and links in the journal's folder at each start",
        put_foreign_files,
    ),
];

/// A small file system of its own.
fn mount_point() -> PathBuf {
    std::env::temp_dir().join(format!("lapwing-chaos-disk-{}", std::process::id()))
}

/// Size of it: memory and lake need some, and filling it must not take long.
const SIZE: &str = "size=160m,mode=700";

fn mount() -> Result<()> {
    let path = mount_point();
    unmount();
    fs::create_dir_all(&path)?;
    let output = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&path).output()?;
    ensure!(
        output.status.success(),
        "can't mount a small file system: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn unmount() {
    let path = mount_point();
    Undo::Unmount(path.display().to_string()).run();
    let _ = fs::remove_dir(&path);
}

fn fill(stage: &mut Stage) -> Result<()> {
    stage.undo_later(&Undo::Unmount(mount_point().display().to_string()))?;
    stage.write(2, 30, Duration::from_millis(5))?;
    stage.pause(500, 1000);
    let before = stage.figure(Collector, "lapwing_collector_refused_total{reason=\"OVERLOADED\"}")?;
    let ballast = mount_point().join("ballast");
    // Until nothing more goes in.
    let written = Command::new("dd")
        .args(["if=/dev/zero", &format!("of={}", ballast.display()), "bs=64k"])
        .stderr(Stdio::null())
        .status()?;
    ensure!(!written.success(), "the disk did not get full");
    stage.note("the disk is full");
    let refused = || stage.figure(Collector, "lapwing_collector_refused_total{reason=\"OVERLOADED\"}");
    wait::until("batches are refused", PATIENCE, || Ok((refused()? > before).then_some(())))?;
    std::thread::sleep(Duration::from_secs(stage.form.pick(2, 10)));
    stage.prove("refused batches", refused()? - before, 1);
    ensure!(stage.rig.collector.ended()?.is_none(), "the collector ended on a full disk");
    fs::remove_file(&ballast)?;
    stage.note("there is room again");
    Ok(())
}

/// The segment that is written to.
fn newest_segment(stage: &Stage) -> Result<PathBuf> {
    let names = fs::read_dir(stage.rig.data_dir.join("journal"))?.flatten().map(|entry| entry.path());
    let segments = names.filter(|path| path.extension().is_some_and(|extension| extension == "spool"));
    segments.max().context("the journal has no segment")
}

fn fail_sync(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    for _ in 0..3 {
        stage.pause(300, 1500);
        let id = stage.rig.collector.id().context("it does not run")?;
        stage.look_at_memory();
        let tracer = Tracer::attach(id, Some(&newest_segment(stage)?), "fdatasync", "error=EIO:when=1")?;
        let status = stage.rig.collector.wait(PATIENCE).context("an fsync that failed ends the collector")?;
        ensure!(!status.success(), "the collector ended with {status} after an fsync that failed");
        stage.note(format!("fsync failed, the collector ended with {status}"));
        tracer.detach()?;
        stage.start(Collector)?;
    }
    Ok(())
}

fn refuse_writes(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    stage.pause(300, 1500);
    let before = stage.figure(Collector, "lapwing_collector_refused_total")?;
    let id = stage.rig.collector.id().context("it does not run")?;
    let tracer = Tracer::attach(id, Some(&newest_segment(stage)?), "writev", "error=EROFS")?;
    stage.note("writes are refused");
    std::thread::sleep(Duration::from_secs(stage.form.pick(2, 5)));
    tracer.detach()?;
    stage.note("writes are taken again");
    if stage.rig.collector.ended()?.is_some() {
        stage.note("the collector had ended");
        stage.start(Collector)?;
    } else {
        stage.prove(
            "refused batches",
            stage.figure(Collector, "lapwing_collector_refused_total")? - before,
            1,
        );
    }
    Ok(())
}

fn put_foreign_files(stage: &mut Stage) -> Result<()> {
    stage.write_as_usual()?;
    let journal = stage.rig.data_dir.join("journal");
    for n in 0..3 {
        stage.pause(300, 800);
        stage.kill(Collector)?;
        fs::write(journal.join(format!("notes-{n}.txt")), "not a segment")?;
        fs::write(journal.join(format!("{n:020}.spool.bak")), "nor this")?;
        std::os::unix::fs::symlink("/etc/passwd", journal.join(format!("9999999999999999{n:04}.spool")))?;
        stage.start(Collector)?;
    }
    let kept = (0..3).all(|n| journal.join(format!("notes-{n}.txt")).exists());
    ensure!(kept && fs::metadata("/etc/passwd")?.len() > 0, "foreign files were touched");
    stage.figure(Agent, "lapwing_agent_batches_total").map(|_| ())
}
