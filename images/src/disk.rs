//! Disks made from images, each made once.

mod files;

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

pub use files::DiskFile;

use crate::{
    Digest, Error, Event, Image, Limits, Platform, Progress, PullOptions, Reference, Store,
    arrival::Arrivals,
    digest::Hasher,
    error::FileContext,
    ext4::{self, BlockWriter, Parameters},
    layer::LayerError,
    private::create_private_folder,
    rootfs::Applier,
    sparse,
    staging::{self, Acquired, Staged},
    store::{Pruned, Unneeded, allocated, unused_disk},
};

/// Counts changes of what the writer makes of the same layers: part of every disk's name.
const WRITER_VERSION: u32 = 2;
/// Free room on every disk, in bytes. The guest's writes go to host memory or to a sparse file, never
/// to the disk itself, so this bounds a guest and costs nothing: unused blocks are holes.
const FREE_BYTES: u64 = 1 << 30;
/// Free inodes on every disk: one for each 16 KiB of free room, as mke2fs would give.
const FREE_INODES: u64 = FREE_BYTES / BYTES_PER_INODE;
const BYTES_PER_INODE: u64 = 16 << 10;

/// The folder of built disks.
#[derive(Clone, Debug)]
pub struct DiskCache {
    folder: PathBuf,
    limits: Limits,
    size: Option<u64>,
}

/// A disk that is in use: nothing removes it while this lives.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    /// Holds the shared lock that tells a disk in use.
    lock: File,
}

impl Disk {
    /// The image file, an ext4 file system without a partition table. Never write to it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that the disk takes on the host; its length is far more.
    ///
    /// # Errors
    /// If the file cannot be examined.
    pub fn allocated_bytes(&self) -> Result<u64, Error> {
        let metadata = self.lock.metadata().context("examine", &self.path)?;
        Ok(metadata.blocks() * 512)
    }

    /// Copies the disk to the empty regular file `output`, holes as holes.
    ///
    /// # Errors
    /// If the copy cannot be written.
    pub fn copy_to(&self, output: &File) -> Result<(), Error> {
        sparse::copy(&self.lock, output).context("copy", &self.path)
    }

    /// Writes all bytes of the disk, those of holes as zeros.
    ///
    /// # Errors
    /// If `output` cannot be written.
    pub fn write_to(&self, output: &mut dyn Write) -> Result<(), Error> {
        let mut reader = &self.lock;
        reader
            .rewind()
            .and_then(|()| io::copy(&mut reader, output))
            .and_then(|_| output.flush())
            .context("copy", &self.path)
    }
}

impl DiskCache {
    /// Opens the cache in `folder`, making it if it does not exist.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        create_private_folder(folder).context("create", folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            limits: Limits::default(),
            size: None,
        })
    }

    /// The same cache for disks of this many bytes, rounded up to a multiple of 128 MiB, or with the
    /// usual gigabyte of free room. A disk of a given size is one of its own, beside that of the usual size, and is
    /// removed by the next [prune](Store::prune) that does not find it in use.
    #[must_use]
    pub fn with_size(self, size: Option<u64>) -> Self {
        Self { size, ..self }
    }

    /// The same cache with other bounds on what an image may inflate to.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The image's root file system as an ext4 disk: the one in the cache, or built now.
    ///
    /// The same layers in the same order give the same bytes. If another process builds the same disk,
    /// waits for it.
    ///
    /// # Errors
    /// If a layer is missing, damaged or beyond the limits, or the disk cannot be written. Then nothing
    /// is left behind.
    pub fn disk(
        &self,
        store: &Store,
        image: &Image,
        progress: &dyn Progress,
    ) -> Result<Disk, Error> {
        let _keep = store.keep_blobs()?;
        let open = |index: usize| -> Result<Box<dyn Read + Send>, Error> {
            Ok(Box::new(store.open_blob(&image.layers[index].digest)?))
        };
        self.get(image, &open, progress)
    }

    /// Fetches an image and builds its disk at the same time: each layer is inflated while it comes, if
    /// all below it are on the disk, and once.
    ///
    /// # Errors
    /// As [`Store::pull`] and [`disk`](Self::disk). If only building failed, the image is in the store.
    pub fn pull(
        &self,
        store: &Store,
        reference: &Reference,
        platform: &Platform,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<(Image, Disk), Error> {
        let build = |image: &Image, arrivals: &Arrivals| {
            let open = |index| arrivals.open(store, index);
            match self.get(image, &open, progress) {
                // Bytes that came first may have been wrong, of a layer that is right by now.
                Err(_) if arrivals.restarted() => self.disk(store, image, progress),
                built => built,
            }
        };
        let (image, built) = store.pull_beside(reference, platform, options, progress, &build)?;
        Ok((image, built?))
    }

    /// The disk in the cache, or one built of the layers that `open` gives by their index.
    fn get(
        &self,
        image: &Image,
        open: &dyn Fn(usize) -> Result<Box<dyn Read + Send>, Error>,
        progress: &dyn Progress,
    ) -> Result<Disk, Error> {
        let build = |staged: &Staged| {
            progress.event(Event::DiskStarted {
                layers: image.layers.len(),
            });
            self.build(image, open, staged, progress)?;
            let bytes = staged.allocated_bytes()?;
            progress.event(Event::DiskDone { bytes });
            Ok(())
        };
        let key = match self.size {
            None => key(image),
            // The writer rounds, so that disks of sizes that come to the same are the same.
            Some(size) => format!("{}-{}", key(image), ext4::round(size)),
        };
        self.held_or_built(&key, build)
    }

    /// The disk of this name in the cache, or the one that `build` writes to an empty file.
    fn held_or_built(
        &self,
        key: &str,
        build: impl Fn(&Staged) -> Result<(), Error>,
    ) -> Result<Disk, Error> {
        let path = self.folder.join(format!("{key}.ext4"));
        let staging = self.folder.join(format!("{key}.partial"));
        loop {
            if let Acquired::Staged(staged) = staging::acquire(staging.clone(), path.clone())? {
                match build(&staged) {
                    Ok(()) => staged.commit()?,
                    Err(error) => {
                        staged.discard()?;
                        return Err(error);
                    }
                }
            }
            // A prune between building and locking removes the disk: then it is built again.
            if let Some(disk) = hold(&path)? {
                return Ok(disk);
            }
        }
    }

    /// Finds every disk but those of `images` and those in use, and what dead processes left.
    pub(crate) fn unneeded(
        &self,
        images: &[Image],
        found: &mut Pruned,
        what: Unneeded,
    ) -> Result<(), Error> {
        let needed: HashSet<OsString> = images
            .iter()
            .map(|image| format!("{}.ext4", key(image)).into())
            .collect();
        for entry in fs::read_dir(&self.folder).context("read", &self.folder)? {
            let entry = entry.context("read", &self.folder)?;
            if !needed.contains(&entry.file_name()) {
                unused_disk(&entry.path(), found, what)?;
            }
        }
        Ok(())
    }

    /// The disk of an image, if it has been built; its bytes on the host.
    ///
    /// # Errors
    /// If the cache cannot be read.
    pub fn disk_bytes(&self, image: &Image) -> Result<Option<u64>, Error> {
        let path = self.folder.join(format!("{}.ext4", key(image)));
        match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            metadata => Ok(Some(metadata.context("examine", path)?.blocks() * 512)),
        }
    }

    /// Bytes that all disks take on the host, whole and incomplete.
    ///
    /// # Errors
    /// If the cache cannot be read.
    pub fn allocated_bytes(&self) -> Result<u64, Error> {
        allocated(&self.folder)
    }

    fn build(
        &self,
        image: &Image,
        open: &dyn Fn(usize) -> Result<Box<dyn Read + Send>, Error>,
        staged: &Staged,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let disk_error = |source| Error::Disk {
            reference: image.reference.to_string(),
            source: Box::new(source),
        };
        let mut disk = BlockWriter::new(staged.emptied()?);
        let mut applier = Applier::new(self.limits, &mut disk);
        for (index, (layer, diff_id)) in image.layers.iter().zip(&image.diff_ids).enumerate() {
            let blob = open(index)?;
            applier
                .layer(blob, *diff_id)
                .map_err(|source| match source {
                    LayerError::Write(source) => disk_error(source),
                    source => Error::Layer {
                        digest: layer.digest,
                        source: Box::new(source),
                    },
                })?;
            progress.event(Event::DiskLayer { done: index + 1 });
        }
        let tree = applier.into_tree();
        let parameters = Parameters {
            uuid: uuid_of(content_hash(image)),
            room: match self.size {
                None => ext4::Room::Free(FREE_BYTES),
                Some(size) => ext4::Room::Total(size),
            },
            free_inodes: self.size.map_or(FREE_INODES, |size| size / BYTES_PER_INODE),
        };
        ext4::finish(disk, &tree, &parameters).map_err(disk_error)?;
        Ok(())
    }
}

/// Locks a disk for use; `None` if it is gone.
fn hold(path: &Path) -> Result<Option<Disk>, Error> {
    let lock = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.context("open", path)?,
    };
    lock.lock_shared().context("lock", path)?;
    // A prune may have removed it meanwhile, and another process built it again.
    Ok(staging::is_at(&lock, path)?.then(|| Disk {
        path: path.to_owned(),
        lock,
    }))
}

/// Names a disk by everything that decides its bytes.
fn key(image: &Image) -> String {
    content_hash(image).hex()
}

/// A version 8 UUID (RFC 9562, section 5.8): our own choice of bits.
fn uuid_of(hash: Digest) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hash.as_bytes()[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

fn content_hash(image: &Image) -> Digest {
    let mut hash = Hasher::default();
    hash.update(b"terrarium disk");
    hash.update(&WRITER_VERSION.to_le_bytes());
    hash.update(&FREE_BYTES.to_le_bytes());
    for diff_id in &image.diff_ids {
        hash.update(diff_id.as_bytes());
    }
    hash.finish()
}
