//! The superblock and the group descriptors.

use super::{BLOCK, geometry, geometry::Geometry, inode};

/// Where the superblock stands on the disk.
pub(super) const OFFSET: u64 = 1024;

const COMPAT: u32 = 0x8 /* ext_attr */ | 0x20 /* dir_index */ | 0x200 /* sparse_super2 */;
const INCOMPAT: u32 = 0x2 /* filetype */ | 0x40 /* extents */ | 0x200 /* flex_bg */;
const RO_COMPAT: u32 =
    0x2 /* large_file */ | 0x8 /* huge_file */ | 0x20 /* dir_nlink */ | 0x40 /* extra_isize */;
/// Default mount options: user_xattr, acl.
const MOUNT_OPTIONS: u32 = 0x4 | 0x8;
const HALF_MD4: u8 = 1;
/// Hashes take bytes as unsigned.
const UNSIGNED_HASH: u32 = 2;

/// A group's share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub(super) free_blocks: u32,
    pub(super) free_inodes: u32,
    pub(super) directories: u32,
}

pub(super) fn encode(
    geometry: &Geometry,
    groups: &[Group],
    uuid: &[u8; 16],
    hash_seed: [u32; 4],
) -> [u8; 1024] {
    let mut superblock = [0; 1024];
    let mut put = |offset: usize, bytes: &[u8]| {
        superblock[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    let free_blocks: u32 = groups.iter().map(|group| group.free_blocks).sum();
    let free_inodes: u32 = groups.iter().map(|group| group.free_inodes).sum();
    for (offset, value) in [
        (0x00, geometry.inodes()),
        (0x04, geometry.blocks()),
        (0x0c, free_blocks),
        (0x10, free_inodes),
        // Block and cluster size: 1024 << 2.
        (0x18, 2),
        (0x1c, 2),
        (0x20, geometry::BLOCKS_PER_GROUP),
        (0x24, geometry::BLOCKS_PER_GROUP),
        (0x28, geometry.inodes_per_group),
        // Dynamic revision: inode size and features count.
        (0x4c, 1),
        (0x54, inode::FIRST),
        (0x5c, COMPAT),
        (0x60, INCOMPAT),
        (0x64, RO_COMPAT),
        (0x100, MOUNT_OPTIONS),
        (0x160, UNSIGNED_HASH),
    ] {
        put(offset, &value.to_le_bytes());
    }
    for (index, word) in hash_seed.iter().enumerate() {
        put(0xec + 4 * index, &word.to_le_bytes());
    }
    for (offset, value) in [
        // Never check for the number of mounts.
        (0x36, u16::MAX),
        (0x38, 0xef53),
        // Clean; go on after errors.
        (0x3a, 1),
        (0x3c, 1),
        (0x58, 256),
        // Extra inode fields: at least, and wanted.
        (0x15c, 32),
        (0x15e, 32),
    ] {
        put(offset, &u16::to_le_bytes(value));
    }
    put(0x68, uuid);
    put(0xfc, &[HALF_MD4]);
    // 2^4 groups to a flex group.
    put(0x174, &[4]);
    superblock
}

/// The group descriptors, padded to whole blocks.
pub(super) fn descriptors(geometry: &Geometry, groups: &[Group]) -> Vec<u8> {
    let mut table = Vec::with_capacity(groups.len() * geometry::DESCRIPTOR);
    for (number, group) in (0..).zip(groups) {
        for block in [
            geometry.block_bitmap(number),
            geometry.inode_bitmap(number),
            geometry.inode_table(number),
        ] {
            table.extend_from_slice(&block.to_le_bytes());
        }
        for count in [group.free_blocks, group.free_inodes, group.directories] {
            // A group has 32768 of each at most.
            table.extend_from_slice(&count.to_le_bytes()[..2]);
        }
        table.resize(table.len().next_multiple_of(geometry::DESCRIPTOR), 0);
    }
    table.resize(table.len().next_multiple_of(BLOCK), 0);
    table
}
