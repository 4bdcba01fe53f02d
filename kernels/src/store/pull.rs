//! Taking a kernel from a repository.

use std::fs::{self, File};
use std::io::BufReader;

use tempfile::TempDir;

use super::Store;
use crate::alpine::{Repository, Seen};
use crate::error::io_error;
use crate::folder::{sync_dir, write};
use crate::package::read_apk;
use crate::{Arch, Error, Kernel};

/// How new the repositories' indexes were.
const SEEN: &str = "alpine-seen.json";

impl Store {
    /// Takes the kernel for virtual machines from an Alpine repository, all of it verified. A new
    /// one becomes the default; if the newest is stored already, nothing but the index is fetched.
    ///
    /// # Errors
    /// If the mirror does not answer, or gives anything but what Alpine signed; the store is
    /// unchanged then.
    pub fn pull(&self, repository: &Repository, arch: Arch) -> Result<Kernel, Error> {
        let _lock = self.folder.lock()?;
        let staging = self.folder.staging()?;
        let mut seen = self.seen()?;
        let package = repository.kernel_package(arch, &mut seen)?;
        self.note_seen(&seen, &staging)?;
        let stored = self
            .list()?
            .into_iter()
            .find(|kernel| kernel.arch() == arch && kernel.source() == package.file_name());
        if let Some(kernel) = stored {
            return Ok(kernel);
        }
        let path = staging.path().join(package.file_name());
        repository.fetch(arch, &package, &path)?;
        let file = File::open(&path).map_err(io_error("open", &path))?;
        self.import_into(&staging, &path, |contents| {
            read_apk(BufReader::new(file), contents, Some(&package.checksum))
        })
    }

    /// What was seen of repositories before.
    fn seen(&self) -> Result<Seen, Error> {
        let path = self.folder.path().join(SEEN);
        match fs::read(&path) {
            Ok(seen) => serde_json::from_slice(&seen)
                .map_err(|error| io_error("understand", &path)(error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Seen::default()),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    fn note_seen(&self, seen: &Seen, staging: &TempDir) -> Result<(), Error> {
        let path = self.folder.path().join(SEEN);
        let new = staging.path().join(SEEN);
        let seen = serde_json::to_vec_pretty(seen)
            .map_err(|error| io_error("describe", &path)(error.into()))?;
        write(&new, &seen)?;
        fs::rename(&new, &path).map_err(io_error("replace", &path))?;
        sync_dir(self.folder.path())
    }
}
