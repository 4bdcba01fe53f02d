//! Extended attributes: in the inode as far as they fit, the rest in one block.

use super::{BLOCK, BlockWriter, Ext4Error, acl::Acl, inode};
use crate::layer::Xattrs;

const MAGIC: u32 = 0xea02_0000;
const ENTRY: usize = 16;
const BLOCK_HEADER: usize = 32;
/// Room in the inode, without the magic number.
const INODE_ROOM: usize = inode::SIZE - inode::XATTRS - 4;

const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Name prefixes and the numbers that stand for them.
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];

/// An attribute as ext4 stores it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attribute {
    prefix: u8,
    name_length: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Attribute {
    fn entry_length(&self) -> usize {
        (ENTRY + self.name.len()).next_multiple_of(4)
    }

    fn value_length(&self) -> usize {
        self.value.len().next_multiple_of(4)
    }
}

/// A file's attributes, ready for its inode.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// For the inode; may be empty.
    pub(super) inline: Vec<u8>,
    /// The block with the rest; 0 if none.
    pub(super) block: u32,
    /// The mode, as the access control list changes it.
    pub(super) mode: u16,
}

/// Stores `xattrs` of a file with `mode`. Those of namespaces that ext4 does not know are left out, as
/// the kernel refuses to set them.
pub(super) fn store(
    xattrs: &Xattrs,
    mode: u16,
    disk: &mut BlockWriter,
) -> Result<Stored, Ext4Error> {
    let mut stored = Stored {
        mode,
        ..Stored::default()
    };
    let mut attributes = Vec::new();
    for (name, value) in xattrs {
        if name == ACCESS_ACL {
            let acl = Acl::parse(value)?;
            stored.mode = acl.mode(mode);
            if !acl.is_minimal() {
                attributes.push(attribute(2, b"", acl.encode()));
            }
        } else if name == DEFAULT_ACL {
            attributes.push(attribute(3, b"", Acl::parse(value)?.encode()));
        } else if let Some((prefix, number)) = PREFIXES
            .iter()
            .find(|(prefix, _)| name.len() > prefix.len() && name.starts_with(prefix))
        {
            let rest = &name[prefix.len()..];
            if rest.len() > 255 {
                return Err(Ext4Error::XattrsTooLarge);
            }
            attributes.push(attribute(*number, rest, value.clone()));
        }
    }
    // The order that the kernel keeps in blocks: by prefix, then length, then name.
    attributes.sort();
    let mut room = INODE_ROOM - 4;
    let (inline, rest): (Vec<_>, Vec<_>) = attributes.into_iter().partition(|attribute| {
        let needed = attribute.entry_length() + attribute.value_length();
        let fits = needed <= room;
        if fits {
            room -= needed;
        }
        fits
    });
    if !inline.is_empty() {
        stored.inline = vec![0; 4 + INODE_ROOM];
        stored.inline[..4].copy_from_slice(&MAGIC.to_le_bytes());
        fill(&mut stored.inline[4..], 0, &inline, false);
    }
    if !rest.is_empty() {
        stored.block = disk.append(&block(&rest)?)?;
    }
    Ok(stored)
}

fn attribute(prefix: u8, name: &[u8], value: Vec<u8>) -> Attribute {
    Attribute {
        prefix,
        name_length: name.len(),
        name: name.to_vec(),
        value,
    }
}

fn block(attributes: &[Attribute]) -> Result<[u8; BLOCK], Ext4Error> {
    let needed: usize = attributes
        .iter()
        .map(|attribute| attribute.entry_length() + attribute.value_length())
        .sum();
    if BLOCK_HEADER + needed + 4 > BLOCK {
        return Err(Ext4Error::XattrsTooLarge);
    }
    let mut block = [0; BLOCK];
    let hash = fill(&mut block[BLOCK_HEADER..], BLOCK_HEADER, attributes, true);
    // Magic number, references, blocks, hash of all entries.
    for (slot, value) in block.chunks_exact_mut(4).zip([MAGIC, 1, 1, hash]) {
        slot.copy_from_slice(&value.to_le_bytes());
    }
    Ok(block)
}

/// Writes entries from the start of `area` and values from its end. Value offsets count from
/// `base` bytes before the area. Returns the hash of all entries (0 if entries have none).
fn fill(area: &mut [u8], base: usize, attributes: &[Attribute], hashed: bool) -> u32 {
    let mut offset = 0;
    let mut value_offset = area.len();
    let mut block_hash: u32 = 0;
    for attribute in attributes {
        let value = &attribute.value;
        value_offset -= attribute.value_length();
        area[value_offset..value_offset + value.len()].copy_from_slice(value);
        let hash = if hashed { entry_hash(attribute) } else { 0 };
        block_hash = block_hash.rotate_left(16) ^ hash;
        let entry = &mut area[offset..offset + attribute.entry_length()];
        // All of these are below the block size, the name below 256.
        let bytes = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        entry[0] = bytes(attribute.name.len())[0];
        entry[1] = attribute.prefix;
        let value_start = if value.is_empty() {
            0
        } else {
            base + value_offset
        };
        entry[2..4].copy_from_slice(&bytes(value_start)[..2]);
        entry[8..12].copy_from_slice(&bytes(value.len()));
        entry[12..16].copy_from_slice(&hash.to_le_bytes());
        entry[16..16 + attribute.name.len()].copy_from_slice(&attribute.name);
        offset += attribute.entry_length();
    }
    block_hash
}

/// The kernel's hash of an entry in a block: name bytes (unsigned), then the value's words.
fn entry_hash(attribute: &Attribute) -> u32 {
    let mut hash: u32 = 0;
    for &byte in &attribute.name {
        hash = hash.rotate_left(5) ^ u32::from(byte);
    }
    for word in attribute.value.chunks(4) {
        let mut bytes = [0; 4];
        bytes[..word.len()].copy_from_slice(word);
        hash = hash.rotate_left(16) ^ u32::from_le_bytes(bytes);
    }
    hash
}
