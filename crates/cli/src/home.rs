//! The data folder: where `lapwing up` keeps everything, and the other commands find out how to reach it.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::anyhow;

use crate::exit::{Exit, Failure, OrExit};

/// Which data folder.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct HomeArgs {
    /// Data folder of `lapwing up` [default: $XDG_DATA_HOME/lapwing or ~/.local/share/lapwing]
    #[arg(long, env = "LAPWING_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl HomeArgs {
    /// The data folder at `folder`.
    #[cfg(test)]
    pub(crate) fn at(folder: &Path) -> Self {
        Self { data_dir: Some(folder.to_owned()) }
    }

    /// The data folder that is meant. It need not exist.
    pub(crate) fn home(&self) -> Result<Home, Failure> {
        let usual = usual();
        let folder = self.data_dir.clone().or_else(|| usual.clone()).ok_or_else(|| {
            Exit::Usage.because(anyhow!("there is no home folder for data: set HOME, or give --data-dir"))
        })?;
        let folder = std::path::absolute(folder).or_exit(Exit::Usage)?;
        Ok(Home { is_usual: usual.is_some_and(|usual| usual == folder), folder })
    }
}

/// `$XDG_DATA_HOME/lapwing`, or what the XDG base directory specification says stands for it.
fn usual() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")))?;
    Some(data.join("lapwing"))
}

/// A data folder and the paths in it.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    folder: PathBuf,
    is_usual: bool,
}

impl Home {
    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Whether commands find it without being told.
    pub(crate) fn is_usual(&self) -> bool {
        self.is_usual
    }

    /// How to reach the collector.
    pub(crate) fn client_config(&self) -> PathBuf {
        self.folder.join("client.toml")
    }

    /// The folder of the certificates.
    pub(crate) fn certs(&self) -> PathBuf {
        self.folder.join("certs")
    }

    /// A certificate or key.
    pub(crate) fn cert(&self, name: &str) -> PathBuf {
        self.certs().join(name)
    }

    /// The programs' own logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_ones_own_is_absolute_and_not_the_usual_one() {
        let home = HomeArgs::at(Path::new("some/where")).home().unwrap();
        assert!(home.path().is_absolute() && home.path().ends_with("some/where"));
        assert!(!home.is_usual());
    }
}
