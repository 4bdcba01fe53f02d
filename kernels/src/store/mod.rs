//! The folder in which kernels are kept.
//!
//! Each kernel has a folder of its own, named by its id.

mod import;
mod pull;

use std::fs;
use std::path::Path;

use crate::error::io_error;
use crate::folder::Folder;
use crate::kernel::RECORD;
use crate::{Arch, Error, Kernel};

/// The kernels stored in a folder.
#[derive(Clone, Debug)]
pub struct Store {
    folder: Folder,
}

impl Store {
    /// Opens the store in `dir`, and makes it if there is none.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Folder::open(dir).map(|folder| Self { folder })
    }

    /// All kernels, the last imported first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<Kernel>, Error> {
        let folders = self.folder.entries(RECORD)?;
        let mut kernels = folders
            .iter()
            .map(|(id, path)| (path, Kernel::read(path, id)))
            // Removed while this looked.
            .filter(|(path, kernel)| kernel.is_ok() || path.exists())
            .map(|(_, kernel)| kernel)
            .collect::<Result<Vec<_>, _>>()?;
        kernels.sort_by_key(|kernel| std::cmp::Reverse(kernel.imported_ns()));
        Ok(kernels)
    }

    /// Bytes that the kernels take on the host, whole and in the making.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn allocated_bytes(&self) -> Result<u64, Error> {
        self.folder.allocated_bytes()
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
        let _lock = self.folder.lock()?;
        let staging = self.folder.staging()?;
        let path = self.folder.path().join(self.get(id)?.id());
        fs::rename(&path, staging.path().join("removed")).map_err(io_error("remove", &path))?;
        staging.close().map_err(io_error("remove", &path))
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
