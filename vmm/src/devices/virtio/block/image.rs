//! A disk image that is never written to, with private sectors on top.

use std::fs::File;
use std::io;
use std::path::Path;

use super::mapping::Mapping;
use super::scratch;
use super::sectors::{Run, Sectors};
use crate::config::Writes;

/// The disk as the guest sees it.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) base: File,
    size: u64,
    pub(super) overlay: Overlay,
    private: Option<Sectors>,
}

/// Where private sectors are.
#[derive(Debug)]
pub(super) enum Overlay {
    /// Nowhere: the disk is read-only.
    None,
    /// In memory.
    Memory(Mapping),
    /// In a file without a name.
    File(File),
}

impl Image {
    /// Opens the base, and makes room for what the guest writes.
    pub(super) fn open(path: &Path, writes: &Writes) -> Result<Self, OpenError> {
        let base = File::open(path).map_err(OpenError::Base)?;
        let size = base.metadata().map_err(OpenError::Base)?.len();
        let overlay = match writes {
            Writes::Refused => Overlay::None,
            Writes::InMemory if size == 0 => Overlay::None,
            Writes::InMemory => Overlay::Memory(Mapping::new(size).map_err(OpenError::Base)?),
            Writes::InFile { folder } => {
                Overlay::File(scratch::create(folder, size).map_err(OpenError::Scratch)?)
            }
        };
        let private = match overlay {
            Overlay::None => None,
            Overlay::Memory(_) | Overlay::File(_) => Sectors::new(size),
        };
        Ok(Self {
            base,
            size,
            overlay,
            private,
        })
    }

    /// Size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether ranges can be given back, or made zero without being written.
    pub(super) fn can_free(&self) -> bool {
        match &self.overlay {
            Overlay::None => false,
            Overlay::Memory(_) => true,
            Overlay::File(file) => scratch::can_punch(file),
        }
    }

    /// The longest piece from `offset` on, up to `limit` bytes, that is all private or all base.
    pub(super) fn run(&self, offset: u64, limit: u64) -> Run {
        match &self.private {
            Some(private) => private.run(offset, limit),
            None => Run {
                private: false,
                length: limit,
            },
        }
    }

    /// Makes a range of whole sectors private, or the base's again.
    pub(super) fn mark(&mut self, offset: u64, length: u64, private: bool) {
        if let Some(sectors) = &mut self.private {
            sectors.mark(offset, length, private);
        }
    }
}

/// What of an image cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    Base(io::Error),
    Scratch(io::Error),
}
