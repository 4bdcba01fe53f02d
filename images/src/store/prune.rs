//! Removing names, and what no name needs.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use super::{Store, index, lock};
use crate::{DiskCache, Error, Platform, Reference, error::FileContext};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// Blobs, whole and incomplete.
    pub blobs: usize,
    /// Disks, whole and incomplete.
    pub disks: usize,
    /// Bytes that they took on the host.
    pub bytes: u64,
}

impl Store {
    /// Takes a name away, for one platform or all; returns how many images had it. Their content stays
    /// until the next [`prune`](Self::prune).
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn remove(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
    ) -> Result<usize, Error> {
        let name = reference.canonical();
        let _lock = lock(&self.folder)?;
        let mut entries = index::read(&self.folder)?;
        let before = entries.len();
        entries.retain(|entry| {
            entry.name != name || platform.is_some_and(|platform| entry.requested != *platform)
        });
        let removed = before - entries.len();
        if removed > 0 {
            index::write(&self.folder, &entries)?;
        }
        Ok(removed)
    }

    /// Removes blobs and disks that no image needs, and what dead processes left. Waits for pulls that
    /// are under way; a disk in use stays.
    ///
    /// # Errors
    /// If the store or the cache cannot be read or written. What was removed until then stays so.
    pub fn prune(&self, disks: &DiskCache) -> Result<Pruned, Error> {
        let _own = self.own_blobs()?;
        let _lock = lock(&self.folder)?;
        let mut needed = HashSet::new();
        let mut images = Vec::new();
        for entry in index::read(&self.folder)? {
            needed.insert(entry.descriptor.digest.hex());
            let manifest = self.manifest(&entry.descriptor)?;
            let blobs = manifest.layers.iter().chain([&manifest.config]);
            needed.extend(blobs.map(|blob| blob.digest.hex()));
            let reference: Reference = entry.name.parse()?;
            images.push(self.image(reference, entry.source, &entry.descriptor)?);
        }
        let mut pruned = Pruned::default();
        remove_files(&self.folder.join("blobs/sha256"), &mut pruned, |name| {
            !needed.contains(name)
        })?;
        remove_files(&self.folder.join("ingest"), &mut pruned, |_| true)?;
        remove_files(&self.folder, &mut pruned, |name| name.ends_with(".new"))?;
        disks.prune(&images, &mut pruned)?;
        Ok(pruned)
    }

    /// Bytes that the blobs take on the host, whole and incomplete.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn allocated_bytes(&self) -> Result<u64, Error> {
        Ok(allocated(&self.folder.join("blobs/sha256"))? + allocated(&self.folder.join("ingest"))?)
    }
}

fn remove_files(
    folder: &Path,
    pruned: &mut Pruned,
    unneeded: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    for entry in fs::read_dir(folder).context("read", folder)? {
        let path = entry.context("read", folder)?.path();
        let metadata = fs::symlink_metadata(&path).context("examine", &path)?;
        let name = path.file_name().and_then(|name| name.to_str());
        if metadata.is_file() && name.is_some_and(&unneeded) {
            fs::remove_file(&path).context("remove", &path)?;
            pruned.blobs += 1;
            pruned.bytes += metadata.blocks() * 512;
        }
    }
    Ok(())
}

/// Bytes that the files of a folder take on the host.
pub(crate) fn allocated(folder: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).context("read", folder)? {
        let path = entry.context("read", folder)?.path();
        match fs::symlink_metadata(&path) {
            Ok(metadata) => bytes += metadata.blocks() * 512,
            // Renamed or removed while this looked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("examine", path),
        }
    }
    Ok(bytes)
}

/// Removes a disk, unless somebody uses or builds it.
pub(crate) fn remove_unused(path: &Path, pruned: &mut Pruned) -> Result<(), Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.context("open", path)?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(()),
        Err(fs::TryLockError::Error(error)) => return Err(error).context("lock", path),
    }
    let bytes = file.metadata().context("examine", path)?.blocks() * 512;
    fs::remove_file(path).context("remove", path)?;
    pruned.disks += 1;
    pruned.bytes += bytes;
    Ok(())
}
