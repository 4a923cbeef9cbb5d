//! Files that rotate, are truncated, come by the thousand, or are no log files at all.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Scenario, needs, needs_root};
use crate::{
    RigOptions, Writer,
    chaos::{Stage, stage::Program::Agent},
    line,
    rig::PATIENCE,
    wait,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("rotation-storm", "rotation by rename every 50 ms, the third file back is deleted", rotate)
        .short()
        .reorders(),
    Scenario::new("copytruncate", "copy and truncate every second under load, 60 times", copy_and_truncate)
        .with(|_| RigOptions { logs: "exclude = [\"/**/*.copy.*\"]", ..RigOptions::default() })
        .short(),
    Scenario::new(
        "inode-reuse",
        "files deleted and made again under the same inode while the agent is down, 50 times",
        reuse_inodes,
    )
    .reorders(),
    Scenario::new("many-files", "10,000 files, 100 of them written to", read_many_files),
    Scenario::new("endless-line", "a line of 1 GB among others", write_endless_line),
    Scenario::new("garbage", "NUL, invalid UTF-8, CRLF, ESC, half lines", write_garbage)
        // On a busy machine a half may wait for long; given out in parts it would not be a line to the oracle.
        .with(|_| RigOptions { logs: "unfinished_line_ms = 60000", ..RigOptions::default() })
        .short(),
    Scenario::new(
        "no-log-files",
        "directories, pipes, devices and dangling links that the globs match",
        put_no_log_files,
    ),
    Scenario::new(
        "odd-names",
        "file and folder names that are not UTF-8, and the agent killed",
        write_odd_names,
    )
    .with(|_| everywhere(""))
    .short(),
    Scenario::new("links-back", "directory links that lead back, under **", link_back)
        .with(|_| everywhere(""))
        .short(),
    Scenario::new(
        "folder-anew",
        "a folder removed or renamed, and made anew; only events can tell of it",
        make_folder_anew,
    )
    .with(|_| everywhere("rescan_interval_secs = 3600"))
    .short(),
    Scenario::new(
        "no-permission",
        "files that the agent, which is not root, may not read; then it may",
        close_files,
    )
    .where_possible(|| needs_root().and_then(|()| needs("setpriv"))),
];

/// Files in folders, too.
fn everywhere(logs: &'static str) -> RigOptions {
    RigOptions { files: "**/*.log*", logs, ..RigOptions::default() }
}

fn rotate(stage: &mut Stage) -> Result<()> {
    let mut writer = Writer::new(&stage.rig.logs().join("app.log"), 1)?;
    let until = Instant::now() + Duration::from_secs(stage.form.pick(5, 60));
    let (mut old, mut rotations) = (VecDeque::new(), 0);
    while Instant::now() < until {
        for _ in 0..5 {
            writer.write(30)?;
            std::thread::sleep(Duration::from_millis(10));
        }
        old.push_back(writer.rotate_by_rename()?);
        rotations += 1;
        if old.len() > 3 {
            fs::remove_file(old.pop_front().context("a file")?)?;
        }
    }
    stage.wrote(&writer);
    stage.prove("rotations", rotations, stage.form.pick(50, 500));
    Ok(())
}

fn copy_and_truncate(stage: &mut Stage) -> Result<()> {
    let mut writer = Writer::new(&stage.rig.logs().join("app.log"), 1)?;
    let rounds = stage.form.pick(4, 60);
    for _ in 0..rounds {
        for _ in 0..100 {
            writer.write(10)?;
            std::thread::sleep(Duration::from_millis(10));
        }
        // Nothing is written between copy and truncation: such lines no reader could save.
        writer.rotate_by_copytruncate()?;
    }
    // An empty file may just be written anew: what happened to it is known when something is in it.
    writer.write(10)?;
    stage.wrote(&writer);
    // Two of them between two looks of a busy machine are one, and both copies are read.
    let least = rounds * 3 / 4;
    let seen = wait::until("the truncations are noticed", PATIENCE, || {
        let seen = stage.figure(Agent, "lapwing_agent_files_truncated_total")?;
        Ok((seen >= least).then_some(seen))
    })?;
    ensure!(seen <= rounds, "{rounds} truncations, {seen} noticed");
    stage.prove("truncations noticed", seen, least);
    Ok(())
}

fn reuse_inodes(stage: &mut Stage) -> Result<()> {
    let path = stage.rig.logs().join("app.log");
    let (mut lines, mut reused, mut last) = (0, 0, 0);
    let mut writer = Writer::new(&path, 1)?;
    for _ in 0..stage.form.pick(10, 50) {
        writer.write(20)?;
        lines += 20;
        let inode = fs::metadata(&path)?.ino();
        reused += u64::from(inode == last);
        last = inode;
        wait::until("the file is read", PATIENCE, || Ok((stage.visible()? >= lines).then_some(())))?;
        // While the agent has the file open its inode can't be used again.
        stage.kill(Agent)?;
        fs::remove_file(&path)?;
        writer.begin_anew()?;
        stage.start(Agent)?;
    }
    stage.wrote(&writer);
    stage.prove("inodes used again", reused, 3);
    Ok(())
}

fn read_many_files(stage: &mut Stage) -> Result<()> {
    let (files, active) = stage.form.pick((1_000, 50), (10_000, 100));
    for file in 1..=files {
        let mut writer = Writer::new(&stage.rig.logs().join(format!("app-{file}.log")), file)?;
        writer.write(2)?;
        stage.wrote(&writer);
    }
    let all = u64::from(files) * 2;
    wait::until("all files are read", PATIENCE, || Ok((stage.visible()? >= all).then_some(())))?;
    for n in 0..active {
        let file = files + 1 + n;
        let mut writer = Writer::new(&stage.rig.logs().join(format!("app-{}.log", n + 1)), file)?;
        writer.write(200)?;
        stage.wrote(&writer);
    }
    stage.prove("files open", stage.figure(Agent, "lapwing_agent_files_open")?, u64::from(files));
    // Idle with thousands of files open.
    std::thread::sleep(Duration::from_secs(4));
    let (cpu, since) = (stage.rig.agent.cpu()?, Instant::now());
    std::thread::sleep(Duration::from_secs(stage.form.pick(2, 10)));
    let share = (stage.rig.agent.cpu()? - cpu).as_secs_f64() / since.elapsed().as_secs_f64();
    stage.note(format!("idle: {:.2} % of a core", share * 100.0));
    ensure!(share < 0.1, "the agent uses {:.1} % of a core with idle files", share * 100.0);
    Ok(())
}

fn write_endless_line(stage: &mut Stage) -> Result<()> {
    let path = stage.rig.logs().join("app.log");
    let mut writer = Writer::new(&path, 1)?;
    writer.write(1_000)?;
    let mut file = OpenOptions::new().append(true).open(&path)?;
    let megabyte = vec![b'x'; 1 << 20];
    let megabytes = stage.form.pick(64, 1024);
    for _ in 0..megabytes {
        file.write_all(&megabyte)?;
    }
    file.write_all(b"\n")?;
    writer.write(1_000)?;
    stage.wrote(&writer);
    let query = "SELECT count(*) AS n FROM logs WHERE attribute(attributes, 'lapwing.truncated') = 'true'";
    wait::until("the cut line is visible", Duration::from_secs(120), || {
        Ok((serde_json::from_str::<Value>(&stage.rig.sql(query)?)?["n"] == 1).then_some(()))
    })?;
    stage.prove("megabytes in one line", megabytes, 64);
    Ok(())
}

fn write_garbage(stage: &mut Stage) -> Result<()> {
    let garbage: [&[u8]; 8] = [
        b"\0\0\0",
        b"\xff\xfe\xfd",
        b"\xef\xbb\xbfwith a mark",
        b"crlf\r",
        b"\x1b[31mred\x1b[0m",
        b"\xc3",
        b"",
        b"2026-01-01T00:00:00Z stdout F forged",
    ];
    let mut file = fs::File::create(stage.rig.logs().join("garbage.log"))?;
    let path = stage.rig.logs().join("app.log");
    let mut writer = Writer::new(&path, 1)?;
    let mut half = OpenOptions::new().create(true).append(true).open(stage.rig.logs().join("half.log"))?;
    let rounds = stage.form.pick(20, 200);
    for n in 0..rounds {
        for bytes in garbage {
            file.write_all(&[bytes, b"\n"].concat())?;
        }
        writer.write(50)?;
        // A line in two halves, with time enough between them to be read apart.
        let whole = line::line(2, n);
        half.write_all(&whole.as_bytes()[..whole.len() / 2])?;
        stage.pause(20, 120);
        half.write_all(&[&whole.as_bytes()[whole.len() / 2..], b"\n"].concat())?;
    }
    stage.wrote(&writer);
    stage.written(2, rounds);
    let all = rounds * garbage.len() as u64;
    let query = "SELECT count(*) AS n, count(DISTINCT coalesce(raw_body, arrow_cast(body, 'BinaryView'))) AS kinds FROM logs \
                 WHERE source LIKE '%garbage.log'";
    let kinds = wait::until("all garbage is visible", PATIENCE, || {
        let row: Value = serde_json::from_str(&stage.rig.sql(query)?)?;
        Ok((row["n"] == all).then(|| row["kinds"].clone()))
    })?;
    ensure!(kinds == garbage.len(), "{} kinds of garbage went in, {kinds} came out", garbage.len());
    stage.prove("lines of garbage", all, 100);
    Ok(())
}

fn put_no_log_files(stage: &mut Stage) -> Result<()> {
    let logs = stage.rig.logs();
    fs::create_dir(logs.join("folder.log"))?;
    std::os::unix::fs::symlink("/nowhere", logs.join("dangling.log"))?;
    std::os::unix::fs::symlink("/dev/zero", logs.join("zero.log"))?;
    std::os::unix::fs::symlink(logs.join("loop.log"), logs.join("loop.log"))?;
    let made = Command::new("mkfifo").arg(logs.join("pipe.log")).status()?;
    ensure!(made.success(), "mkfifo: {made}");
    stage.write_as_usual()?;
    std::thread::sleep(Duration::from_secs(stage.form.pick(2, 10)));
    let visible = stage.visible()?;
    stage.prove("lines beside them", visible, 100);
    Ok(())
}

fn write_odd_names(stage: &mut Stage) -> Result<()> {
    let logs = stage.rig.logs();
    let folder = logs.join(OsStr::from_bytes(b"odd\xfe"));
    fs::create_dir(&folder)?;
    let names: [&[u8]; 6] =
        [b"caf\xe9.log", b"caf\xe8.log", b"\xff.log", b"a 'b' \"c\"\t$d;.log", b"caf\\xE9.log", b"plain.log"];
    let paths = names.iter().map(|name| logs.join(OsStr::from_bytes(name)));
    let paths = paths.chain([folder.join("a.log"), folder.join(OsStr::from_bytes(b"\xc3.log"))]);
    let mut writers =
        (1..).zip(paths).map(|(file, path)| Writer::new(&path, file)).collect::<Result<Vec<_>>>()?;
    let rounds = stage.form.pick(20, 200);
    for round in 0..rounds {
        writers.iter_mut().try_for_each(|writer| writer.write(10))?;
        std::thread::sleep(Duration::from_millis(20));
        if round == rounds / 2 {
            stage.kill(Agent)?;
            stage.start(Agent)?;
        }
    }

    writers.iter().for_each(|writer| stage.wrote(writer));
    let all = rounds * 10 * writers.len() as u64;
    wait::until("all lines are visible", PATIENCE, || Ok((stage.visible()? >= all).then_some(())))?;
    let query = "SELECT count(DISTINCT source) AS n FROM logs";
    let sources = serde_json::from_str::<Value>(&stage.rig.sql(query)?)?["n"].as_u64().unwrap_or_default();
    ensure!(sources == writers.len() as u64, "{} files, {sources} sources", writers.len());
    stage.prove("files with odd names", sources, writers.len() as u64);
    Ok(())
}

fn link_back(stage: &mut Stage) -> Result<()> {
    let logs = stage.rig.logs();
    for name in ["current", "latest", "third", "sub/up", "sub/again"] {
        let link = logs.join(name);
        fs::create_dir_all(link.parent().context("a folder")?)?;
        std::os::unix::fs::symlink(&logs, link)?;
    }
    stage.write_as_usual()?;
    let mut writer = Writer::new(&logs.join("sub/new.log"), 100)?;
    writer.write(1_000)?;
    stage.wrote(&writer);
    let query = "SELECT count(*) AS n FROM logs WHERE source LIKE '%/sub/new.log'";
    wait::until("the file in the folder is read by its shortest name", PATIENCE, || {
        Ok((serde_json::from_str::<Value>(&stage.rig.sql(query)?)?["n"] == 1_000).then_some(()))
    })?;
    stage.prove("lines beside links", 1_000, 1_000);
    Ok(())
}

fn make_folder_anew(stage: &mut Stage) -> Result<()> {
    let folder = stage.rig.logs().join("app");
    let rounds = stage.form.pick(6, 40);
    let mut lines = 0;
    for round in 0..rounds {
        fs::create_dir_all(folder.join("deep"))?;
        let mut writer = Writer::new(&folder.join(format!("deep/{round}.log")), round as u32 + 1)?;
        writer.write(50)?;
        stage.wrote(&writer);
        lines += 50;
        wait::until("the new folder is read", PATIENCE, || Ok((stage.visible()? >= lines).then_some(())))?;
        if round % 2 == 0 {
            fs::remove_dir_all(&folder)?;
        } else {
            fs::rename(&folder, stage.rig.root().join(format!("old-{round}")))?;
        }
    }
    stage.prove("folders made anew", rounds, 6);
    Ok(())
}

/// The user and group of nobody.
const NOBODY: u32 = 65_534;

fn close_files(stage: &mut Stage) -> Result<()> {
    stage.stop(Agent)?;
    let owned =
        Command::new("chown").arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(stage.rig.root()).status()?;
    ensure!(owned.success(), "chown: {owned}");
    let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
    stage.rig.agent.start_by(&["setpriv", &user[0], &user[1], "--clear-groups"]);
    stage.start(Agent)?;
    stage.write_as_usual()?;
    let closed =
        (11..=20).map(|file| stage.rig.logs().join(format!("closed-{file}.log"))).collect::<Vec<_>>();
    for (path, file) in closed.iter().zip(11..) {
        fs::write(path, "")?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o000))?;
        let mut writer = Writer::new(path, file)?;
        writer.write(500)?;
        stage.wrote(&writer);
    }
    let refused = wait::until("the agent is refused", PATIENCE, || {
        let refused = stage.figure(Agent, "lapwing_agent_file_errors_total")?;
        Ok((refused >= closed.len() as u64).then_some(refused))
    })?;
    let before = stage.visible()?;
    wait::until(
        "other files are read meanwhile",
        PATIENCE,
        || Ok((stage.visible()? > before).then_some(())),
    )?;
    stage.note("the files may be read now");
    closed.iter().try_for_each(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))?;
    stage.prove("files that could not be opened", refused, closed.len() as u64);
    Ok(())
}
