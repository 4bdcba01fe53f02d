//! Extent trees: where a file's blocks lie.

use super::{BLOCK, BlockWriter, Ext4Error};
use crate::rootfs::Run;

/// Blocks in one extent at most.
const MAX_EXTENT: u32 = 32_768;
const MAGIC: u16 = 0xf30a;
const HEADER: usize = 12;
const ENTRY: usize = 12;
/// Bytes for the root of the tree, in the inode.
pub(super) const ROOT: usize = 60;

/// A file's extent tree.
pub(super) struct ExtentTree {
    /// The root, for the inode.
    pub(super) root: [u8; ROOT],
    /// Blocks taken by content and tree together.
    pub(super) blocks: u64,
    /// The blocks of the tree itself.
    pub(super) own: Vec<u32>,
}

/// Builds the tree for `runs`; nodes that do not fit the inode go to the disk.
pub(super) fn build(runs: &[Run], disk: &mut BlockWriter) -> Result<ExtentTree, Ext4Error> {
    let extents: Vec<Run> = runs.iter().flat_map(|run| split(*run)).collect();
    let mut blocks: u64 = runs.iter().map(|run| u64::from(run.length)).sum();
    let mut own = Vec::new();
    let mut entries: Vec<(u32, [u8; ENTRY])> = extents.iter().map(leaf_entry).collect();
    let mut depth = 0;
    while entries.len() > (ROOT - HEADER) / ENTRY {
        let mut level = Vec::new();
        for chunk in entries.chunks((BLOCK - HEADER) / ENTRY) {
            let mut node = [0; BLOCK];
            fill_node(&mut node, chunk, depth)?;
            let block = disk.append(&node)?;
            own.push(block);
            level.push((chunk[0].0, index_entry(chunk[0].0, block)));
        }
        entries = level;
        depth += 1;
    }
    blocks += own.len() as u64;
    let mut root = [0; ROOT];
    fill_node(&mut root, &entries, depth)?;
    Ok(ExtentTree { root, blocks, own })
}

fn split(run: Run) -> impl Iterator<Item = Run> {
    (0..run.length)
        .step_by(MAX_EXTENT as usize)
        .map(move |start| Run {
            logical: run.logical + start,
            physical: run.physical + start,
            length: (run.length - start).min(MAX_EXTENT),
        })
}

/// ee_block, ee_len, ee_start_hi, ee_start_lo
fn leaf_entry(extent: &Run) -> (u32, [u8; ENTRY]) {
    let mut entry = [0; ENTRY];
    entry[..4].copy_from_slice(&extent.logical.to_le_bytes());
    // At most MAX_EXTENT, so the two low bytes are all of it.
    entry[4..6].copy_from_slice(&extent.length.to_le_bytes()[..2]);
    entry[8..].copy_from_slice(&extent.physical.to_le_bytes());
    (extent.logical, entry)
}

/// ei_block, ei_leaf_lo, ei_leaf_hi
fn index_entry(logical: u32, block: u32) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..4].copy_from_slice(&logical.to_le_bytes());
    entry[4..8].copy_from_slice(&block.to_le_bytes());
    entry
}

fn fill_node(node: &mut [u8], entries: &[(u32, [u8; ENTRY])], depth: u16) -> Result<(), Ext4Error> {
    let count = |value: usize| u16::try_from(value).map_err(|_| Ext4Error::TooLarge);
    let capacity = (node.len() - HEADER) / ENTRY;
    node[..2].copy_from_slice(&MAGIC.to_le_bytes());
    node[2..4].copy_from_slice(&count(entries.len())?.to_le_bytes());
    node[4..6].copy_from_slice(&count(capacity)?.to_le_bytes());
    node[6..8].copy_from_slice(&depth.to_le_bytes());
    for (slot, (_, entry)) in node[HEADER..].chunks_exact_mut(ENTRY).zip(entries) {
        slot.copy_from_slice(entry);
    }
    Ok(())
}
