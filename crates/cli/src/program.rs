//! Finding other programs.

use std::{
    env,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};

use crate::exit::Failure;

/// The agent's program.
pub(crate) const AGENT: &str = "lapwing-agent";
/// The collector's program.
pub(crate) const COLLECTOR: &str = "lapwing-collector";

/// This program's own file.
pub(crate) fn own() -> Result<PathBuf, Failure> {
    Ok(env::current_exe().context("find the own executable")?)
}

/// A program that comes with this one: beside it, or on the PATH.
pub(crate) fn sibling(name: &str) -> Result<PathBuf, Failure> {
    let own = own()?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    let beside = Some(folder.join(name)).filter(|path| is_program(path));
    let found = beside.or_else(|| on_path(name)).ok_or_else(|| {
        let folder = folder.display();
        anyhow!(
            "{name} is neither in {folder} nor on the PATH; install it, or build it with `cargo build --bins`"
        )
    })?;
    Ok(found)
}

/// The first program `name` on the PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // A relative entry would mean another program in another folder.
    let mut folders = env::split_paths(&path).filter(|folder| folder.is_absolute());
    folders.find_map(|folder| Some(folder.join(name)).filter(|path| is_program(path)))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_the_path_is_found_and_a_missing_one_says_where_it_was_looked_for() {
        assert!(on_path("sh").is_some_and(|path| path.is_absolute()));
        let (_, told) = sibling("lapwing-nowhere").unwrap_err().parts();
        assert!(told.contains("lapwing-nowhere is neither in /"), "{told}");
    }
}
