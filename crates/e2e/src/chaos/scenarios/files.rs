//! Files that are not what their names say, or are not written at their end only.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, symlink},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Scenario, needs, needs_root};
use crate::{
    RigOptions, Writer,
    chaos::{Stage, stage::Program::Agent, watchdog::Undo},
    line,
    rig::PATIENCE,
    wait,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "links",
        "rotation by rename and by copytruncate behind links, also while the agent is down",
        rotate_behind_links,
    )
    .short()
    .reorders(),
    Scenario::new("clones", "two volumes cloned from one snapshot: same inode, same birth time", read_clones)
        .where_possible(|| needs_root().and_then(|()| needs("mkfs.ext4"))),
    Scenario::new(
        "in-place",
        "files that are filled in place, and a closing line that each record overwrites; `kill -9` of the agent",
        write_in_place,
    )
    .short(),
    Scenario::new(
        "replaced",
        "files replaced by copies of themselves, and cut at the head, also while the agent is down; `kill -9` of it",
        replace_files,
    )
    .short(),
    Scenario::new(
        "partial-lines",
        "last lines without an end that go on later, over `kill -9` of the agent",
        write_partial_lines,
    )
    .short(),
    Scenario::new(
        "late-writers",
        "programs that write on to a file that was rotated away or deleted long before",
        write_late,
    )
    .with(|_| RigOptions { logs: "close_after_secs = 1\nrescan_interval_secs = 1", ..RigOptions::default() })
    .reorders(),
];

fn rotate_behind_links(stage: &mut Stage) -> Result<()> {
    let pods = stage.rig.root().join("pods");
    fs::create_dir(&pods)?;
    let mut writers = Vec::new();
    for file in 1..=2 {
        let path = pods.join(format!("{file}.log"));
        writers.push(Writer::new(&path, file)?);
        symlink(&path, stage.rig.logs().join(format!("pod-{file}.log")))?;
    }
    let mut lines = 0;
    let (mut renames, mut copies) = (0, 0);
    for round in 0..stage.form.pick(6, 40) {
        writers.iter_mut().try_for_each(|writer| writer.write(30))?;
        lines += 60;
        wait::until("the files are read", PATIENCE, || Ok((stage.visible()? >= lines).then_some(())))?;
        let is_down = round % 2 == 0;
        if is_down {
            stage.kill(Agent)?;
        }
        writers.iter_mut().try_for_each(|writer| writer.write(20))?;
        lines += 40;
        for (writer, by_rename) in writers.iter_mut().zip([true, false]) {
            if by_rename {
                drop(writer.rotate_by_rename()?);
                renames += 1;
            } else {
                writer.rotate_by_copytruncate()?;
                copies += 1;
            }
            writer.write(5)?;
            lines += 5;
        }
        if is_down {
            stage.start(Agent)?;
        }
        wait::until("all of it is read", PATIENCE, || Ok((stage.visible()? >= lines).then_some(())))?;
    }
    writers.iter().for_each(|writer| stage.wrote(writer));
    stage.prove("renames behind a link", renames, 5);
    stage.prove("truncations behind a link", copies, 5);
    Ok(())
}

fn read_clones(stage: &mut Stage) -> Result<()> {
    let folders = ["a", "b"].map(|name| stage.rig.root().join(format!("volume-{name}")));
    let images = folders.clone().map(|folder| folder.with_extension("image"));
    File::create(&images[0])?.set_len(16 << 20)?;
    run(Command::new("mkfs.ext4").arg("-q").arg(&images[0]))?;
    fs::create_dir(&folders[0])?;
    mount(stage, &images[0], &folders[0])?;
    let mut first = Writer::new(&folders[0].join("app.log"), 1)?;
    first.write(10)?;
    drop(first);
    run(Command::new("umount").arg(&folders[0]))?;
    fs::copy(&images[0], &images[1])?;

    // Both begin with the lines of the snapshot, which are those of file 1; what is judged are the lines after them.
    for (file, (image, folder)) in (2..).zip(images.iter().zip(&folders)) {
        fs::create_dir_all(folder)?;
        mount(stage, image, folder)?;
        fs::File::options().write(true).open(folder.join("app.log"))?.set_len(0)?;
        let mut writer = Writer::new(&folder.join("app.log"), file)?;
        writer.write(50)?;
        stage.wrote(&writer);
        symlink(folder.join("app.log"), stage.rig.logs().join(format!("volume-{file}.log")))?;
    }
    wait::until("both are read", PATIENCE, || Ok((stage.visible()? >= 100).then_some(())))?;
    stage.kill(Agent)?;
    stage.start(Agent)?;
    stage.prove("files of the same inode and birth time", same_file(&folders.map(|f| f.join("app.log")))?, 1);
    Ok(())
}

fn same_file(paths: &[std::path::PathBuf; 2]) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let [a, b] = [fs::metadata(&paths[0])?, fs::metadata(&paths[1])?];
    Ok(u64::from(a.ino() == b.ino() && a.created()? == b.created()? && a.dev() != b.dev()))
}

fn mount(stage: &mut Stage, image: &Path, folder: &Path) -> Result<()> {
    stage.undo_later(&Undo::Unmount(folder.display().to_string()))?;
    run(Command::new("mount").args(["-o", "loop"]).args([image, folder]))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn write_in_place(stage: &mut Stage) -> Result<()> {
    let filled = File::create(stage.rig.logs().join("filled.log"))?;
    filled.set_len(1 << 20)?;
    let path = stage.rig.logs().join("array.log");
    fs::write(&path, "[\n]\n")?;
    let array = OpenOptions::new().write(true).open(&path)?;
    let (mut filled_to, mut array_to) = (0, 2);
    let rounds = stage.form.pick(60, 600);
    for n in 0..rounds {
        let text = line::line(1, n) + "\n";
        filled.write_all_at(text.as_bytes(), filled_to)?;
        filled_to += text.len() as u64;
        let text = line::line(2, n) + "\n";
        array.write_all_at(format!("{text}]\n").as_bytes(), array_to)?;
        array_to += text.len() as u64;
        if n % 20 == 19 {
            stage.kill(Agent)?;
            stage.start(Agent)?;
        }
        stage.pause(50, 120);
    }
    stage.written(1, rounds);
    stage.written(2, rounds);
    wait::until("all records are visible", PATIENCE, || Ok((stage.visible()? >= 2 * rounds).then_some(())))?;
    let rows: Value =
        serde_json::from_str(&stage.rig.sql("SELECT count(*) AS n FROM logs WHERE body = ']'")?)?;
    let closings = rows["n"].as_u64().unwrap_or(u64::MAX);
    ensure!(closings <= rounds + 1, "{closings} closing lines for {rounds} records");
    stage.prove("records written in place", 2 * rounds, 100);
    Ok(())
}

fn replace_files(stage: &mut Stage) -> Result<()> {
    let path = stage.rig.logs().join("app.log");
    let mut all = Vec::new();
    let mut next = 0;
    let rounds = stage.form.pick(8, 60);
    for round in 0..rounds {
        let more: String = (next..next + 50).map(|n| line::line(1, n) + "\n").collect();
        next += 50;
        all.extend_from_slice(more.as_bytes());
        let is_down = round % 3 == 2;
        if is_down {
            stage.kill(Agent)?;
        }
        // As rsync and editors do it, as a program does it, and keeping the last lines, in place and as `sed -i` does it.
        match round % 4 {
            0 | 1 => replace(&path, &all)?,
            2 => {
                let start = all.len() / 2;
                let end = all[start..].iter().position(|byte| *byte == b'\n').context("a line end")?;
                all.drain(..=start + end);
                if round % 8 == 2 { fs::write(&path, &all)? } else { replace(&path, &all)? }
            }
            _ => OpenOptions::new().append(true).open(&path)?.write_all(more.as_bytes())?,
        }
        if is_down {
            stage.start(Agent)?;
        }
        wait::until("the new lines are read", PATIENCE, || Ok((stage.visible()? >= next).then_some(())))?;
        if round % 3 == 1 {
            stage.kill(Agent)?;
            stage.start(Agent)?;
        }
    }
    stage.written(1, next);
    stage.prove("files written anew", rounds, 8);
    Ok(())
}

fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    Ok(fs::rename(&new, path)?)
}

fn write_partial_lines(stage: &mut Stage) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(stage.rig.logs().join("parts.log"))?;
    let rounds = stage.form.pick(3, 20);
    let count = |what: &str| {
        format!("SELECT count(*) AS n FROM logs WHERE source LIKE '%parts.log' AND body LIKE '{what}'")
    };
    let number = |stage: &Stage, what: &str| -> Result<u64> {
        let rows: Value = serde_json::from_str(&stage.rig.sql(&count(what))?)?;
        rows["n"].as_u64().context("a count")
    };
    let mut writer = Writer::new(&stage.rig.logs().join("app.log"), 1)?;
    for n in 0..rounds {
        file.write_all(format!("begin-{n} ").as_bytes())?;
        writer.write(20)?;
        wait::until("the first part is visible", PATIENCE, || {
            Ok((number(stage, &format!("begin-{n} "))? == 1).then_some(()))
        })?;
        stage.kill(Agent)?;
        file.write_all(format!("end-{n}\n").as_bytes())?;
        stage.start(Agent)?;
        wait::until("the last part is visible", PATIENCE, || {
            Ok((number(stage, &format!("end-{n}"))? == 1).then_some(()))
        })?;
    }
    stage.wrote(&writer);
    let all = number(stage, "%")?;
    ensure!(all == 2 * rounds, "{rounds} lines in two parts each, {all} rows");
    stage.prove("lines in two parts", rounds, 3);
    Ok(())
}

fn write_late(stage: &mut Stage) -> Result<()> {
    let path = stage.rig.logs().join("app.log");
    let away = stage.rig.root().join("away");
    fs::create_dir(&away)?;
    let mut lines = 0;
    let rounds = stage.form.pick(2, 10);
    for round in 0..rounds {
        // A program of its own holds the file: `cat` writes what it is given.
        let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(file).spawn()?;
        let mut input = cat.stdin.take().context("a pipe")?;
        let id = 10 + u32::try_from(round)?;
        let text = |range: std::ops::Range<u64>| range.map(|n| line::line(id, n) + "\n").collect::<String>();
        input.write_all(text(0..20).as_bytes())?;
        lines += 20;
        wait::until("its lines are read", PATIENCE, || Ok((stage.visible()? >= lines).then_some(())))?;
        if round % 2 == 0 {
            fs::rename(&path, away.join(format!("app.log.{round}")))?;
        } else {
            fs::remove_file(&path)?;
        }
        std::thread::sleep(Duration::from_secs(6));
        input.write_all(text(20..40).as_bytes())?;
        lines += 20;
        wait::until("its late lines are read", PATIENCE, || Ok((stage.visible()? >= lines).then_some(())))?;
        drop(input);
        cat.wait()?;
        stage.written(id, 40);
    }
    stage.prove("late writers", rounds, 2);
    Ok(())
}
