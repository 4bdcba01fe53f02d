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
    sync::{Arc, Mutex, PoisonError},
};

pub(crate) use ahead::ReadAhead;
pub(crate) use compression::Decoder;
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
    hash: Arc<Mutex<Hasher>>,
    budget: u64,
}

/// Tells the digest of what an [`Inflated`] has given out.
pub(crate) struct DiffId(Arc<Mutex<Hasher>>);

impl Inflated {
    /// Inflates `blob`, at most `budget` bytes.
    pub(crate) fn new(
        blob: impl Read + Send + 'static,
        budget: u64,
    ) -> Result<(Self, DiffId), LayerError> {
        let hash = Arc::default();
        let inflated = Self {
            decoder: Decoder::new(Box::new(BufReader::with_capacity(1 << 17, blob)))?,
            hash: Arc::clone(&hash),
            budget,
        };
        Ok((inflated, DiffId(hash)))
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.decoder.read(buffer)?;
        self.budget = self
            .budget
            .checked_sub(length as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::QuotaExceeded, "inflates too far"))?;
        let mut hash = self.hash.lock().unwrap_or_else(PoisonError::into_inner);
        hash.update(&buffer[..length]);
        Ok(length)
    }
}

impl DiffId {
    /// Bytes given out so far.
    pub(crate) fn length(&self) -> u64 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .length()
    }

    /// Compares with what the configuration promised.
    pub(crate) fn check(&self, expected: Digest) -> Result<(), LayerError> {
        let hash = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let actual = hash.clone().finish();
        if actual == expected {
            return Ok(());
        }
        Err(LayerError::DiffId { expected, actual })
    }
}
