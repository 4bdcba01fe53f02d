//! What loading a kernel takes on every architecture.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::backend::StartError;
use crate::config::VmConfig;
use crate::initramfs::Initramfs;
use crate::memory::GuestRam;

const PAGE: u64 = 4096;

/// Where the initramfs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ramdisk {
    pub(crate) address: GuestAddress,
    /// Bytes, less than 4 GiB.
    pub(crate) size: u32,
}

/// Opens the kernel's file.
pub(crate) fn open_kernel(path: &Path) -> Result<File, StartError> {
    File::open(path).map_err(|source| StartError::Host {
        what: format!("Cannot open the kernel {}", path.display()),
        source,
    })
}

/// That the kernel's file is not what it should be, or memory too small for it.
pub(crate) fn cannot_load(config: &VmConfig, reason: &str) -> StartError {
    StartError::Config(format!(
        "Cannot load the kernel {} into {} MiB of memory: {reason}",
        config.kernel.display(),
        config.memory >> 20,
    ))
}

/// Loads the initramfs to the end of `room`, memory that is the kernel's.
///
/// # Errors
/// If it does not fit, or cannot be read.
pub(crate) fn load_initramfs(
    memory: &GuestRam,
    config: &VmConfig,
    room: Range<u64>,
) -> Result<Ramdisk, StartError> {
    let initramfs = Initramfs::open(&config.initramfs)?;
    let size = initramfs.size();
    let too_small = || {
        StartError::Config(format!(
            "{} MiB of memory are too small for the kernel and {} KiB of initramfs",
            config.memory >> 20,
            size >> 10,
        ))
    };
    let start = room
        .end
        .checked_sub(size)
        .map(|start| start / PAGE * PAGE)
        .filter(|&start| start >= room.start)
        .ok_or_else(too_small)?;
    let address = GuestAddress(start);
    initramfs.load(memory, address)?;
    Ok(Ramdisk {
        address,
        size: u32::try_from(size).map_err(|_| too_small())?,
    })
}

/// The kernel's command line as it reaches the kernel, without the final NUL.
///
/// # Errors
/// If it has a NUL, or with the final one more than `most` bytes.
pub(crate) fn check_command_line(line: String, most: usize) -> Result<String, StartError> {
    if line.contains('\0') {
        return Err(StartError::Config(
            "The kernel's command line has a NUL byte".into(),
        ));
    }
    if line.len() >= most {
        return Err(StartError::Config(format!(
            "The kernel's command line has {} bytes, and {} are possible",
            line.len(),
            most - 1
        )));
    }
    Ok(line)
}

/// A seed for the kernel's random number generator.
pub(crate) fn seed<const N: usize>() -> Result<[u8; N], StartError> {
    let mut seed = [0; N];
    crate::random::fill(&mut seed).map_err(|source| StartError::Host {
        what: "Cannot get random bytes".into(),
        source,
    })?;
    Ok(seed)
}

/// A random multiple of `step`, at most `room`: how far to move a kernel. Both in bytes.
///
/// # Errors
/// If the host gives no random numbers.
pub(crate) fn random_distance(room: u64, step: u64) -> Result<u64, StartError> {
    Ok(u64::from_le_bytes(seed()?) % (room / step + 1) * step)
}

/// Writes to guest memory.
pub(crate) fn write(
    memory: &GuestRam,
    bytes: &[u8],
    address: GuestAddress,
) -> Result<(), StartError> {
    memory
        .write_slice(bytes, address)
        .map_err(|error| StartError::Host {
            what: "Cannot write to the guest's memory".into(),
            source: io::Error::other(error),
        })
}

/// Whether the kernel's first instruction is in memory.
pub(crate) fn check_entry(
    memory: &GuestRam,
    config: &VmConfig,
    entry: GuestAddress,
) -> Result<GuestAddress, StartError> {
    if memory.address_in_range(entry) {
        Ok(entry)
    } else {
        Err(cannot_load(config, "it starts outside of it"))
    }
}
