//! How large the file system is, and where its tables stand.

use super::Ext4Error;

/// Blocks of a group: as many as the bits of one bitmap block.
pub(super) const BLOCKS_PER_GROUP: u32 = 32_768;
/// The largest file system, in blocks: 1 TiB.
pub(crate) const MAX_BLOCKS: u64 = 1 << 28;
/// Bytes of a group descriptor.
pub(super) const DESCRIPTOR: usize = 32;
/// Group descriptors in one block.
const DESCRIPTORS_PER_BLOCK: u32 = 128;
const _: () = assert!(super::BLOCK / DESCRIPTOR == 128);
/// Blocks kept for group descriptors: enough for [`MAX_BLOCKS`]. Unused ones are free.
const DESCRIPTOR_BLOCKS: u64 =
    MAX_BLOCKS / BLOCKS_PER_GROUP as u64 * DESCRIPTOR as u64 / super::BLOCK_BYTES;
/// Superblock and group descriptors stand before this block.
pub(super) const FIRST_CONTENT_BLOCK: u64 = 1 + DESCRIPTOR_BLOCKS;
/// Inodes in one block of an inode table.
const INODES_PER_BLOCK: u32 = 16;
const _: () = assert!(super::BLOCK / super::inode::SIZE == 16);

/// Bytes of a group.
const GROUP_BYTES: u64 = BLOCKS_PER_GROUP as u64 * super::BLOCK_BYTES;

/// How large a file system is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Room {
    /// So many bytes are free.
    Free(u64),
    /// So many bytes in all, [rounded](round) up.
    Total(u64),
}

/// The size of a file system that is to have so many bytes: at least one group, and whole groups only.
pub(crate) fn round(bytes: u64) -> u64 {
    bytes
        .max(1)
        .div_ceil(GROUP_BYTES)
        .saturating_mul(GROUP_BYTES)
}

/// The numbers that describe a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) groups: u32,
    pub(super) inodes_per_group: u32,
    /// First block of the bitmaps and inode tables.
    pub(super) tables: u32,
}

impl Geometry {
    /// A file system whose content ends before block `used`, with room for `inodes` inodes.
    pub(super) fn new(used: u32, room: Room, inodes: u64) -> Result<Self, Ext4Error> {
        match room {
            Room::Free(bytes) => {
                let free = bytes.div_ceil(super::BLOCK_BYTES);
                let mut groups = (u64::from(used) + free).div_ceil(u64::from(BLOCKS_PER_GROUP));
                loop {
                    if let Some(geometry) = Self::of_groups(groups, used, free, inodes)? {
                        return Ok(geometry);
                    }
                    groups += 1;
                }
            }
            Room::Total(bytes) => {
                let groups = round(bytes) / GROUP_BYTES;
                match Self::of_groups(groups, used, 0, inodes)? {
                    Some(geometry) => Ok(geometry),
                    None => {
                        let smallest = Self::new(used, Room::Free(0), inodes)?;
                        let needed = u64::from(smallest.groups) * GROUP_BYTES;
                        Err(Ext4Error::TooSmall { needed })
                    }
                }
            }
        }
    }

    /// A file system of so many groups, if that has room for all and for `free` more blocks.
    fn of_groups(
        groups: u64,
        used: u32,
        free: u64,
        inodes: u64,
    ) -> Result<Option<Self>, Ext4Error> {
        let group_blocks = u64::from(BLOCKS_PER_GROUP);
        if groups * group_blocks > MAX_BLOCKS {
            return Err(Ext4Error::TooLarge);
        }
        let inodes_per_group = inodes
            .div_ceil(groups)
            .next_multiple_of(u64::from(INODES_PER_BLOCK));
        let per_group = 2 + inodes_per_group / u64::from(INODES_PER_BLOCK);
        let needed = u64::from(used) + free + groups * per_group;
        if groups * group_blocks < needed || inodes_per_group > group_blocks {
            return Ok(None);
        }
        let number = |value| u32::try_from(value).map_err(|_| Ext4Error::TooLarge);
        Ok(Some(Self {
            groups: number(groups)?,
            inodes_per_group: number(inodes_per_group)?,
            tables: used,
        }))
    }

    pub(super) fn blocks(&self) -> u32 {
        self.groups * BLOCKS_PER_GROUP
    }

    pub(super) fn inodes(&self) -> u32 {
        self.groups * self.inodes_per_group
    }

    /// Blocks that the group descriptors really take.
    pub(super) fn descriptor_blocks(&self) -> u32 {
        self.groups.div_ceil(DESCRIPTORS_PER_BLOCK)
    }

    pub(super) fn block_bitmap(&self, group: u32) -> u32 {
        self.tables + group
    }

    pub(super) fn inode_bitmap(&self, group: u32) -> u32 {
        self.tables + self.groups + group
    }

    pub(super) fn inode_table(&self, group: u32) -> u32 {
        self.tables + 2 * self.groups + group * self.table_blocks()
    }

    /// The first block after all tables.
    pub(super) fn end(&self) -> u32 {
        self.inode_table(self.groups)
    }

    fn table_blocks(&self) -> u32 {
        self.inodes_per_group / INODES_PER_BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_room_that_was_asked_for() {
        for (used, free, inodes) in [
            (300, 0, 11),
            (300, 1 << 20, 65_536),
            (32_768, 0, 32_768),
            (1 << 20, 10, 5_000_000),
            (300, 0, 4_000_000),
        ] {
            let room = Room::Free(free * super::super::BLOCK_BYTES);
            let geometry = Geometry::new(used, room, inodes).unwrap();
            assert!(u64::from(geometry.inodes()) >= inodes);
            assert!(u64::from(geometry.blocks() - geometry.end()) >= free);
            assert!(geometry.inodes_per_group <= BLOCKS_PER_GROUP);
        }
        let room = Room::Free(MAX_BLOCKS * super::super::BLOCK_BYTES);
        assert!(Geometry::new(300, room, 11).is_err());
    }

    #[test]
    fn has_the_size_that_was_asked_for_or_says_what_it_needs() {
        for (total, groups) in [
            (1, 1),
            (GROUP_BYTES, 1),
            (GROUP_BYTES + 1, 2),
            (1 << 40, 8192),
        ] {
            let geometry = Geometry::new(300, Room::Total(total), 100).unwrap();
            assert_eq!(geometry.groups, groups);
            assert!(geometry.end() <= geometry.blocks());
        }
        let needed = |used, total, inodes| match Geometry::new(used, Room::Total(total), inodes) {
            Err(Ext4Error::TooSmall { needed }) => needed / GROUP_BYTES,
            other => panic!("{other:?}"),
        };
        assert_eq!(needed(BLOCKS_PER_GROUP, GROUP_BYTES, 11), 2);
        assert_eq!(needed(300, GROUP_BYTES, 100_000), 4);
        for total in [(1 << 40) + 1, u64::MAX] {
            let result = Geometry::new(300, Room::Total(total), 11);
            assert!(matches!(result, Err(Ext4Error::TooLarge)));
        }
    }
}
