//! Disks made of single files instead of images.

use std::{fs::File, path::PathBuf};

use super::{Disk, DiskCache, WRITER_VERSION, uuid_of};
use crate::{
    Digest, Error,
    digest::Hasher,
    error::FileContext,
    ext4::{self, BlockWriter, Ext4Error, Parameters},
    layer::{LayerError, Segment},
    rootfs::{FileContent, Tree},
    staging::Staged,
};

/// A file for the root folder of a disk.
#[derive(Clone, Debug)]
pub struct DiskFile {
    /// Its name on the disk.
    pub name: String,
    /// The file on the host.
    pub source: PathBuf,
    /// The SHA-256 of its content, in hexadecimal. It names the disk and is not checked.
    pub sha256: String,
    /// Its mode on the disk. It belongs to root there.
    pub mode: u16,
}

impl DiskCache {
    /// A disk of exactly these files, without free room: the one in the cache, or written now.
    ///
    /// The same files give the same bytes. `what` names the disk in errors.
    ///
    /// # Errors
    /// If a file cannot be read, or the disk cannot be written. Then nothing is left behind.
    pub fn disk_of_files(&self, what: &str, files: &[DiskFile]) -> Result<Disk, Error> {
        let hash = content_hash(files);
        let build = |staged: &Staged| write(what, files, hash, staged);
        self.held_or_built(&hash.hex(), build)
    }
}

fn write(what: &str, files: &[DiskFile], hash: Digest, staged: &Staged) -> Result<(), Error> {
    let disk_error = |source: Ext4Error| Error::Disk {
        reference: what.to_owned(),
        source: Box::new(source),
    };
    let mut disk = BlockWriter::new(staged.emptied()?);
    let mut tree = Tree::new();
    for file in files {
        let path = &file.source;
        let mut source = File::open(path).context("open", path)?;
        let size = source.metadata().context("examine", path)?.len();
        let segment = Segment {
            offset: 0,
            length: size,
        };
        let segments = if size == 0 { &[][..] } else { &[segment] };
        let runs = match disk.append_file(size, segments, &mut source) {
            Err(LayerError::Write(source)) => return Err(disk_error(source)),
            Err(LayerError::Read(error)) => return Err(error).context("read", path),
            runs => runs.map_err(|error| disk_error(std::io::Error::other(error).into()))?,
        };
        tree.add_file(file.name.as_bytes(), file.mode, FileContent { size, runs });
    }
    let parameters = Parameters {
        uuid: uuid_of(hash),
        room: ext4::Room::Free(0),
        free_inodes: 0,
    };
    ext4::finish(disk, &tree, &parameters).map_err(disk_error)?;
    Ok(())
}

fn content_hash(files: &[DiskFile]) -> Digest {
    let mut hash = Hasher::default();
    hash.update(b"terrarium disk of files");
    hash.update(&WRITER_VERSION.to_le_bytes());
    for file in files {
        for text in [&file.name, &file.sha256] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(&file.mode.to_le_bytes());
    }
    hash.finish()
}
