//! Directory blocks: one block of names, or an index of hashes over many.

use super::{
    BLOCK, Ext4Error,
    hash::{self, Seed},
};

/// The file types of directory entries (`EXT4_FT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FileType {
    Regular = 1,
    Directory = 2,
    CharacterDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Symlink = 7,
}

/// One name of a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectoryEntry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    pub(super) file_type: FileType,
}

impl DirectoryEntry<'_> {
    /// Bytes that the entry takes at least.
    fn length(&self) -> usize {
        (8 + self.name.len()).next_multiple_of(4)
    }

    fn write(&self, slot: &mut [u8]) {
        let length = short(slot.len());
        slot[..4].copy_from_slice(&self.inode.to_le_bytes());
        slot[4..6].copy_from_slice(&length);
        slot[6..7].copy_from_slice(&short(self.name.len())[..1]);
        slot[7] = self.file_type as u8;
        slot[8..8 + self.name.len()].copy_from_slice(self.name);
    }
}

/// A directory's content.
pub(super) struct Directory {
    /// Whole blocks.
    pub(super) blocks: Vec<u8>,
    /// They are an index of hashes.
    pub(super) indexed: bool,
}

/// Builds the directory `own` in `parent`.
pub(super) fn build(
    own: u32,
    parent: u32,
    children: &[DirectoryEntry<'_>],
    seed: Seed,
) -> Result<Directory, Ext4Error> {
    let dots = [(&b"."[..], own), (b"..", parent)].map(|(name, inode)| DirectoryEntry {
        name,
        inode,
        file_type: FileType::Directory,
    });
    let all: Vec<_> = dots.iter().chain(children).copied().collect();
    let length: usize = all.iter().map(DirectoryEntry::length).sum();
    if length <= BLOCK {
        return Ok(Directory {
            blocks: pack(&all).to_vec(),
            indexed: false,
        });
    }
    let leaves = leaves(children, seed);
    Ok(Directory {
        blocks: index(&dots, &leaves)?,
        indexed: true,
    })
}

/// One block of entries; the last one reaches to its end.
fn pack(entries: &[DirectoryEntry<'_>]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut offset = 0;
    for (index, entry) in entries.iter().enumerate() {
        let end = if index + 1 == entries.len() {
            BLOCK
        } else {
            offset + entry.length()
        };
        entry.write(&mut block[offset..end]);
        offset = end;
    }
    block
}

/// A block of names, and the lowest hash in it.
struct Leaf {
    hash: u32,
    block: [u8; BLOCK],
}

/// Sorts names by hash into blocks.
fn leaves(children: &[DirectoryEntry<'_>], seed: Seed) -> Vec<Leaf> {
    let mut hashed: Vec<_> = children
        .iter()
        .map(|entry| (hash::hash(entry.name, seed), *entry))
        .collect();
    hashed.sort_by_key(|(hash, entry)| (*hash, entry.name));
    let mut leaves: Vec<Leaf> = Vec::new();
    let mut rest = hashed.as_slice();
    let mut last_hash = None;
    while let Some((first, _)) = rest.first() {
        let mut used = 0;
        let count = rest
            .iter()
            .take_while(|(_, entry)| {
                used += entry.length();
                used <= BLOCK
            })
            .count();
        let (now, later) = rest.split_at(count);
        let entries: Vec<_> = now.iter().map(|(_, entry)| *entry).collect();
        // The lowest bit says that names of this hash began in the block before.
        let continued = u32::from(last_hash == Some(*first));
        leaves.push(Leaf {
            hash: first | continued,
            block: pack(&entries),
        });
        last_hash = now.last().map(|(hash, _)| *hash);
        rest = later;
    }
    leaves
}

/// Where the index begins in its root block, after `.`, `..` and the description of the index.
const ROOT_START: usize = 32;
/// Where it begins in other blocks, after an entry without a name.
const NODE_START: usize = 8;
const ROOT_ROOM: usize = (BLOCK - ROOT_START) / 8;
const NODE_ROOM: usize = (BLOCK - NODE_START) / 8;
const HALF_MD4: u8 = 1;

/// Puts an index of one or two levels in front of the leaves.
fn index(dots: &[DirectoryEntry<'_>; 2], leaves: &[Leaf]) -> Result<Vec<u8>, Ext4Error> {
    let two_levels = leaves.len() > ROOT_ROOM;
    let nodes = if two_levels {
        leaves.len().div_ceil(NODE_ROOM)
    } else {
        0
    };
    if nodes > ROOT_ROOM {
        return Err(Ext4Error::TooManyFiles);
    }
    let number = |index: usize| u32::try_from(index).map_err(|_| Ext4Error::TooManyFiles);
    let mut pointers = Vec::with_capacity(leaves.len());
    for (index, leaf) in leaves.iter().enumerate() {
        pointers.push((leaf.hash, number(1 + nodes + index)?));
    }
    let mut blocks = vec![0; (1 + nodes) * BLOCK];
    let (root, rest) = blocks.split_at_mut(BLOCK);
    dots[0].write(&mut root[..12]);
    dots[1].write(&mut root[12..]);
    root[28..31].copy_from_slice(&[HALF_MD4, 8, u8::from(two_levels)]);
    if two_levels {
        let mut upper = Vec::new();
        for (index, (node, chunk)) in rest
            .chunks_exact_mut(BLOCK)
            .zip(pointers.chunks(NODE_ROOM))
            .enumerate()
        {
            node[4..6].copy_from_slice(&short(BLOCK));
            write_pointers(&mut node[NODE_START..], chunk);
            upper.push((chunk[0].0, number(1 + index)?));
        }
        pointers = upper;
    }
    write_pointers(&mut root[ROOT_START..], &pointers);
    for leaf in leaves {
        blocks.extend_from_slice(&leaf.block);
    }
    Ok(blocks)
}

/// Pairs of hash and block. In place of the first hash, which is always the lowest, stand the room and
/// the number of pairs.
fn write_pointers(area: &mut [u8], pointers: &[(u32, u32)]) {
    let room = area.len() / 8;
    for (slot, (hash, block)) in area.chunks_exact_mut(8).zip(pointers) {
        slot[..4].copy_from_slice(&hash.to_le_bytes());
        slot[4..].copy_from_slice(&block.to_le_bytes());
    }
    area[..2].copy_from_slice(&short(room));
    area[2..4].copy_from_slice(&short(pointers.len()));
}

/// A number that is known to be at most the size of a block.
fn short(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_hashes_go_on_in_the_next_block() {
        // Without a way to make names collide, let one name stand for many.
        let entry = DirectoryEntry {
            name: &[b'x'; 255],
            inode: 12,
            file_type: FileType::Regular,
        };
        let leaves = leaves(&[entry; 20], [1, 2, 3, 4]);
        assert_eq!(leaves.len(), 2);
        assert_eq!(leaves[0].hash & 1, 0);
        assert_eq!(leaves[1].hash, leaves[0].hash | 1);
    }
}
