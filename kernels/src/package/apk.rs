//! Alpine packages, version 2 of the format: gzip members one after the other, each with a part of
//! a tar archive in it: a signature (where there is one), the control data, and the files.
//!
//! The control data holds the hash of the files' compressed bytes, and a repository's index the hash
//! of the control data's, so a signed index vouches for all of a package.

use std::io::{self, BufRead, Read};

use flate2::bufread::{GzDecoder, MultiGzDecoder};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::{Contents, tarball};
use crate::FormatError;
use crate::compression::read_bounded;
use crate::kernel::hex;

/// The control data's description of the package.
const DESCRIPTION: &str = ".PKGINFO";
/// Begins the names of signatures.
const SIGNATURE: &str = ".SIGN.";

/// The largest description accepted, in bytes.
const MAX_DESCRIPTION: u64 = 1 << 20;

/// The largest control data or signature accepted, inflated, in bytes: scripts may be part of it.
const MAX_CONTROL: u64 = 16 << 20;

/// SHA-1 of the control data's compressed bytes.
pub(crate) type ControlChecksum = [u8; 20];

/// Keeps the kernel files of an Alpine package.
///
/// # Errors
/// If it is not one, or is damaged, or its control data is not the `expected` one.
pub(crate) fn read_apk(
    package: impl BufRead,
    contents: &mut Contents,
    expected: Option<&ControlChecksum>,
) -> Result<(), FormatError> {
    let mut package = Hashing {
        inner: package,
        hash: Context::new(&SHA1_FOR_LEGACY_USE_ONLY),
    };
    let mut control = read_control(&mut package)?;
    if control.is_signature {
        package.hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        control = read_control(&mut package)?;
    }
    let checksum = std::mem::replace(&mut package.hash, Context::new(&SHA256)).finish();
    if expected.is_some_and(|expected| expected != checksum.as_ref()) {
        return Err(FormatError::malformed(
            "It is not the package that its repository's index names",
        ));
    }
    let expected = control
        .data_hash
        .ok_or_else(|| FormatError::malformed("It is not an Alpine package (no data hash)"))?;

    let mut data = MultiGzDecoder::new(&mut package);
    tarball::read_all_files(
        &mut data,
        "The archive of its files",
        tarball::MAX_ARCHIVE,
        |path, length, file| contents.add(path, length, file),
    )?;
    if hex(package.hash.finish().as_ref()) == expected {
        Ok(())
    } else {
        Err(FormatError::malformed(
            "Its files are not those that its control data names",
        ))
    }
}

/// What a member before the files says.
#[derive(Default)]
struct Control {
    is_signature: bool,
    /// SHA-256 of the files' compressed bytes, in hexadecimal.
    data_hash: Option<String>,
}

fn read_control(package: &mut impl BufRead) -> Result<Control, FormatError> {
    let mut control = Control::default();
    let member = GzDecoder::new(package);
    // Up to the member's end, its checksum included.
    tarball::read_all_files(member, "Its control data", MAX_CONTROL, |path, _, file| {
        if path.starts_with(SIGNATURE) {
            control.is_signature = true;
        } else if path == DESCRIPTION {
            let description = read_bounded(file, DESCRIPTION, MAX_DESCRIPTION)?;
            control.data_hash = String::from_utf8_lossy(&description)
                .lines()
                .find_map(|line| line.strip_prefix("datahash = "))
                .map(str::to_owned);
        }
        Ok(())
    })?;
    Ok(control)
}

/// Hashes the bytes that are consumed of a reader.
struct Hashing<R> {
    inner: R,
    hash: Context,
}

impl<R: BufRead> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Hashing<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What was filled is still there, so this reads nothing and cannot fail.
        if let Ok(buffer) = self.inner.fill_buf() {
            self.hash.update(&buffer[..amount]);
        }
        self.inner.consume(amount);
    }
}
