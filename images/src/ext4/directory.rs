//! Directory blocks.

use super::BLOCK;

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
        // Both fit: a block has 4096 bytes, a name 255 at most.
        let length = u16::try_from(slot.len()).unwrap_or(u16::MAX);
        let name_length = u8::try_from(self.name.len()).unwrap_or(u8::MAX);
        slot[..4].copy_from_slice(&self.inode.to_le_bytes());
        slot[4..6].copy_from_slice(&length.to_le_bytes());
        slot[6] = name_length;
        slot[7] = self.file_type as u8;
        slot[8..8 + self.name.len()].copy_from_slice(self.name);
    }
}

/// The blocks of a directory whose first entries are `.` and `..`.
pub(super) fn blocks(own: u32, parent: u32, children: &[DirectoryEntry<'_>]) -> Vec<u8> {
    let entry = |name, inode| DirectoryEntry {
        name,
        inode,
        file_type: FileType::Directory,
    };
    let dots: [DirectoryEntry<'_>; 2] = [entry(b".", own), entry(b"..", parent)];
    let mut blocks = Vec::new();
    let mut pending: Vec<DirectoryEntry<'_>> = Vec::new();
    let mut used = 0;
    for entry in dots.iter().chain(children) {
        if used + entry.length() > BLOCK {
            blocks.extend_from_slice(&pack(&pending));
            pending.clear();
            used = 0;
        }
        used += entry.length();
        pending.push(*entry);
    }
    blocks.extend_from_slice(&pack(&pending));
    blocks
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
