//! The bzImage of x86: a boot sector, real-mode setup, and a program that unpacks the kernel.
//!
//! Only its compressed payload is used. Field offsets are those of the kernel's
//! `Documentation/arch/x86/boot.rst`.

use super::field;
use crate::FormatError;

/// `setup_sects`: sectors of setup after the boot sector; 0 stands for 4.
const SETUP_SECTORS: usize = 0x1f1;
/// `header`, which reads "HdrS".
const MAGIC: usize = 0x202;
/// `version` of the boot protocol.
const VERSION: usize = 0x206;
/// `payload_offset` from the beginning of the protected-mode part, and `payload_length`.
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The first protocol that has a payload field: 2.08 (Linux 2.6.26).
const PAYLOAD_VERSION: u16 = 0x0208;

const SECTOR: usize = 512;

/// Bytes of inflated size that the build appends to every payload.
const SIZE_LENGTH: usize = 4;

pub(super) fn is_bzimage(file: &[u8]) -> bool {
    file.get(MAGIC..MAGIC + 4) == Some(b"HdrS")
}

/// Inflates the kernel of a bzImage: an ELF vmlinux, followed by its relocations where it has them.
pub(super) fn unpack(file: &[u8]) -> Result<Vec<u8>, FormatError> {
    let malformed = || FormatError::malformed("Its bzImage header is damaged");
    let version = field::<2>(file, VERSION).ok_or_else(malformed)?;
    if u16::from_le_bytes(version) < PAYLOAD_VERSION {
        return Err(FormatError::malformed(
            "Its bzImage is older than boot protocol 2.08",
        ));
    }
    let setup_sectors = match field::<1>(file, SETUP_SECTORS).ok_or_else(malformed)? {
        [0] => 4,
        [sectors] => usize::from(sectors),
    };
    let offset = word(file, PAYLOAD_OFFSET).ok_or_else(malformed)?;
    let length = word(file, PAYLOAD_LENGTH).ok_or_else(malformed)?;
    let payload = ((setup_sectors + 1) * SECTOR)
        .checked_add(offset)
        .and_then(|start| file.get(start..start.checked_add(length)?))
        .ok_or_else(malformed)?;

    // gzip already ends with the inflated size, the others have it appended (scripts/Makefile.lib).
    let size = payload
        .last_chunk::<SIZE_LENGTH>()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or_else(malformed)?;
    let stream = match payload {
        [0x1f, 0x8b, ..] => payload,
        _ => &payload[..payload.len() - SIZE_LENGTH],
    };
    let vmlinux = super::inflate(stream)?;
    if u32::try_from(vmlinux.len()) != Ok(size) {
        return Err(FormatError::malformed(format!(
            "Its kernel inflates to {} bytes where {size} are promised",
            vmlinux.len()
        )));
    }
    Ok(vmlinux)
}

fn word(file: &[u8], offset: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(field(file, offset)?)).ok()
}
