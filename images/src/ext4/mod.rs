//! Writes ext4 file systems in one pass, without root, mount or mkfs.
//!
//! Content streams to the disk as it comes ([`BlockWriter`]); [`finish`] then puts directories, inodes
//! and bitmaps behind it. `flex_bg` lets all of those stand anywhere, and `sparse_super2` without
//! backups leaves nothing at fixed places but the superblock and the group descriptors in front.
//! Same tree, same bytes: no clock, no random numbers.
//!
//! There is no journal: guests write to a private copy that lives as long as they do, so there is
//! nothing to replay, and mounting is faster. There are no metadata checksums: the file is verified
//! when it is made and never written again.
//!
//! Layout and names follow the kernel's Documentation/filesystems/ext4.

mod acl;
mod blocks;
mod directory;
mod extents;
mod geometry;
mod hash;
mod inode;
mod superblock;
mod writer;
mod xattr;

use std::io;

pub(crate) use blocks::BlockWriter;
pub(crate) use geometry::{Room, round};
pub(crate) use writer::{Parameters, finish};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;
/// The same, for arithmetic on offsets.
pub(crate) const BLOCK_BYTES: u64 = BLOCK as u64;

/// Why a disk cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ext4Error {
    /// The host's disk refused it.
    #[error("Writing the disk failed")]
    Io(#[from] io::Error),
    /// More content than the file system's largest size.
    #[error("No disk can have more than {} GiB", (geometry::MAX_BLOCKS * BLOCK_BYTES) >> 30)]
    TooLarge,
    /// More content than the size that was asked for.
    #[error("The image needs a disk of at least {} MiB", needed >> 20)]
    TooSmall {
        /// The smallest size, in bytes.
        needed: u64,
    },
    /// More files than inodes can be numbered.
    #[error("The image has more files than a disk can hold")]
    TooManyFiles,
    /// A file has more names than a link count can hold.
    #[error("A file has more than {} names", inode::MAX_LINKS)]
    TooManyLinks,
    /// A file's extended attributes exceed its inode and one block.
    #[error("The extended attributes of one file exceed {BLOCK} bytes")]
    XattrsTooLarge,
    /// A POSIX access control list is malformed.
    #[error("A POSIX access control list is malformed")]
    MalformedAcl,
    /// A device number does not fit.
    #[error("Device number {major}:{minor} is out of range")]
    DeviceNumber {
        /// Major number, at most 4095.
        major: u32,
        /// Minor number, at most 1048575.
        minor: u32,
    },
}
