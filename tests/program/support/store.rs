//! A store of a test's own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{home, run, terrarium};

/// A store with the test home's kernels and no image.
pub struct Store(TempDir);

impl Store {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(home().join("kernels"), folder.path().join("kernels")).unwrap();
        Self(folder)
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Lets a command work on this store.
    pub fn command(&self, mut command: Command) -> Command {
        command.env("TERRARIUM_HOME", self.0.path());
        command
    }

    pub fn pull<const N: usize>(&self, options: [&str; N], image: &str) -> Command {
        let mut command = terrarium();
        command.args(["pull", "--quiet"]).args(options).arg(image);
        self.command(command)
    }

    pub fn run<const N: usize>(&self, options: [&str; N], image: &str) -> Command {
        self.command(run(options, image))
    }
}

/// The files in a folder; none if it does not exist.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}
