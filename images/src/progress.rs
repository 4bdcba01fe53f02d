//! Events for whoever shows progress: this crate prints nothing.

use std::time::Duration;

use crate::Digest;

/// Something that happened while an image was fetched or its disk was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A layer of `size` bytes (compressed) begins to arrive.
    LayerStarted {
        /// The layer's blob.
        digest: &'a Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// So many bytes of a layer have arrived in all.
    LayerBytes {
        /// The layer's blob.
        digest: &'a Digest,
        /// Bytes so far, of the size told at the start.
        bytes: u64,
    },
    /// A layer is complete.
    LayerDone {
        /// The layer's blob.
        digest: &'a Digest,
        /// It was in the store already.
        present: bool,
    },
    /// A request failed and is tried again.
    Retry {
        /// What failed, for people. May quote the registry: escape before printing.
        reason: &'a str,
        /// Time until the next try.
        pause: Duration,
    },
    /// A mirror failed: the next one is asked, or the registry itself.
    MirrorFailed {
        /// What failed, for people. May quote the mirror: escape before printing.
        reason: &'a str,
    },
    /// A disk is built from so many layers.
    DiskStarted {
        /// Number of layers.
        layers: usize,
    },
    /// So many layers are on the disk.
    DiskLayer {
        /// Layers so far.
        done: usize,
    },
    /// The disk is complete.
    DiskDone {
        /// Bytes that it takes on the host.
        bytes: u64,
    },
}

/// Hears of [events](Event); from several threads at once.
pub trait Progress: Sync {
    /// Called often: must be quick.
    fn event(&self, event: Event<'_>);
}

/// Ignores all events.
impl Progress for () {
    fn event(&self, _: Event<'_>) {}
}
