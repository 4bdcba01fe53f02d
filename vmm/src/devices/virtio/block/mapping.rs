//! Private sectors in memory, at the offsets they have on the disk. The host gives memory as it is
//! written to.

use std::io;
use std::ptr::NonNull;

use rustix::param::page_size;
use vm_memory::{Bytes, GuestMemoryBackend, VolatileSlice};

use super::super::Segment;
use crate::memory::GuestRam;

/// Anonymous memory of the disk's size.
#[derive(Debug)]
pub(super) struct Mapping {
    address: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping belongs to this value alone.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(super) fn new(size: u64) -> io::Result<Self> {
        let size = usize::try_from(size).map_err(io::Error::other)?;
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        // A guest's few writes lie far apart: with huge pages, each could take 2 MiB.
        for advice in [libc::MADV_DONTDUMP, libc::MADV_NOHUGEPAGE] {
            // SAFETY: the range is the mapping just made; the advice changes no contents.
            unsafe { libc::madvise(address, size, advice) };
        }
        Ok(Self {
            address: mapping,
            size,
        })
    }

    /// Copies from the disk's `offset` on into guest memory.
    pub(super) fn read(
        &self,
        memory: &GuestRam,
        segments: &[Segment],
        offset: u64,
    ) -> io::Result<()> {
        self.each(memory, segments, offset, |disk, guest| {
            disk.copy_to_volatile_slice(guest);
        })
    }

    /// Copies from guest memory to the disk's `offset` and on.
    pub(super) fn write(
        &self,
        memory: &GuestRam,
        segments: &[Segment],
        offset: u64,
    ) -> io::Result<()> {
        self.each(memory, segments, offset, |disk, guest| {
            guest.copy_to_volatile_slice(disk);
        })
    }

    fn each(
        &self,
        memory: &GuestRam,
        segments: &[Segment],
        mut offset: u64,
        copy: impl Fn(VolatileSlice<'_>, VolatileSlice<'_>),
    ) -> io::Result<()> {
        for segment in segments {
            let guest = memory
                .get_slice(segment.address, segment.length)
                .map_err(io::Error::other)?;
            let length = u64::try_from(segment.length).map_err(io::Error::other)?;
            copy(self.slice(offset, length)?, guest);
            offset += length;
        }
        Ok(())
    }

    /// Makes a range read as zeroes, and gives the memory of its whole pages back.
    pub(super) fn zero(&self, start: u64, end: u64) -> io::Result<()> {
        let (first, last) = self.whole_pages(start, end);
        if first >= last {
            return self.fill_zeroes(start, end);
        }
        self.free(first, last)?;
        self.fill_zeroes(start, first)?;
        self.fill_zeroes(last, end)
    }

    /// Gives the memory of a range's whole pages back.
    pub(super) fn discard(&self, start: u64, end: u64) -> io::Result<()> {
        let (first, last) = self.whole_pages(start, end);
        if first >= last {
            return Ok(());
        }
        self.free(first, last)
    }

    /// The whole pages within a range; the last page of the disk is whole even if it is short.
    fn whole_pages(&self, start: u64, end: u64) -> (u64, u64) {
        // A few bits of a small number.
        let page = page_size() as u64;
        let last = if usize::try_from(end) == Ok(self.size) {
            end
        } else {
            end / page * page
        };
        (start.next_multiple_of(page), last)
    }

    fn slice(&self, offset: u64, length: u64) -> io::Result<VolatileSlice<'_>> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        // SAFETY: the mapping has this size and lives as long as `self`.
        let all = unsafe { VolatileSlice::new(self.address.as_ptr(), self.size) };
        all.subslice(offset, length).map_err(io::Error::other)
    }

    fn fill_zeroes(&self, start: u64, end: u64) -> io::Result<()> {
        const ZEROES: [u8; 4096] = [0; 4096];
        let mut offset = start;
        while offset < end {
            let length = (end - offset).min(ZEROES.len() as u64);
            let slice = self.slice(offset, length)?;
            let zeroes = ZEROES.get(..slice.len()).unwrap_or(&ZEROES);
            slice.write_slice(zeroes, 0).map_err(io::Error::other)?;
            offset += length;
        }
        Ok(())
    }

    /// Gives pages back; they read as zeroes then.
    fn free(&self, start: u64, end: u64) -> io::Result<()> {
        let pages = self.slice(start, end - start)?;
        // SAFETY: the range is within the mapping and begins at a page; all of its last page belongs
        // to it.
        let result = unsafe {
            libc::madvise(
                pages.ptr_guard_mut().as_ptr().cast(),
                pages.len(),
                libc::MADV_DONTNEED,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Pages of the range that take memory.
    #[cfg(test)]
    pub(super) fn resident_pages(&self) -> usize {
        let mut pages = vec![0_u8; self.size.div_ceil(4096)];
        // SAFETY: the vector has a byte for each page of the mapping.
        let result =
            unsafe { libc::mincore(self.address.as_ptr().cast(), self.size, pages.as_mut_ptr()) };
        assert_eq!(result, 0);
        pages.iter().filter(|&&page| page & 1 != 0).count()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping has this size, and nothing refers to it any more.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.size) };
    }
}
