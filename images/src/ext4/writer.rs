//! Puts a tree behind its content: directories, inodes, bitmaps, descriptors, superblock.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

use super::{
    BLOCK, BLOCK_BYTES, BlockWriter, Ext4Error,
    directory::{self, DirectoryEntry, FileType},
    extents::{self, ExtentTree},
    geometry::{self, Geometry, Room},
    hash::Seed,
    inode::{self, Content, Inode},
    superblock::{self, Group},
    xattr,
};
use crate::rootfs::{Kind, NodeId, Run, Tree};

/// The longest symbolic link target that an inode holds, in bytes.
const MAX_INLINE: usize = 59;

/// What a disk is made with, beside its tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    pub(crate) uuid: [u8; 16],
    pub(crate) room: Room,
    /// Free inodes for the guest.
    pub(crate) free_inodes: u64,
}

/// Completes the disk whose content is in `disk`.
pub(crate) fn finish(
    mut disk: BlockWriter,
    tree: &Tree,
    parameters: &Parameters,
) -> Result<File, Ext4Error> {
    let order = Numbering::new(tree)?;
    let mut builder = Builder {
        tree,
        numbers: &order,
        disk: &mut disk,
        seed: hash_seed(parameters),
        used: vec![(0, 1)],
    };
    // Encoded inodes by number, from 1; reserved ones stay empty.
    let mut inodes = vec![[0; inode::SIZE]; order.reserved_and_used()];
    for &(node, parent) in &order.walk {
        let number = order.number(node);
        let encoded = builder.inode(node, number, order.number(parent))?;
        inodes[number as usize - 1] = encoded;
    }
    let mut used = builder.used;
    let geometry = Geometry::new(
        disk.position()?,
        parameters.room,
        inodes.len() as u64 + parameters.free_inodes,
    )?;
    used.push((1, geometry.descriptor_blocks()));
    used.push((geometry.tables, geometry.end() - geometry.tables));

    let file = disk.into_file()?;
    // The rest of the disk is a hole: zeros that take no room on the host.
    file.set_len(u64::from(geometry.blocks()) * BLOCK_BYTES)?;
    write_tables(&file, &geometry, &inodes, &used, &order, parameters)?;
    release_unused(&file, &geometry, &used)?;
    Ok(file)
}

/// Which inode each node gets: numbers follow the order of a walk through the tree.
struct Numbering {
    /// Every node once, with its parent directory.
    walk: Vec<(NodeId, NodeId)>,
    numbers: HashMap<NodeId, u32>,
    directories: Vec<u32>,
}

impl Numbering {
    fn new(tree: &Tree) -> Result<Self, Ext4Error> {
        let mut numbering = Self {
            walk: vec![(Tree::ROOT, Tree::ROOT)],
            numbers: HashMap::from([(Tree::ROOT, inode::ROOT)]),
            directories: Vec::new(),
        };
        let mut next = inode::FIRST;
        let mut position = 0;
        while let Some(&(node, _)) = numbering.walk.get(position) {
            position += 1;
            let Kind::Directory(children) = &tree.node(node).kind else {
                continue;
            };
            numbering.directories.push(numbering.number(node));
            for name in children.values() {
                if let std::collections::hash_map::Entry::Vacant(slot) =
                    numbering.numbers.entry(name.node)
                {
                    slot.insert(next);
                    numbering.walk.push((name.node, node));
                    next = next.checked_add(1).ok_or(Ext4Error::TooManyFiles)?;
                }
            }
        }
        Ok(numbering)
    }

    fn number(&self, node: NodeId) -> u32 {
        self.numbers.get(&node).copied().unwrap_or(inode::ROOT)
    }

    fn reserved_and_used(&self) -> usize {
        // All but the root stand after the reserved inodes, of which the root is one.
        inode::FIRST as usize - 1 + self.walk.len() - 1
    }
}

struct Builder<'a> {
    tree: &'a Tree,
    numbers: &'a Numbering,
    disk: &'a mut BlockWriter,
    seed: Seed,
    /// Blocks in use: first and count.
    used: Vec<(u32, u32)>,
}

impl Builder<'_> {
    fn inode(
        &mut self,
        id: NodeId,
        number: u32,
        parent: u32,
    ) -> Result<[u8; inode::SIZE], Ext4Error> {
        let node = self.tree.node(id);
        let xattrs = xattr::store(&node.metadata.xattrs, node.metadata.mode, self.disk)?;
        let mut blocks = 0;
        if xattrs.block != 0 {
            self.used.push((xattrs.block, 1));
            blocks += 1;
        }
        let mut links = node.links;
        let (size, content) = match &node.kind {
            Kind::Directory(children) => {
                let entries: Vec<DirectoryEntry<'_>> = children
                    .iter()
                    .map(|(name, child)| DirectoryEntry {
                        name,
                        inode: self.numbers.number(child.node),
                        file_type: file_type(&self.tree.node(child.node).kind),
                    })
                    .collect();
                let subdirectories = entries
                    .iter()
                    .filter(|entry| entry.file_type == FileType::Directory);
                links = u32::try_from(2 + subdirectories.count()).unwrap_or(u32::MAX);
                let directory = directory::build(number, parent, &entries, self.seed)?;
                let tree = self.append(&directory.blocks)?;
                blocks += tree.blocks;
                let content = if directory.indexed {
                    Content::IndexedExtents(tree.root)
                } else {
                    Content::Extents(tree.root)
                };
                (directory.blocks.len() as u64, content)
            }
            Kind::File(content) => {
                let tree = self.extents(&content.runs)?;
                blocks += tree.blocks;
                (content.size, Content::Extents(tree.root))
            }
            Kind::Symlink(target) if target.len() <= MAX_INLINE => {
                (target.len() as u64, Content::Inline(target.clone()))
            }
            Kind::Symlink(target) => {
                let tree = self.append(target)?;
                blocks += tree.blocks;
                (target.len() as u64, Content::Extents(tree.root))
            }
            &Kind::CharacterDevice { major, minor } | &Kind::BlockDevice { major, minor } => {
                (0, Content::Device { major, minor })
            }
            Kind::Fifo => (0, Content::Nothing),
        };
        let mut metadata = node.metadata.clone();
        metadata.mode = xattrs.mode;
        Inode {
            file_type: file_type(&node.kind),
            metadata: &metadata,
            size,
            links,
            blocks,
            content,
            xattrs: xattrs.inline,
            xattr_block: xattrs.block,
        }
        .encode()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<ExtentTree, Ext4Error> {
        let length = u32::try_from(bytes.len().div_ceil(BLOCK)).map_err(|_| Ext4Error::TooLarge)?;
        let physical = self.disk.append(bytes)?;
        self.extents(&[Run {
            logical: 0,
            physical,
            length,
        }])
    }

    fn extents(&mut self, runs: &[Run]) -> Result<ExtentTree, Ext4Error> {
        let tree = extents::build(runs, self.disk)?;
        self.used
            .extend(runs.iter().map(|run| (run.physical, run.length)));
        self.used.extend(tree.own.iter().map(|&block| (block, 1)));
        Ok(tree)
    }
}

fn file_type(kind: &Kind) -> FileType {
    match kind {
        Kind::Directory(_) => FileType::Directory,
        Kind::File(_) => FileType::Regular,
        Kind::Symlink(_) => FileType::Symlink,
        Kind::CharacterDevice { .. } => FileType::CharacterDevice,
        Kind::BlockDevice { .. } => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
    }
}

fn write_tables(
    file: &File,
    geometry: &Geometry,
    inodes: &[[u8; inode::SIZE]],
    used: &[(u32, u32)],
    order: &Numbering,
    parameters: &Parameters,
) -> Result<(), Ext4Error> {
    let put = |block: u32, bytes: &[u8]| file.write_all_at(bytes, u64::from(block) * BLOCK_BYTES);
    let mut groups = vec![Group::default(); geometry.groups as usize];
    let mut blocks = Bitmap::new(geometry.groups, geometry::BLOCKS_PER_GROUP);
    for &(first, count) in used {
        blocks.set(first, count);
    }
    let mut inode_bits = Bitmap::new(geometry.groups, geometry.inodes_per_group);
    inode_bits.set(
        0,
        u32::try_from(inodes.len()).map_err(|_| Ext4Error::TooManyFiles)?,
    );
    for &number in &order.directories {
        groups[((number - 1) / geometry.inodes_per_group) as usize].directories += 1;
    }
    let tables = inodes.chunks(geometry.inodes_per_group as usize);
    for (number, table) in (0..).zip(tables) {
        put(geometry.inode_table(number), table.as_flattened())?;
    }
    for (number, group) in (0..).zip(&mut groups) {
        group.free_blocks = blocks.free(number);
        group.free_inodes = inode_bits.free(number);
        put(geometry.block_bitmap(number), &blocks.block(number))?;
        put(geometry.inode_bitmap(number), &inode_bits.block(number))?;
    }
    put(1, &superblock::descriptors(geometry, &groups))?;
    let seed = hash_seed(parameters);
    let superblock = superblock::encode(geometry, &groups, &parameters.uuid, seed);
    file.write_all_at(&superblock, superblock::OFFSET)?;
    Ok(())
}

/// Directory hashes start from the UUID.
fn hash_seed(parameters: &Parameters) -> Seed {
    let mut seed = Seed::default();
    for (word, bytes) in seed.iter_mut().zip(parameters.uuid.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    seed
}

/// Gives the room of content that a later layer removed back to the host, and makes it read as zeros.
fn release_unused(file: &File, geometry: &Geometry, used: &[(u32, u32)]) -> Result<(), Ext4Error> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    let mut used = used.to_vec();
    used.sort_unstable();
    let mut end = 0;
    for (first, count) in used {
        if first > end {
            let (from, length) = (
                u64::from(end) * BLOCK_BYTES,
                u64::from(first - end) * BLOCK_BYTES,
            );
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match fallocate(file, punch, from, length) {
                Ok(()) => {}
                // Some file systems, 9p among them, have no holes to give back.
                Err(Errno::OPNOTSUPP) => write_zeros(file, from, length)?,
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
        }
        end = end.max(first + count);
    }
    debug_assert!(end <= geometry.blocks());
    Ok(())
}

fn write_zeros(file: &File, from: u64, length: u64) -> Result<(), Ext4Error> {
    let mut file = file;
    file.seek(SeekFrom::Start(from))?;
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    Ok(())
}

/// One bit for each block or inode of all groups.
struct Bitmap {
    bits: Vec<u8>,
    per_group: u32,
}

impl Bitmap {
    fn new(groups: u32, per_group: u32) -> Self {
        Self {
            bits: vec![0; groups as usize * per_group as usize / 8],
            per_group,
        }
    }

    fn set(&mut self, first: u32, count: u32) {
        for bit in first..first + count {
            self.bits[bit as usize / 8] |= 1 << (bit % 8);
        }
    }

    fn group(&self, group: u32) -> &[u8] {
        let length = self.per_group as usize / 8;
        &self.bits[group as usize * length..][..length]
    }

    fn free(&self, group: u32) -> u32 {
        self.group(group)
            .iter()
            .map(|byte| byte.count_zeros())
            .sum()
    }

    /// The bitmap's block: bits beyond the group's end are set.
    fn block(&self, group: u32) -> [u8; BLOCK] {
        let mut block = [0xff; BLOCK];
        let bits = self.group(group);
        block[..bits.len()].copy_from_slice(bits);
        block
    }
}
