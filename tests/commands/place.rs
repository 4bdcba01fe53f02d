//! A home of its own for each test, and images small enough to be pulled often.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::layout::{self, EMPTY_LAYER};
use crate::support::{assert_output, output};

/// Folders for terrarium and for docker's configuration.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("home")).unwrap();
        fs::create_dir(place.path("docker")).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, such as `home/registries.json` or `docker/config.json`.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// An OCI layout with one image of one empty layer, named `a`.
    pub fn layout(&self) -> PathBuf {
        let path = self.path("layout");
        if !path.exists() {
            layout::write(&path, "a", json!({ "Cmd": ["x"] }), &EMPTY_LAYER);
        }
        path
    }

    /// The command, with this home and no proxies but those that the test sets.
    pub fn terrarium(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_terrarium"));
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command
            .env("TERRARIUM_HOME", self.path("home"))
            .env("DOCKER_CONFIG", self.path("docker"));
        command
    }

    pub fn pull(&self, image: &str) -> Command {
        let mut command = self.terrarium();
        command.args(["pull", "--quiet", "--platform", "linux/amd64", image]);
        command
    }

    #[track_caller]
    pub fn pulls(&self, image: &str) {
        let pulled = output(&mut self.pull(image));
        assert_output(&pulled, 0, format!("{image}\n"));
    }

    /// Asserts that an image cannot be pulled, and that one line says each of `parts`.
    #[track_caller]
    pub fn refuses<const N: usize>(&self, image: &str, parts: [&str; N]) -> String {
        refused(&mut self.pull(image), parts)
    }
}

/// Asserts that a command fails, and that one line says each of `parts`.
#[track_caller]
pub fn refused<const N: usize>(command: &mut Command, parts: [&str; N]) -> String {
    let failed = output(command);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert_eq!(failed.stdout, b"", "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    said
}
