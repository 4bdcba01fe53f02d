//! Bounds on what an image may cost.

use std::path::Path;

use serde::Deserialize;

use crate::{
    Error, json_file,
    layer::{Entry, EntryKind, LayerError, Xattrs},
};

/// How much an image may inflate to. The defaults are far above real images and far below what would
/// hurt a host.
///
/// As a file it is JSON, in which what is absent keeps its default:
///
/// ```json
/// {"inflatedBytes": 68719476736, "entries": 1000000, "depth": 256, "xattrBytes": 65536,
///  "memoryBytes": 1073741824}
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes that all layers inflate to, and bytes that the content takes on the disk, where each file
    /// takes whole blocks.
    pub inflated_bytes: u64,
    /// Files, directories and other entries that all layers make.
    pub entries: u64,
    /// Components in one name.
    pub depth: u64,
    /// Bytes of one file's extended attributes, names and values.
    pub xattr_bytes: u64,
    /// Bytes of this process's memory for names, attributes and whatever else is kept of the entries
    /// until the disk is written. Each entry counts a little more than it takes.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inflated_bytes: 64 << 30,
            entries: 1_000_000,
            depth: 256,
            // What the kernel would take of one file (XATTR_LIST_MAX, linux/limits.h).
            xattr_bytes: 64 << 10,
            memory_bytes: 1 << 30,
        }
    }
}

impl Limits {
    /// Reads a file of limits; one that does not exist leaves the defaults.
    ///
    /// # Errors
    /// If the file cannot be read or is malformed.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(json_file::read(path)?.unwrap_or_default())
    }
}

/// Counts against [`Limits`].
#[derive(Debug)]
pub(super) struct Counter {
    limits: Limits,
    entries: u64,
    memory_bytes: u64,
    /// What inflating the present layer takes.
    inflating_bytes: u64,
}

/// What a node, its place in a directory, its number and its encoded inode take, in bytes; measured by
/// the test `hostile_layers_take_no_more_memory_than_allowed`.
const ENTRY: u64 = 640;
/// A directory's first node of names.
const DIRECTORY: u64 = 512;
/// An allocation beside its content.
const ALLOCATION: u64 = 32;
/// A map's first node of attributes.
const XATTR_MAP: u64 = 640;
/// An attribute beside its name and value.
const XATTR: u64 = 128;
/// A run of a sparse file: as it is kept, as an extent, and as blocks in use.
const RUN: u64 = 64;

impl Counter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: 0,
            memory_bytes: 0,
            inflating_bytes: 0,
        }
    }

    /// Counts an entry of a layer, with all that is kept of it.
    pub(super) fn entry(&mut self, entry: &Entry, base: &[u8]) -> Result<(), LayerError> {
        check(
            xattr_bytes(&entry.xattrs),
            self.limits.xattr_bytes,
            "bytes of extended attributes of one file",
            "xattrBytes",
        )?;
        let xattrs = match entry.xattrs.len() as u64 {
            0 => 0,
            count => XATTR_MAP + count * XATTR + xattr_bytes(&entry.xattrs),
        };
        let kind = match &entry.kind {
            EntryKind::Directory => DIRECTORY,
            EntryKind::Symlink(target) => ALLOCATION + target.len() as u64,
            EntryKind::File { segments, .. } => segments.len() as u64 * RUN,
            _ => 0,
        };
        self.named(base.len(), xattrs + kind)
    }

    /// Counts a directory that no layer describes.
    pub(super) fn implied_directory(&mut self, name: usize) -> Result<(), LayerError> {
        self.named(name, DIRECTORY)
    }

    /// Counts a whiteout, of which nothing is kept.
    pub(super) fn whiteout(&mut self) -> Result<(), LayerError> {
        self.entries += 1;
        check(self.entries, self.limits.entries, "entries", "entries")
    }

    fn named(&mut self, name: usize, more: u64) -> Result<(), LayerError> {
        self.whiteout()?;
        self.memory_bytes += ENTRY + ALLOCATION + name as u64 + more;
        if self.memory_bytes.saturating_add(self.inflating_bytes) > self.limits.memory_bytes {
            return Err(self.no_memory());
        }
        Ok(())
    }

    /// Takes note of what inflating the present layer takes, in bytes of memory.
    pub(super) fn inflating(&mut self, memory: u64) {
        self.inflating_bytes = memory;
    }

    /// Bytes of memory that the next layer may take for inflating.
    pub(super) fn memory_left(&self) -> u64 {
        self.limits.memory_bytes.saturating_sub(self.memory_bytes)
    }

    /// The error for an image that takes too much memory.
    pub(super) fn no_memory(&self) -> LayerError {
        LayerError::Limit {
            what: "bytes of names, attributes and zstd window",
            limit: self.limits.memory_bytes,
            setting: "memoryBytes",
        }
    }

    pub(super) fn depth(&self, depth: usize) -> Result<(), LayerError> {
        check(
            depth as u64,
            self.limits.depth,
            "components in a name",
            "depth",
        )
    }

    /// Checks the bytes that the content takes on the disk.
    pub(super) fn content(&self, bytes: u64) -> Result<(), LayerError> {
        check(
            bytes,
            self.limits.inflated_bytes,
            "bytes of content",
            "inflatedBytes",
        )
    }

    /// The error for a layer that inflates too far.
    pub(super) fn inflated(&self) -> LayerError {
        LayerError::Limit {
            what: "inflated bytes",
            limit: self.limits.inflated_bytes,
            setting: "inflatedBytes",
        }
    }
}

fn xattr_bytes(xattrs: &Xattrs) -> u64 {
    let bytes = xattrs.iter().map(|(name, value)| name.len() + value.len());
    bytes.sum::<usize>() as u64
}

fn check(
    value: u64,
    limit: u64,
    what: &'static str,
    setting: &'static str,
) -> Result<(), LayerError> {
    if value <= limit {
        return Ok(());
    }
    Err(LayerError::Limit {
        what,
        limit,
        setting,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_changes_what_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("limits.json");
        assert_eq!(Limits::read(&path).unwrap(), Limits::default());
        fs::write(&path, r#"{"entries": 7, "xattrBytes": 8}"#).unwrap();
        let expected = Limits {
            entries: 7,
            xattr_bytes: 8,
            ..Limits::default()
        };
        assert_eq!(Limits::read(&path).unwrap(), expected);
        for wrong in [r#"{"entires": 7}"#, r#"{"depth": -1}"#, "7"] {
            fs::write(&path, wrong).unwrap();
            assert!(Limits::read(&path).is_err(), "{wrong}");
        }
    }
}
