//! Kernel files as they are shipped, and the form that a virtual machine loads.

mod bzimage;
mod flat;

use crate::compression::{Compression, read_bounded};
use crate::{Arch, FormatError};

/// The largest kernel accepted, inflated: several times that of any distribution.
const MAX_KERNEL: u64 = 512 << 20;

/// Begins the version banner of every kernel (`linux_banner` in its `init/version.c`).
const BANNER: &[u8] = b"Linux version ";

/// The longest version accepted: the kernel's own bound, `__NEW_UTS_LEN`.
const MAX_VERSION: usize = 64;

/// A kernel that can be loaded as it is.
#[derive(Debug)]
pub(crate) struct LoadableKernel {
    pub(crate) arch: Arch,
    /// ELF on x86_64, elsewhere an Image.
    pub(crate) bytes: Vec<u8>,
}

/// Turns a kernel file of any known form into the loadable one.
///
/// # Errors
/// If the form is not known or the file is damaged.
pub(crate) fn unpack(file: Vec<u8>) -> Result<LoadableKernel, FormatError> {
    if bzimage::is_bzimage(&file) {
        elf(bzimage::unpack(&file)?)
    } else if let Some(payload) = flat::zboot_payload(&file)? {
        image(inflate(payload)?)
    } else if Compression::detect(&file).is_some() {
        image(inflate(&file)?)
    } else if flat::architecture(&file).is_some() {
        image(file)
    } else {
        elf(file)
    }
}

/// Checks that a file is the Image of a known architecture.
fn image(bytes: Vec<u8>) -> Result<LoadableKernel, FormatError> {
    let arch = flat::architecture(&bytes).ok_or_else(|| {
        FormatError::malformed("What is compressed in it is no Image of a known architecture")
    })?;
    Ok(LoadableKernel { arch, bytes })
}

/// Checks that an ELF file is a kernel of a known architecture.
fn elf(bytes: Vec<u8>) -> Result<LoadableKernel, FormatError> {
    use object::read::elf::FileHeader;
    let header =
        object::elf::FileHeader64::<object::LittleEndian>::parse(&*bytes).map_err(|_| {
            FormatError::malformed("It is no kernel of a known form (bzImage, ELF vmlinux, Image)")
        })?;
    match header.e_machine(object::LittleEndian) {
        object::elf::EM_X86_64 => Ok(LoadableKernel {
            arch: Arch::X86_64,
            bytes,
        }),
        machine => Err(FormatError::malformed(format!(
            "It is an ELF file for machine {machine}, which has no kernels here"
        ))),
    }
}

impl LoadableKernel {
    /// The kernel's release, as `uname -r` would print it.
    ///
    /// # Errors
    /// If the kernel has no version banner.
    pub(crate) fn version(&self) -> Result<String, FormatError> {
        let mut rest = self.bytes.as_slice();
        while let Some(start) = rest.windows(BANNER.len()).position(|part| part == BANNER) {
            rest = &rest[start + BANNER.len()..];
            let length = rest
                .iter()
                .take(MAX_VERSION + 1)
                .take_while(|byte| byte.is_ascii_alphanumeric() || b"._-+~".contains(byte))
                .count();
            let version = &rest[..length];
            if rest.get(length) == Some(&b' ') && version.first().is_some_and(u8::is_ascii_digit) {
                return Ok(String::from_utf8_lossy(version).into_owned());
            }
        }
        Err(FormatError::malformed("It has no version of Linux in it"))
    }
}

/// Inflates the compressed kernel in `payload`.
fn inflate(payload: &[u8]) -> Result<Vec<u8>, FormatError> {
    let compression = Compression::detect(payload)
        .ok_or_else(|| FormatError::malformed("Its compression is not known"))?;
    read_bounded(compression.reader(payload)?, "The kernel", MAX_KERNEL)
}

/// The bytes at `offset`; `None` if the file ends before.
fn field<const LENGTH: usize>(file: &[u8], offset: usize) -> Option<[u8; LENGTH]> {
    file.get(offset..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests;
