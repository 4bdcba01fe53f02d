//! Bounds on what an image may cost.

use crate::layer::LayerError;

/// How much an image may inflate to. The defaults are far above real images and far below what would
/// hurt a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Inflated bytes of all layers.
    pub inflated_bytes: u64,
    /// Files, directories and other entries that all layers make.
    pub entries: u64,
    /// Components in one name.
    pub depth: usize,
    /// Bytes of all names, symbolic link targets and extended attributes.
    pub metadata_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inflated_bytes: 64 << 30,
            entries: 4_000_000,
            depth: 256,
            metadata_bytes: 512 << 20,
        }
    }
}

/// Counts against [`Limits`].
#[derive(Debug)]
pub(super) struct Counter {
    limits: Limits,
    entries: u64,
    metadata_bytes: u64,
}

impl Counter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: 0,
            metadata_bytes: 0,
        }
    }

    pub(super) fn entry(&mut self, metadata_bytes: usize) -> Result<(), LayerError> {
        self.entries += 1;
        self.metadata_bytes += metadata_bytes as u64;
        check(self.entries, self.limits.entries, "entries")?;
        check(
            self.metadata_bytes,
            self.limits.metadata_bytes,
            "bytes of names and attributes",
        )
    }

    pub(super) fn depth(&self, depth: usize) -> Result<(), LayerError> {
        check(
            depth as u64,
            self.limits.depth as u64,
            "components in a name",
        )
    }
}

fn check(value: u64, limit: u64, what: &'static str) -> Result<(), LayerError> {
    if value <= limit {
        return Ok(());
    }
    Err(LayerError::Limit { what, limit })
}
