//! The forms of arm64 kernels: the Image, which is loaded as it is, and the EFI program around a
//! compressed one.
//!
//! The Image's header is that of the kernel's `Documentation/arch/arm64/booting.rst`, the program's
//! that of its `drivers/firmware/efi/libstub/zboot-header.S`.

use super::field;
use crate::FormatError;

/// Where an Image reads "ARM\x64".
const IMAGE_MAGIC: usize = 56;

/// Where the program reads "zimg".
const ZBOOT_MAGIC: usize = 4;
/// Where its payload begins, and its length.
const PAYLOAD_OFFSET: usize = 8;
const PAYLOAD_LENGTH: usize = 12;

pub(super) fn is_image(file: &[u8]) -> bool {
    field(file, IMAGE_MAGIC) == Some(*b"ARM\x64")
}

/// The compressed Image in an EFI zboot program; `None` if the file is not one.
pub(super) fn zboot_payload(file: &[u8]) -> Result<Option<&[u8]>, FormatError> {
    if !file.starts_with(b"MZ") || field(file, ZBOOT_MAGIC) != Some(*b"zimg") {
        return Ok(None);
    }
    let word = |offset| {
        field(file, offset).and_then(|bytes| usize::try_from(u32::from_le_bytes(bytes)).ok())
    };
    word(PAYLOAD_OFFSET)
        .zip(word(PAYLOAD_LENGTH))
        .and_then(|(start, length)| file.get(start..start.checked_add(length)?))
        .map(Some)
        .ok_or_else(|| FormatError::malformed("Its EFI zboot header is damaged"))
}
