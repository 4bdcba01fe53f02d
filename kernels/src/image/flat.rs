//! The forms of kernels that are no ELF files: the Image, which is loaded as it is, and the EFI program
//! around a compressed one.
//!
//! The Image's header is that of the kernel's `Documentation/arch/arm64/booting.rst`, which other
//! architectures have with another magic number; the program's is that of its
//! `drivers/firmware/efi/libstub/zboot-header.S`.

use super::field;
use crate::{Arch, FormatError};

/// Where an Image has its magic number.
const IMAGE_MAGIC: usize = 56;
/// Those of the architectures whose kernels are Images.
const IMAGES: [(Arch, [u8; 4]); 1] = [(Arch::Aarch64, *b"ARM\x64")];

/// Where the program reads "zimg".
const ZBOOT_MAGIC: usize = 4;
/// Where its payload begins, and its length.
const PAYLOAD_OFFSET: usize = 8;
const PAYLOAD_LENGTH: usize = 12;

/// The architecture of an Image; `None` if the file is not one that is known.
pub(super) fn architecture(file: &[u8]) -> Option<Arch> {
    let magic = field(file, IMAGE_MAGIC)?;
    let (arch, _) = IMAGES.into_iter().find(|(_, known)| *known == magic)?;
    Some(arch)
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
