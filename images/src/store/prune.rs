//! Removing names, and what no name needs.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use serde::Serialize;

use super::{Store, index, lock};
use crate::{DiskCache, Error, Platform, Reference, error::FileContext, staging::NEW};

/// What was removed, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// Blobs, whole and incomplete.
    pub blobs: usize,
    /// Disks, whole and incomplete.
    pub disks: usize,
    /// Bytes that they take on the host.
    pub bytes: u64,
}

/// What to do with what nobody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unneeded {
    Count,
    Remove,
}

impl Store {
    /// Takes a name away, for one platform or all; returns the platforms that it was stored for. The
    /// images stay until the next [`prune`](Self::prune).
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn remove(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
    ) -> Result<Vec<Platform>, Error> {
        let name = reference.canonical();
        let _lock = lock(&self.folder)?;
        let (removed, kept): (Vec<_>, Vec<_>) = self.entries()?.into_iter().partition(|entry| {
            entry.reference.canonical() == name
                && platform.is_none_or(|platform| entry.requested == *platform)
        });
        if !removed.is_empty() {
            index::write(&self.folder, &kept)?;
        }
        Ok(removed.into_iter().map(|entry| entry.requested).collect())
    }

    /// Removes blobs and disks that no image needs, and what dead processes left. Waits for pulls that
    /// are under way; a disk in use stays.
    ///
    /// # Errors
    /// If the store or the cache cannot be read or written. What was removed until then stays so.
    pub fn prune(&self, disks: &DiskCache) -> Result<Pruned, Error> {
        let _own = self.own_blobs()?;
        let _lock = lock(&self.folder)?;
        self.unneeded(disks, Unneeded::Remove)
    }

    /// What [`prune`](Self::prune) would remove now, if no pull is under way.
    ///
    /// # Errors
    /// If the store or the cache cannot be read.
    pub fn prunable(&self, disks: &DiskCache) -> Result<Pruned, Error> {
        self.unneeded(disks, Unneeded::Count)
    }

    fn unneeded(&self, disks: &DiskCache, what: Unneeded) -> Result<Pruned, Error> {
        let mut needed = HashSet::new();
        let mut images = Vec::new();
        for entry in self.entries()? {
            needed.insert(entry.descriptor.digest.hex());
            // Of an image that is damaged nothing else is known to be needed: it must be fetched anew.
            let Some(manifest) = unless_damaged(self.manifest(&entry.descriptor))? else {
                continue;
            };
            let blobs = manifest.layers.iter().chain([&manifest.config]);
            needed.extend(blobs.map(|blob| blob.digest.hex()));
            let image = self.image(entry.reference, entry.source, &entry.descriptor);
            images.extend(unless_damaged(image)?);
        }
        let mut found = Pruned::default();
        let blobs = self.folder.join("blobs/sha256");
        files(&blobs, &mut found, what, |name| !needed.contains(name))?;
        files(&self.ingest_folder(), &mut found, what, |_| true)?;
        files(&self.folder, &mut found, what, |name| name.ends_with(NEW))?;
        disks.unneeded(&images, &mut found, what)?;
        Ok(found)
    }

    /// Bytes that the blobs take on the host, whole and incomplete.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn allocated_bytes(&self) -> Result<u64, Error> {
        Ok(allocated(&self.folder.join("blobs/sha256"))? + allocated(&self.folder.join("ingest"))?)
    }
}

/// `None` if an image is not what it should be. That a file cannot be read at this moment says nothing
/// about the image: it stays an error.
fn unless_damaged<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(whole) => Ok(Some(whole)),
        Err(error @ Error::File { .. }) => Err(error),
        Err(_) => Ok(None),
    }
}

fn files(
    folder: &Path,
    found: &mut Pruned,
    what: Unneeded,
    unneeded: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    for entry in fs::read_dir(folder).context("read", folder)? {
        let path = entry.context("read", folder)?.path();
        let metadata = match fs::symlink_metadata(&path) {
            // Renamed or removed while this looked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata.context("examine", &path)?,
        };
        let name = path.file_name().and_then(|name| name.to_str());
        if metadata.is_file() && name.is_some_and(&unneeded) {
            if what == Unneeded::Remove {
                fs::remove_file(&path).context("remove", &path)?;
            }
            found.blobs += 1;
            found.bytes += metadata.blocks() * 512;
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

/// Removes a disk, or counts it only, unless somebody uses or builds it.
pub(crate) fn unused_disk(path: &Path, found: &mut Pruned, what: Unneeded) -> Result<(), Error> {
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
    if what == Unneeded::Remove {
        fs::remove_file(path).context("remove", path)?;
    }
    found.disks += 1;
    found.bytes += bytes;
    Ok(())
}
