//! Layers: compressed tar archives, read as a stream of entries.

mod ahead;
mod compression;
mod entry;
mod header;
mod pax;
mod sparse;
mod tar;

use std::{
    io::{self, BufReader, Read},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(crate) use ahead::ReadAhead;
pub(crate) use compression::{Decoder, MAX_WINDOW, WindowTooLarge};
pub(crate) use entry::{Entry, EntryKind, Timestamp, Xattrs};
pub(crate) use sparse::Segment;
pub(crate) use tar::TarReader;

use crate::{Digest, digest::Hasher};

/// What is wrong with a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// Reading or inflating failed.
    #[error("The archive cannot be read: it is damaged or cut off")]
    Read(#[source] io::Error),
    /// The layer is not gzip, zstd or tar.
    #[error("It is neither a gzip, a zstd nor a plain tar archive")]
    UnknownFormat,
    /// A header breaks the format.
    #[error("Malformed tar archive at byte {offset}: {reason}")]
    Malformed {
        /// Where, in the inflated archive.
        offset: u64,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// An entry cannot be applied.
    #[error("Entry {path:?}: {reason}")]
    Entry {
        /// The entry's name.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// The inflated archive is not what the configuration promised.
    #[error("The inflated archive has digest {actual}, the image's configuration says {expected}")]
    DiffId {
        /// The promised diff_id.
        expected: Digest,
        /// The digest of the bytes that came.
        actual: Digest,
    },
    /// A bound of [`Limits`](crate::Limits) was passed.
    #[error(
        "The image has more than {limit} {what}: if you trust it, raise {setting} in limits.json"
    )]
    Limit {
        /// What is counted.
        what: &'static str,
        /// The bound.
        limit: u64,
        /// Its name in a file of limits.
        setting: &'static str,
    },
    /// A zstd frame asks for more memory than image builders ever need.
    #[error(
        "It needs a zstd window of {window} bytes, and at most {} are given: compress it without --ultra --long",
        MAX_WINDOW
    )]
    Window {
        /// The window, in bytes.
        window: u64,
    },
    /// The disk could not take the content.
    #[error("The content cannot be written")]
    Write(#[source] crate::ext4::Ext4Error),
}

impl LayerError {
    pub(crate) fn entry(path: &[u8], reason: &'static str) -> Self {
        Self::Entry {
            path: String::from_utf8_lossy(path).chars().take(300).collect(),
            reason,
        }
    }
}

/// The inflated bytes of a layer, hashed and counted as they pass.
pub(crate) struct Inflated {
    decoder: Decoder,
    budget: u64,
    passed: Arc<Mutex<Passed>>,
}

/// What an [`Inflated`] has given out, and what that took.
#[derive(Default)]
struct Passed {
    hash: Hasher,
    memory: u64,
}

/// Tells what an [`Inflated`] has given out, while or after another thread reads it.
pub(crate) struct Gauge(Arc<Mutex<Passed>>);

/// The error, within an [`io::Error`], for a layer that inflates to more than its budget.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it inflates too far")]
pub(crate) struct InflatesTooFar;

impl Inflated {
    /// Inflates `blob`, to at most `budget` bytes, with at most `memory` bytes for windows.
    pub(crate) fn new(
        blob: impl Read + Send + 'static,
        budget: u64,
        memory: u64,
    ) -> Result<(Self, Gauge), LayerError> {
        let blob = Box::new(BufReader::with_capacity(1 << 17, blob));
        let passed = Arc::default();
        let inflated = Self {
            decoder: Decoder::new(blob, Decoder::max_window(memory))?,
            budget,
            passed: Arc::clone(&passed),
        };
        Ok((inflated, Gauge(passed)))
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.decoder.read(buffer)?;
        self.budget = self
            .budget
            .checked_sub(length as u64)
            .ok_or_else(|| io::Error::other(InflatesTooFar))?;
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.hash.update(&buffer[..length]);
        passed.memory = self.decoder.memory();
        Ok(length)
    }
}

impl Gauge {
    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes given out so far.
    pub(crate) fn length(&self) -> u64 {
        self.passed().hash.length()
    }

    /// Bytes of memory that inflating takes beside buffers of constant size.
    pub(crate) fn memory(&self) -> u64 {
        self.passed().memory
    }

    /// Compares the digest of what was given out with what the configuration promised.
    pub(crate) fn check_diff_id(&self, expected: Digest) -> Result<(), LayerError> {
        let actual = self.passed().hash.clone().finish();
        if actual == expected {
            return Ok(());
        }
        Err(LayerError::DiffId { expected, actual })
    }
}
