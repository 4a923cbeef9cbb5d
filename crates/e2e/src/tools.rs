//! Tools from outside: found, or a test says that it is SKIPPED and why.

use std::{env, path::PathBuf};

/// The program `name` on the PATH, if there is one.
pub fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The Python that has DuckDB, as `make setup` installs it.
pub fn duckdb_python() -> Option<PathBuf> {
    env::var_os("LAPWING_DUCKDB_PYTHON").map(PathBuf::from).filter(|path| path.is_file())
}
