//! The guest's memory.

use std::{io, ptr};

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use rustix::param::page_size;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MmapRegion,
};

/// Guest memory: private anonymous mappings, taken from the host page by page as they are touched.
pub(crate) type GuestRam = GuestMemoryMmap<()>;

/// Bytes of a huge page of hosts with pages of 4 KiB, on every architecture.
const HUGE_PAGE: usize = 2 << 20;

/// Maps memory for these guest ranges and keeps it out of core dumps.
pub(crate) fn allocate(ranges: &[(GuestAddress, u64)]) -> io::Result<GuestRam> {
    let regions = ranges
        .iter()
        .map(|&(address, size)| {
            let size = usize::try_from(size).map_err(io::Error::other)?;
            GuestRegionMmap::new(map(size)?, address)
                .ok_or_else(|| io::Error::other("memory ends behind the last address"))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let memory = GuestRam::from_regions(regions).map_err(io::Error::other)?;
    for region in memory.iter() {
        let size = usize::try_from(region.len()).map_err(io::Error::other)?;
        // SAFETY: the range is one whole mapping; the advice changes no contents.
        if unsafe { libc::madvise(region.as_ptr().cast(), size, libc::MADV_DONTDUMP) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(memory)
}

/// Maps memory that begins where a huge page can. Where it does not, the host could give its own huge pages,
/// but KVM none to the guest: then every 4 KiB that either of them touches is a fault of its own.
///
/// It is never unmapped: a process has one machine, and ends with it.
fn map(size: usize) -> io::Result<MmapRegion> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let reserved = size
        .checked_add(HUGE_PAGE)
        .ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: a new mapping touches nothing that exists.
    let start = unsafe { libc::mmap(ptr::null_mut(), reserved, access, kind, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let before = start.addr().wrapping_neg() % HUGE_PAGE;
    let memory = start.wrapping_byte_add(before);
    let behind = memory.wrapping_byte_add(size);
    for (start, size) in [(start, before), (behind, HUGE_PAGE - before)] {
        // SAFETY: these are parts of the new mapping which nobody knows of.
        if size > 0 && unsafe { libc::munmap(start, size) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: it is a mapping of that size, and stays as long as the process.
    unsafe { MmapRegion::build_raw(memory.cast(), size, access, kind) }.map_err(io::Error::other)
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

/// How much of the memory the host has given by now, in bytes.
pub(crate) fn resident(memory: &GuestRam) -> io::Result<u64> {
    let page = u64::try_from(page_size()).map_err(io::Error::other)?;
    let mut pages = 0_u64;
    for region in memory.iter() {
        let count = usize::try_from(region.len().div_ceil(page)).map_err(io::Error::other)?;
        let size = usize::try_from(region.len()).map_err(io::Error::other)?;
        let mut present = vec![0_u8; count];
        // SAFETY: the range is one whole mapping, and there is a byte for each of its pages.
        if unsafe { libc::mincore(region.as_ptr().cast(), size, present.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let given = present.iter().filter(|page| *page & 1 != 0).count();
        pages += u64::try_from(given).map_err(io::Error::other)?;
    }
    Ok(pages * page)
}

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::*;

    #[test]
    fn only_what_was_touched_is_resident() {
        let memory =
            allocate(&[(GuestAddress(0), 16 << 20), (GuestAddress(1 << 32), 4096)]).unwrap();
        for region in memory.iter() {
            assert_eq!(region.as_ptr().addr() % HUGE_PAGE, 0);
        }
        let before = resident(&memory).unwrap();
        memory.write_obj(1_u8, GuestAddress(5 << 20)).unwrap();
        memory.write_obj(1_u8, GuestAddress(1 << 32)).unwrap();
        // The host may have given more than a page at a time.
        let after = resident(&memory).unwrap();
        assert_eq!(before, 0);
        assert!((8192..=8 << 20).contains(&after), "{after}");
    }
}
