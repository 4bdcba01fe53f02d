//! One entry of a layer, with everything that long-name, PAX and sparse headers say about it.

use std::collections::BTreeMap;

use super::Segment;

/// Extended attributes by full name, such as `security.capability`.
pub(crate) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Seconds since 1970 and nanoseconds above them (0 to 999,999,999).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timestamp {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// An entry's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name as the archive has it: may be absolute, have `..`, or end in a slash.
    pub(crate) path: Vec<u8>,
    /// Permission bits with set-id and sticky bits.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) xattrs: Xattrs,
    pub(crate) kind: EntryKind,
}

/// What an entry makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file. Its content follows: the bytes of all segments.
    File {
        /// Its length in bytes.
        size: u64,
        /// Where there is content, ascending; what lies between is a hole.
        segments: Vec<Segment>,
    },
    Directory,
    Symlink(Vec<u8>),
    /// Another name for the file of this name.
    Hardlink(Vec<u8>),
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}
