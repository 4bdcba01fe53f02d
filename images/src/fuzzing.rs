//! Entry points for fuzzing: bytes become layers. Each function takes any bytes and returns.

use std::{fs::File, io::Cursor};

use crate::{
    Digest, Limits,
    ext4::{self, BlockWriter},
    rootfs::Applier,
};

/// Bounds that a fuzzer reaches.
const LIMITS: Limits = Limits {
    inflated_bytes: 4 << 20,
    entries: 1000,
    depth: 16,
    xattr_bytes: 16 << 10,
    memory_bytes: 8 << 20,
};
/// Free room on the disks.
const FREE: u64 = 1 << 20;

/// Makes a disk of the bytes as a tar archive, cut into two layers at the place that the first byte
/// says.
///
/// # Errors
/// If the host has no room for a temporary file.
pub fn disk(bytes: &[u8]) -> std::io::Result<()> {
    const BLOCK: usize = 512;
    let (cut, archive) = bytes.split_first().unwrap_or((&0, &[]));
    let (first, second) = archive.split_at((usize::from(*cut) * BLOCK).min(archive.len()));
    let file = tempfile::tempfile_in("/dev/shm")?;
    let mut disk = BlockWriter::new(file.try_clone()?);
    let mut applier = Applier::new(LIMITS, &mut disk);
    for layer in [first, second] {
        // A broken layer is refused, and the whole disk with it.
        if applier
            .layer(Cursor::new(layer.to_vec()), Digest::of(layer))
            .is_err()
        {
            return Ok(());
        }
    }
    let tree = applier.into_tree();
    let parameters = ext4::Parameters {
        uuid: [7; 16],
        room: ext4::Room::Free(FREE),
        free_inodes: FREE >> 14,
    };
    if ext4::finish(disk, &tree, &parameters).is_ok() {
        check_size(&file)?;
    }
    Ok(())
}

/// Reads the bytes as a layer in whatever compression they seem to have.
///
/// # Errors
/// If the host has no room for a temporary file.
pub fn layer(bytes: &[u8]) -> std::io::Result<()> {
    let mut disk = BlockWriter::new(tempfile::tempfile_in("/dev/shm")?);
    let digest = Digest::of(bytes);
    // What it inflates to has another digest, so this ends in an error, behind all that is of interest.
    let _ = Applier::new(LIMITS, &mut disk).layer(Cursor::new(bytes.to_vec()), digest);
    Ok(())
}

fn check_size(disk: &File) -> std::io::Result<()> {
    let length = disk.metadata()?.len();
    let most = LIMITS.inflated_bytes * 2 + LIMITS.memory_bytes + FREE + (128 << 20);
    assert!(
        length.is_multiple_of(ext4::BLOCK_BYTES) && length <= most,
        "a disk of {length} bytes"
    );
    Ok(())
}
