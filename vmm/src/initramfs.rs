//! The initramfs: several archives, one after the other.

use std::fs::File;
use std::io;
use std::path::Path;

use vm_memory::{Bytes, GuestAddress};

use crate::backend::StartError;
use crate::config::InitramfsPart;
use crate::memory::GuestRam;

/// The kernel takes archives that begin at a multiple of this.
const ALIGNMENT: u64 = 4;

/// The parts of an initramfs with the files opened and all sizes known.
#[derive(Debug)]
pub(crate) struct Initramfs<'a> {
    parts: Vec<Part<'a>>,
    size: u64,
}

#[derive(Debug)]
enum Part<'a> {
    File(File, u64, &'a Path),
    Bytes(&'a [u8]),
}

impl<'a> Initramfs<'a> {
    /// Opens the parts.
    ///
    /// # Errors
    /// If a file cannot be opened.
    pub(crate) fn open(parts: &'a [InitramfsPart]) -> Result<Self, StartError> {
        let mut size: u64 = 0;
        let parts = parts
            .iter()
            .map(|part| {
                let part = match part {
                    InitramfsPart::Bytes(bytes) => Part::Bytes(bytes),
                    InitramfsPart::File(path) => {
                        let file = File::open(path).map_err(|e| cannot("open", path, e))?;
                        let length = file.metadata().map_err(|e| cannot("open", path, e))?.len();
                        Part::File(file, length, path)
                    }
                };
                size = size.next_multiple_of(ALIGNMENT).saturating_add(part.size());
                Ok(part)
            })
            .collect::<Result<_, StartError>>()?;
        Ok(Self { parts, size })
    }

    /// Bytes of all parts with the padding between them.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Puts the parts into guest memory, which must be zero there.
    ///
    /// # Errors
    /// If a file cannot be read in its whole size, or there is no such memory.
    pub(crate) fn load(self, memory: &GuestRam, address: GuestAddress) -> Result<(), StartError> {
        let mut next = address.0;
        for part in self.parts {
            next = next.next_multiple_of(ALIGNMENT);
            let size = part.size();
            match part {
                Part::Bytes(bytes) => {
                    memory
                        .write_slice(bytes, GuestAddress(next))
                        .map_err(|error| StartError::Host {
                            what: "Cannot write the initramfs to the guest's memory".into(),
                            source: io::Error::other(error),
                        })?;
                }
                Part::File(mut file, length, path) => {
                    let length = usize::try_from(length)
                        .map_err(|e| cannot("load", path, io::Error::other(e)))?;
                    memory
                        .read_exact_volatile_from(GuestAddress(next), &mut file, length)
                        .map_err(|e| cannot("read", path, io::Error::other(e)))?;
                }
            }
            next += size;
        }
        Ok(())
    }
}

impl Part<'_> {
    fn size(&self) -> u64 {
        match self {
            Self::File(_, size, _) => *size,
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        }
    }
}

fn cannot(what: &str, path: &Path, source: io::Error) -> StartError {
    StartError::Host {
        what: format!("Cannot {what} the initramfs {}", path.display()),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pads_between_parts() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"abcde").unwrap();
        let parts = [
            InitramfsPart::File(file.path().into()),
            InitramfsPart::Bytes(b"fg".to_vec()),
            InitramfsPart::Bytes(b"h".to_vec()),
        ];
        let initramfs = Initramfs::open(&parts).unwrap();
        assert_eq!(initramfs.size(), 13);
        let memory = GuestRam::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        initramfs.load(&memory, GuestAddress(0x100)).unwrap();
        let mut loaded = [0xff; 14];
        memory.read_slice(&mut loaded, GuestAddress(0x100)).unwrap();
        assert_eq!(&loaded, b"abcde\0\0\0fg\0\0h\0");
    }

    #[test]
    fn names_the_missing_file() {
        let parts = [InitramfsPart::File("/nonexistent/initramfs".into())];
        let error = Initramfs::open(&parts).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/initramfs"));
    }
}
