//! A file system of a run's own: ext4 in a file, which can be frozen.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::watchdog::Undo;

/// Size of it: memory and lake need some.
const BYTES: u64 = 512 << 20;

/// Where it is mounted.
pub(super) fn mount_point() -> PathBuf {
    std::env::temp_dir().join(format!("lapwing-chaos-ext4-{}", std::process::id()))
}

/// Makes and mounts it anew.
pub(super) fn mount() -> Result<()> {
    let (path, image) = (mount_point(), mount_point().with_extension("image"));
    Undo::Unmount(path.display().to_string()).run();
    fs::create_dir_all(&path)?;
    fs::File::create(&image)?.set_len(BYTES)?;
    let mounted = run(Command::new("mkfs.ext4").arg("-q").arg(&image))
        .and_then(|()| run(Command::new("mount").args(["-o", "loop"]).args([&image, &path])));
    // Mounted it needs no name: nothing is left behind, whatever becomes of the run.
    fs::remove_file(&image)?;
    mounted?;
    // A collector takes no directory that others may write.
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?)
}

/// Stops every write to it, and every fsync, until it is thawed.
pub(super) fn freeze() -> Result<()> {
    let path = mount_point();
    // Without the mount the name would stand for the file system of the whole machine.
    ensure!(device(&path)? != device(&std::env::temp_dir())?, "{} is not mounted", path.display());
    run(Command::new("fsfreeze").arg("--freeze").arg(path))
}

fn device(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?.dev())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
