//! The guest's memory.

use std::io;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// Guest memory: private anonymous mappings, taken from the host page by page as they are touched.
pub(crate) type GuestRam = GuestMemoryMmap<()>;

/// Maps memory for these guest ranges and keeps it out of core dumps.
pub(crate) fn allocate(ranges: &[(GuestAddress, u64)]) -> io::Result<GuestRam> {
    let ranges = ranges
        .iter()
        .map(|&(address, size)| Ok((address, usize::try_from(size).map_err(io::Error::other)?)))
        .collect::<io::Result<Vec<_>>>()?;
    let memory = GuestRam::from_ranges(&ranges).map_err(io::Error::other)?;
    for region in memory.iter() {
        let size = usize::try_from(region.len()).map_err(io::Error::other)?;
        // SAFETY: the range is one whole mapping; the advice changes no contents.
        if unsafe { libc::madvise(region.as_ptr().cast(), size, libc::MADV_DONTDUMP) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(memory)
}

/// Gives the memory to a virtual machine, which must end before the memory does.
pub(crate) fn attach(vm: &VmFd, memory: &GuestRam) -> io::Result<()> {
    for (slot, region) in (0..).zip(memory.iter()) {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: u64::try_from(region.as_ptr().addr()).map_err(io::Error::other)?,
        };
        // SAFETY: the region is a mapping of this size, and the caller keeps it.
        unsafe { vm.set_user_memory_region(region) }?;
    }
    Ok(())
}
