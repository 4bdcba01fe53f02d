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

/// The numbers that describe a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) groups: u32,
    pub(super) inodes_per_group: u32,
    /// First block of the bitmaps and inode tables.
    pub(super) tables: u32,
}

impl Geometry {
    /// A file system whose content ends before block `used`, with room for at least `free` more blocks
    /// and for `inodes` inodes.
    pub(super) fn new(used: u32, free: u64, inodes: u64) -> Result<Self, Ext4Error> {
        let mut groups = (u64::from(used) + free).div_ceil(u64::from(BLOCKS_PER_GROUP));
        loop {
            let inodes_per_group = inodes
                .div_ceil(groups)
                .next_multiple_of(u64::from(INODES_PER_BLOCK));
            let per_group = 2 + inodes_per_group / u64::from(INODES_PER_BLOCK);
            let needed = u64::from(used) + free + groups * per_group;
            let enough = groups * u64::from(BLOCKS_PER_GROUP) >= needed
                && inodes_per_group <= u64::from(BLOCKS_PER_GROUP);
            if groups * u64::from(BLOCKS_PER_GROUP) > MAX_BLOCKS {
                return Err(Ext4Error::TooLarge);
            }
            if enough {
                let number = |value| u32::try_from(value).map_err(|_| Ext4Error::TooLarge);
                return Ok(Self {
                    groups: number(groups)?,
                    inodes_per_group: number(inodes_per_group)?,
                    tables: used,
                });
            }
            groups += 1;
        }
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
            let geometry = Geometry::new(used, free, inodes).unwrap();
            assert!(u64::from(geometry.inodes()) >= inodes);
            assert!(u64::from(geometry.blocks() - geometry.end()) >= free);
            assert!(geometry.inodes_per_group <= BLOCKS_PER_GROUP);
        }
        assert!(Geometry::new(300, MAX_BLOCKS, 11).is_err());
    }
}
