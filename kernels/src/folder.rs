//! A folder with one folder for each thing that is kept.
//!
//! Each is made under another name, synced and renamed, so it is there whole or not at all. One process
//! at a time changes the folder; any number may use it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Error;
use crate::error::io_error;

/// Held while the folder is changed.
const LOCK: &str = "lock";
/// Folders in the making or being removed.
const STAGING: &str = "staging";

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// Opens it, and makes it if there is none.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// The names and paths of the things kept, each of which has a file named `record`.
    pub(crate) fn entries(&self, record: &str) -> Result<Vec<(String, PathBuf)>, Error> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error("list", &self.dir))? {
            let path = entry.map_err(io_error("list", &self.dir))?.path();
            if let Some(name) = path.file_name().and_then(|name| name.to_str())
                && path.join(record).exists()
            {
                entries.push((name.to_owned(), path));
            }
        }
        Ok(entries)
    }

    /// Bytes that everything here takes on the host, whole and in the making.
    pub(crate) fn allocated_bytes(&self) -> Result<u64, Error> {
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

    /// Keeps others from changing the folder, until the file is dropped.
    pub(crate) fn lock(&self) -> Result<File, Error> {
        let path = self.dir.join(LOCK);
        let lock = File::create(&path).map_err(io_error("create", &path))?;
        lock.lock().map_err(io_error("lock", &path))?;
        Ok(lock)
    }

    /// An empty folder to work in, removed when dropped. The lock must be held: whatever else is
    /// being staged is of a process that died, and is removed.
    pub(crate) fn staging(&self) -> Result<TempDir, Error> {
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

pub(crate) fn write(path: &Path, contents: &[u8]) -> Result<(), Error> {
    File::create_new(path)
        .and_then(|mut file| {
            file.write_all(contents)?;
            file.sync_all()
        })
        .map_err(io_error("write", path))
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("sync", path))
}
