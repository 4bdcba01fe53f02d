//! Emulators of other architectures' programs, which guests run under their own kernel: QEMU's
//! user-mode emulators, kept like kernels.
//!
//! Each has a folder of its own, named by what it emulates and what it runs on.

mod import;
mod target;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use target::Target;

use crate::error::io_error;
use crate::folder::Folder;
use crate::{Arch, Error};

/// Names in an emulator's folder.
const RECORD: &str = "emulator.json";
const PROGRAM: &str = "emulator";

/// What the store knows of an emulator beside its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    target: String,
    host: Arch,
    /// The file it was imported from, for people.
    source: String,
    /// Of the emulator's file, in hexadecimal.
    sha256: String,
    bytes: u64,
}

/// An emulator in the store.
#[derive(Clone, Debug)]
pub struct Emulator {
    folder: PathBuf,
    target: Target,
    record: Record,
}

impl Emulator {
    fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(RECORD);
        let record = fs::read(&path).map_err(io_error("read", &path))?;
        let damaged = |error| io_error("understand", &path)(error);
        let record: Record =
            serde_json::from_slice(&record).map_err(|error| damaged(error.into()))?;
        let target = Target::ALL
            .into_iter()
            .find(|target| target.name() == record.target)
            .ok_or_else(|| damaged(std::io::ErrorKind::InvalidData.into()))?;
        Ok(Self {
            folder: folder.to_owned(),
            target,
            record,
        })
    }

    /// What it emulates.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target
    }

    /// What it runs on.
    #[must_use]
    pub fn host(&self) -> Arch {
        self.record.host
    }

    /// The name of the file that it was imported from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.record.source
    }

    /// The SHA-256 of its file, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.record.sha256
    }

    /// The size of its file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.record.bytes
    }

    /// Its file, a static program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.folder.join(PROGRAM)
    }
}

/// The emulators stored in a folder.
#[derive(Clone, Debug)]
pub struct Emulators {
    folder: Folder,
}

impl Emulators {
    /// Opens the store in `dir`, and makes it if there is none.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Folder::open(dir).map(|folder| Self { folder })
    }

    /// All emulators, in the order of [`Target::ALL`] for each host.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<Emulator>, Error> {
        let folders = self.folder.entries(RECORD)?;
        let mut emulators = folders
            .iter()
            .map(|(_, path)| Emulator::read(path))
            .collect::<Result<Vec<_>, _>>()?;
        emulators.sort_by_key(|emulator| {
            let target = Target::ALL.iter().position(|t| *t == emulator.target);
            (emulator.host().name(), target)
        });
        Ok(emulators)
    }

    /// The emulators for guests of an architecture.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn for_guests(&self, arch: Arch) -> Result<Vec<Emulator>, Error> {
        let mut emulators = self.list()?;
        emulators.retain(|emulator| emulator.host() == arch);
        Ok(emulators)
    }

    /// Bytes that the emulators take on the host, whole and in the making.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn allocated_bytes(&self) -> Result<u64, Error> {
        self.folder.allocated_bytes()
    }

    /// Removes the emulators of a target, for all hosts. Machines that run them are not disturbed.
    ///
    /// # Errors
    /// If there is none, or one cannot be removed.
    pub fn remove(&self, target: &str) -> Result<(), Error> {
        let _lock = self.folder.lock()?;
        let mut emulators = self.list()?;
        emulators.retain(|emulator| emulator.target.name() == target);
        if emulators.is_empty() {
            return Err(Error::NoEmulator(target.to_owned()));
        }
        let staging = self.folder.staging()?;
        for emulator in &emulators {
            let path = &emulator.folder;
            let removed = staging.path().join(emulator.host().name());
            fs::rename(path, removed).map_err(io_error("remove", path))?;
        }
        staging
            .close()
            .map_err(io_error("remove", self.folder.path()))
    }
}
