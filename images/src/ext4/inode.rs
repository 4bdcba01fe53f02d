//! Inodes.

use super::{Ext4Error, directory::FileType, extents};
use crate::{layer::Timestamp, rootfs::Metadata};

/// Bytes of an inode.
pub(super) const SIZE: usize = 256;
/// Bytes of the fields after the first 128.
const EXTRA: u16 = 32;
/// Where extended attributes begin.
pub(super) const XATTRS: usize = 128 + EXTRA as usize;
/// Names that one file can have (`EXT4_LINK_MAX`).
pub(super) const MAX_LINKS: u32 = 65_000;
/// The inode of the root directory.
pub(super) const ROOT: u32 = 2;
/// The first inode for files.
pub(super) const FIRST: u32 = 11;

const EXTENTS_FLAG: u32 = 0x8_0000;
const INDEX_FLAG: u32 = 0x1000;

/// What `i_block` holds.
pub(super) enum Content {
    Extents([u8; extents::ROOT]),
    /// Those of a directory that is indexed by hashes.
    IndexedExtents([u8; extents::ROOT]),
    /// A short symbolic link's target.
    Inline(Vec<u8>),
    Device {
        major: u32,
        minor: u32,
    },
    Nothing,
}

pub(super) struct Inode<'a> {
    pub(super) file_type: FileType,
    pub(super) metadata: &'a Metadata,
    pub(super) size: u64,
    pub(super) links: u32,
    /// Blocks of content, extent tree and extended attributes.
    pub(super) blocks: u64,
    pub(super) content: Content,
    /// Extended attributes within the inode; may be empty.
    pub(super) xattrs: Vec<u8>,
    /// The block with further extended attributes; 0 if none.
    pub(super) xattr_block: u32,
}

impl Inode<'_> {
    pub(super) fn encode(&self) -> Result<[u8; SIZE], Ext4Error> {
        let mut inode = [0; SIZE];
        let mut put = |offset: usize, bytes: &[u8]| {
            inode[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        let low = |value: u32| [value.to_le_bytes()[0], value.to_le_bytes()[1]];
        let high = |value: u32| [value.to_le_bytes()[2], value.to_le_bytes()[3]];
        let metadata = self.metadata;
        let mode = self.type_bits() | (metadata.mode & 0o7777);
        put(0x00, &mode.to_le_bytes());
        put(0x02, &low(metadata.uid));
        put(0x04, &self.size.to_le_bytes()[..4]);
        let (seconds, extra) = encode_time(metadata.mtime);
        // Access, change and modification.
        for offset in [0x08, 0x0c, 0x10] {
            put(offset, &seconds.to_le_bytes());
        }
        put(0x18, &low(metadata.gid));
        put(0x1a, &self.link_count()?.to_le_bytes());
        // In units of 512 bytes.
        let sectors = self.blocks * 8;
        put(0x1c, &sectors.to_le_bytes()[..4]);
        put(0x74, &sectors.to_le_bytes()[4..6]);
        let (flags, block) = self.block_map()?;
        put(0x20, &flags.to_le_bytes());
        put(0x28, &block);
        put(0x68, &self.xattr_block.to_le_bytes());
        put(0x6c, &self.size.to_le_bytes()[4..]);
        put(0x78, &high(metadata.uid));
        put(0x7a, &high(metadata.gid));
        put(0x80, &EXTRA.to_le_bytes());
        // Change, modification, access; then creation.
        for offset in [0x84, 0x88, 0x8c, 0x94] {
            put(offset, &extra.to_le_bytes());
        }
        put(0x90, &seconds.to_le_bytes());
        put(XATTRS, &self.xattrs);
        Ok(inode)
    }

    fn type_bits(&self) -> u16 {
        match self.file_type {
            FileType::Fifo => 0o010_000,
            FileType::CharacterDevice => 0o020_000,
            FileType::Directory => 0o040_000,
            FileType::BlockDevice => 0o060_000,
            FileType::Regular => 0o100_000,
            FileType::Symlink => 0o120_000,
        }
    }

    /// A directory with more links than can be counted has 1 (`dir_nlink`).
    fn link_count(&self) -> Result<u16, Ext4Error> {
        if self.links > MAX_LINKS {
            return if self.file_type == FileType::Directory {
                Ok(1)
            } else {
                Err(Ext4Error::TooManyLinks)
            };
        }
        u16::try_from(self.links).map_err(|_| Ext4Error::TooManyLinks)
    }

    fn block_map(&self) -> Result<(u32, [u8; extents::ROOT]), Ext4Error> {
        let mut block = [0; extents::ROOT];
        Ok(match &self.content {
            Content::Extents(root) => (EXTENTS_FLAG, *root),
            Content::IndexedExtents(root) => (EXTENTS_FLAG | INDEX_FLAG, *root),
            Content::Inline(target) => {
                block[..target.len()].copy_from_slice(target);
                (0, block)
            }
            &Content::Device { major, minor } => {
                let (old, new) = encode_device(major, minor)?;
                block[..4].copy_from_slice(&old.to_le_bytes());
                block[4..8].copy_from_slice(&new.to_le_bytes());
                (0, block)
            }
            Content::Nothing => (0, block),
        })
    }
}

/// Small numbers in the old 16-bit form, others in the new one; the unused field is 0.
fn encode_device(major: u32, minor: u32) -> Result<(u32, u32), Ext4Error> {
    if major < 256 && minor < 256 {
        return Ok((major << 8 | minor, 0));
    }
    if major > 0xfff || minor > 0xf_ffff {
        return Err(Ext4Error::DeviceNumber { major, minor });
    }
    Ok((0, minor & 0xff | major << 8 | (minor & !0xff) << 12))
}

/// The low 32 bits of the seconds, and the field that holds nanoseconds and two bits above the seconds.
/// Times that ext4 cannot express (before 1901, after 2446) become the nearest one, as in the kernel.
fn encode_time(time: Timestamp) -> (i32, u32) {
    const FIRST: i64 = i32::MIN as i64;
    const LAST: i64 = FIRST + (1 << 34) - 1;
    let (seconds, nanoseconds) = if (FIRST..=LAST).contains(&time.seconds) {
        (time.seconds, time.nanoseconds)
    } else {
        (time.seconds.clamp(FIRST, LAST), 0)
    };
    let bytes = seconds.to_le_bytes();
    let low = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    // How often 2^32 must be added to the low bits, taken as a signed number: 0 to 3.
    let epoch = u32::try_from((seconds - i64::from(low)) >> 32).unwrap_or(0) & 3;
    (low, nanoseconds << 2 | epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_span_five_centuries() {
        let time = |seconds, nanoseconds| {
            encode_time(Timestamp {
                seconds,
                nanoseconds,
            })
        };
        assert_eq!(time(0, 0), (0, 0));
        assert_eq!(time(-1, 999_999_999), (-1, 999_999_999 << 2));
        assert_eq!(time(i64::from(i32::MAX), 0), (i32::MAX, 0));
        assert_eq!(time(i64::from(i32::MAX) + 1, 5), (i32::MIN, 5 << 2 | 1));
        assert_eq!(time(4_102_444_800, 0), (-192_522_496, 1));
        assert_eq!(time(i64::MIN, 7), (i32::MIN, 0));
        assert_eq!(time(i64::MAX, 7), (i32::MAX, 3));
    }

    #[test]
    fn device_numbers_have_two_forms() {
        assert_eq!(encode_device(1, 3).unwrap(), (0x103, 0));
        assert_eq!(encode_device(256, 3).unwrap(), (0, 0x1_0003));
        assert_eq!(encode_device(8, 0x12345).unwrap(), (0, 0x1230_0845));
        assert!(encode_device(4096, 0).is_err());
        assert!(encode_device(0, 1 << 20).is_err());
    }
}
