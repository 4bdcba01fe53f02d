//! POSIX access control lists: from the form of extended attributes (linux/posix_acl_xattr.h) to
//! ext4's own, which leaves out the ids that mean nothing.

use super::Ext4Error;

const XATTR_VERSION: u32 = 2;
const EXT4_VERSION: u32 = 1;

const USER_OBJECT: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJECT: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// A list that was read.
pub(super) struct Acl {
    entries: Vec<(u16, u16, u32)>,
}

impl Acl {
    pub(super) fn parse(value: &[u8]) -> Result<Self, Ext4Error> {
        let (version, entries) = value
            .split_first_chunk::<4>()
            .ok_or(Ext4Error::MalformedAcl)?;
        if u32::from_le_bytes(*version) != XATTR_VERSION || entries.len() % 8 != 0 {
            return Err(Ext4Error::MalformedAcl);
        }
        let entries = entries.chunks_exact(8).map(|entry| {
            let tag = u16::from_le_bytes([entry[0], entry[1]]);
            let permissions = u16::from_le_bytes([entry[2], entry[3]]);
            let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            let known = matches!(
                tag,
                USER_OBJECT | USER | GROUP_OBJECT | GROUP | MASK | OTHER
            );
            (known && permissions <= 7)
                .then_some((tag, permissions, id))
                .ok_or(Ext4Error::MalformedAcl)
        });
        Ok(Self {
            entries: entries.collect::<Result<_, _>>()?,
        })
    }

    /// ext4's form.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = EXT4_VERSION.to_le_bytes().to_vec();
        for &(tag, permissions, id) in &self.entries {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&permissions.to_le_bytes());
            if matches!(tag, USER | GROUP) {
                value.extend_from_slice(&id.to_le_bytes());
            }
        }
        value
    }

    /// Whether it says no more than permission bits can.
    pub(super) fn is_minimal(&self) -> bool {
        self.entries
            .iter()
            .all(|(tag, ..)| matches!(*tag, USER_OBJECT | GROUP_OBJECT | OTHER))
    }

    /// `mode` as the kernel shows it beside this list: the group's bits are the mask's.
    pub(super) fn mode(&self, mode: u16) -> u16 {
        let find = |wanted| {
            self.entries
                .iter()
                .find(|(tag, ..)| *tag == wanted)
                .map(|(_, permissions, _)| *permissions)
        };
        let bits = |wanted, shift: u16| find(wanted).unwrap_or(mode >> shift & 7) << shift;
        let group = if find(MASK).is_some() {
            MASK
        } else {
            GROUP_OBJECT
        };
        mode & !0o777 | bits(USER_OBJECT, 6) | bits(group, 3) | bits(OTHER, 0)
    }
}
