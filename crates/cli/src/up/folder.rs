//! The data folder, held by one `lapwing up` at a time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use anyhow::{Context, Result, anyhow};
use lapwing_service::modes;

use crate::{
    exit::{Exit, Failure},
    home::Home,
};

/// Nobody else uses the folder while this lives; the system lets go of it however the process ends.
pub(super) struct Lock {
    _file: File,
}

/// Makes what is missing of the folder, and takes it.
pub(super) fn take(home: &Home) -> Result<Lock, Failure> {
    make(home.path())?;
    let lock = lock(home.path())?;
    make(&home.logs())?;
    Ok(lock)
}

/// Private: keys are in it, and everything that is logged on this machine.
fn make(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let made = made.and_then(|()| modes::own_directory(folder));
    made.with_context(|| format!("take the folder {}", folder.display()))
}

fn lock(folder: &Path) -> Result<Lock, Failure> {
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(Exit::Broke.because(anyhow!(
            "another `lapwing up` runs on {}; stop it, \
             or give this one a folder with --data-dir and ports with --port",
            folder.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(anyhow::Error::from(error).context(format!("lock {}", path.display())).into())
        }
    }
}

/// Writes a file anew. Who reads it at the same time sees the old one or the new one, never half of one.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let fresh = path.with_extension("new");
    let written = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path));
    written.with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::home::HomeArgs;

    #[test]
    fn a_folder_is_private_and_held_by_one_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let home = HomeArgs::at(&root.path().join("a/data")).home().unwrap();
        let lock = take(&home).unwrap();
        assert_eq!(home.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(home.logs().is_dir());
        let (exit, told) = take(&home).map(|_| ()).unwrap_err().parts();
        assert!(exit == Exit::Broke && told.contains("another `lapwing up` runs on"), "{told}");
        drop(lock);
        assert!(take(&home).is_ok());
    }
}
