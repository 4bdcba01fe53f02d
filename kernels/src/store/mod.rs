//! The folder in which kernels are kept.
//!
//! Each kernel has a folder of its own, named by its id. It is made under another name, synced and
//! renamed, so a kernel is there whole or not at all. One process at a time changes the store; any
//! number may use it.

mod import;
mod pull;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::io_error;
use crate::kernel::RECORD;
use crate::{Arch, Error, Kernel};

/// Held while the store is changed.
const LOCK: &str = "lock";
/// Folders in the making or being removed.
const STAGING: &str = "staging";

/// The kernels stored in a folder.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens the store in `dir`, and makes it if there is none.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// All kernels, the last imported first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<Kernel>, Error> {
        let mut kernels = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error("list", &self.dir))? {
            let entry = entry.map_err(io_error("list", &self.dir))?;
            let name = entry.file_name();
            if let Some(id) = name.to_str()
                && entry.path().join(RECORD).exists()
            {
                kernels.push(Kernel::read(&entry.path(), id)?);
            }
        }
        kernels.sort_by_key(|kernel| std::cmp::Reverse(kernel.imported_ns()));
        Ok(kernels)
    }

    /// Bytes that the kernels take on the host, whole and in the making.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn allocated_bytes(&self) -> Result<u64, Error> {
        let mut bytes = 0;
        let mut pending = vec![self.dir.clone()];
        while let Some(dir) = pending.pop() {
            let entries = match fs::read_dir(&dir) {
                // Renamed or removed while this looked, as below.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(io_error("list", &dir))?,
            };
            for entry in entries {
                let path = entry.map_err(io_error("list", &dir))?.path();
                let metadata = match fs::symlink_metadata(&path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    metadata => metadata.map_err(io_error("examine", &path))?,
                };
                bytes += metadata.blocks() * 512;
                if metadata.is_dir() {
                    pending.push(path);
                }
            }
        }
        Ok(bytes)
    }

    /// The kernel of this id, or the only one whose id begins so.
    ///
    /// # Errors
    /// If there is none or there are several, or the store cannot be read.
    pub fn get(&self, id: &str) -> Result<Kernel, Error> {
        named(self.list()?, id)
    }

    /// The kernel for an architecture, named as for [`get`](Self::get): those for others are in
    /// nobody's way.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and if the only kernels of this name are for another architecture.
    pub fn get_for(&self, arch: Arch, id: &str) -> Result<Kernel, Error> {
        let (fitting, others) = self
            .list()?
            .into_iter()
            .partition(|kernel| kernel.arch() == arch);
        match (named(fitting, id), named(others, id)) {
            (Err(Error::NotFound(_)), Ok(other)) => Err(Error::OtherArch {
                kernel: other.id().to_owned(),
                arch: other.arch(),
                wanted: arch,
            }),
            (fitting, _) => fitting,
        }
    }

    /// The kernel that guests of an architecture boot: the last imported.
    ///
    /// # Errors
    /// If there is none, or the store cannot be read.
    pub fn default_for(&self, arch: Arch) -> Result<Kernel, Error> {
        self.list()?
            .into_iter()
            .find(|kernel| kernel.arch() == arch)
            .ok_or(Error::NoneFor(arch))
    }

    /// Removes a kernel, named as for [`get`](Self::get). Machines that run it are not disturbed.
    ///
    /// # Errors
    /// If there is no such kernel, or it cannot be removed.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        let _lock = self.lock()?;
        let staging = self.staging()?;
        let path = self.dir.join(self.get(id)?.id());
        fs::rename(&path, staging.path().join("removed")).map_err(io_error("remove", &path))?;
        staging.close().map_err(io_error("remove", &path))
    }

    fn lock(&self) -> Result<File, Error> {
        let path = self.dir.join(LOCK);
        let lock = File::create(&path).map_err(io_error("create", &path))?;
        lock.lock().map_err(io_error("lock", &path))?;
        Ok(lock)
    }

    /// An empty folder to work in, removed when dropped. The lock must be held: whatever else is
    /// being staged is of a process that died, and is removed.
    fn staging(&self) -> Result<TempDir, Error> {
        let path = self.dir.join(STAGING);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error("remove", &path)(error));
            }
            _ => {}
        }
        fs::create_dir(&path).map_err(io_error("create", &path))?;
        tempfile::tempdir_in(&path).map_err(io_error("create a folder in", &path))
    }
}

/// The kernel of this id, or the only one whose id begins so.
fn named(mut kernels: Vec<Kernel>, id: &str) -> Result<Kernel, Error> {
    if let Some(exact) = kernels.iter().position(|kernel| kernel.id() == id) {
        return Ok(kernels.swap_remove(exact));
    }
    kernels.retain(|kernel| kernel.id().starts_with(id));
    match kernels.len() {
        0 => Err(Error::NotFound(id.to_owned())),
        1 => Ok(kernels.remove(0)),
        _ => Err(Error::Ambiguous {
            name: id.to_owned(),
            matches: kernels.iter().map(|k| k.id().to_owned()).collect(),
        }),
    }
}

fn write(path: &Path, contents: &[u8]) -> Result<(), Error> {
    File::create_new(path)
        .and_then(|mut file| {
            file.write_all(contents)?;
            file.sync_all()
        })
        .map_err(io_error("write", path))
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("sync", path))
}
