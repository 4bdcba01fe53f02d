//! A disk image that is never written to, with private pages on top.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;

use vm_memory::{Bytes, GuestMemoryBackend, VolatileSlice};

use super::super::Segment;
use crate::memory::GuestRam;

/// What is copied when it is first written to.
const PAGE: u64 = 4096;

/// The disk as the guest sees it.
#[derive(Debug)]
pub(super) struct Image {
    base: File,
    size: u64,
    overlay: Option<Overlay>,
}

impl Image {
    /// Opens the base, and makes room for pages on top of it unless it is read-only.
    pub(super) fn open(path: &Path, read_only: bool) -> io::Result<Self> {
        let base = File::open(path)?;
        let size = base.metadata()?.len();
        let overlay = if read_only || size == 0 {
            None
        } else {
            Some(Overlay::new(size)?)
        };
        Ok(Self {
            base,
            size,
            overlay,
        })
    }

    /// Size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Reads into guest memory. The caller has checked that all of it is within the disk.
    pub(super) fn read(
        &self,
        memory: &GuestRam,
        segments: &[Segment],
        offset: u64,
    ) -> io::Result<()> {
        let mut offset = offset;
        for segment in segments {
            let mut target = memory
                .get_slice(segment.address, segment.length)
                .map_err(io::Error::other)?;
            while !target.is_empty() {
                let run = self.run(offset, length(target.len()));
                let bytes = usize::try_from(run.length).map_err(io::Error::other)?;
                let now = target.subslice(0, bytes).map_err(io::Error::other)?;
                match (run.private, &self.overlay) {
                    (true, Some(overlay)) => {
                        overlay.slice(offset, bytes)?.copy_to_volatile_slice(now)
                    }
                    _ => self.read_base(now, offset)?,
                }
                target = target.offset(bytes).map_err(io::Error::other)?;
                offset += run.length;
            }
        }
        Ok(())
    }

    /// Writes from guest memory. The caller has checked that all of it is within the disk.
    pub(super) fn write(
        &mut self,
        memory: &GuestRam,
        segments: &[Segment],
        offset: u64,
    ) -> io::Result<()> {
        let end = offset + segments.iter().map(|s| length(s.length)).sum::<u64>();
        self.make_private(offset, end)?;
        let overlay = self.overlay()?;
        let mut offset = offset;
        for segment in segments {
            let source = memory
                .get_slice(segment.address, segment.length)
                .map_err(io::Error::other)?;
            source.copy_to_volatile_slice(overlay.slice(offset, segment.length)?);
            offset += length(segment.length);
        }
        Ok(())
    }

    /// Makes a range read as zeroes, and frees the memory it took.
    pub(super) fn write_zeroes(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let end = offset + length;
        self.make_private(offset, end)?;
        let (first, last) = whole_pages(offset, end, self.size);
        let overlay = self.overlay()?;
        if first >= last {
            return overlay.zero(offset, end);
        }
        overlay.free(first, last)?;
        overlay.zero(offset, first)?;
        overlay.zero(last.min(end), end)
    }

    /// Forgets what was written to the whole pages of a range, and frees the memory it took.
    pub(super) fn discard(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let (first, last) = whole_pages(offset, offset + length, self.size);
        let overlay = self.overlay_mut()?;
        if first < last {
            overlay.free(first, last)?;
            for page in first / PAGE..last.div_ceil(PAGE) {
                overlay.mark(page, false);
            }
        }
        Ok(())
    }

    /// The longest piece from `offset` on, up to `limit` bytes, that is all private or all base.
    fn run(&self, offset: u64, limit: u64) -> Run {
        let Some(overlay) = &self.overlay else {
            return Run {
                private: false,
                length: limit,
            };
        };
        let end = offset + limit;
        let mut page = offset / PAGE;
        let private = overlay.is_private(page);
        while page * PAGE < end && overlay.is_private(page) == private {
            page += 1;
        }
        Run {
            private,
            length: (page * PAGE).min(end) - offset,
        }
    }

    /// Copies the pages that a write will touch, as far as it does not overwrite them wholly.
    fn make_private(&mut self, start: u64, end: u64) -> io::Result<()> {
        for page in start / PAGE..end.div_ceil(PAGE) {
            let (page_start, page_end) = (page * PAGE, ((page + 1) * PAGE).min(self.size));
            let overlay = self.overlay()?;
            if overlay.is_private(page) {
                continue;
            }
            if start > page_start || end < page_end {
                let bytes = usize::try_from(page_end - page_start).map_err(io::Error::other)?;
                self.read_base(overlay.slice(page_start, bytes)?, page_start)?;
            }
            self.overlay_mut()?.mark(page, true);
        }
        Ok(())
    }

    fn read_base(&self, target: VolatileSlice<'_>, offset: u64) -> io::Result<()> {
        let guard = target.ptr_guard_mut();
        // SAFETY: the memory is mapped for `target.len()` bytes; the guest may change it at the same
        // time, and the kernel, which writes it, does not care.
        let bytes = unsafe { std::slice::from_raw_parts_mut(guard.as_ptr(), target.len()) };
        self.base.read_exact_at(bytes, offset)
    }

    fn overlay(&self) -> io::Result<&Overlay> {
        self.overlay
            .as_ref()
            .ok_or_else(|| io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn overlay_mut(&mut self) -> io::Result<&mut Overlay> {
        self.overlay
            .as_mut()
            .ok_or_else(|| io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

struct Run {
    private: bool,
    length: u64,
}

/// The whole pages within a range; the last page of the disk is whole even if it is short.
fn whole_pages(start: u64, end: u64, size: u64) -> (u64, u64) {
    let last = if end == size { end } else { end / PAGE * PAGE };
    (start.next_multiple_of(PAGE), last)
}

/// Private pages at the offsets they have on the disk, in memory that the host gives as it is
/// written to.
#[derive(Debug)]
struct Overlay {
    mapping: NonNull<u8>,
    size: usize,
    /// One bit a page: it is private.
    private: Vec<u64>,
}

// SAFETY: the mapping belongs to this value alone.
unsafe impl Send for Overlay {}

impl Overlay {
    fn new(size: u64) -> io::Result<Self> {
        let pages = usize::try_from(size.div_ceil(PAGE)).map_err(io::Error::other)?;
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
        // SAFETY: the range is the mapping just made; the advice changes no contents.
        unsafe { libc::madvise(address, size, libc::MADV_DONTDUMP) };
        Ok(Self {
            mapping,
            size,
            private: vec![0; pages.div_ceil(64)],
        })
    }

    fn is_private(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).unwrap_or(usize::MAX);
        self.private
            .get(word)
            .is_some_and(|bits| bits >> (page % 64) & 1 != 0)
    }

    fn mark(&mut self, page: u64, private: bool) {
        let word = usize::try_from(page / 64).unwrap_or(usize::MAX);
        if let Some(bits) = self.private.get_mut(word) {
            let bit = 1 << (page % 64);
            *bits = if private { *bits | bit } else { *bits & !bit };
        }
    }

    fn slice(&self, offset: u64, length: usize) -> io::Result<VolatileSlice<'_>> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: the mapping has this size and lives as long as `self`.
        let all = unsafe { VolatileSlice::new(self.mapping.as_ptr(), self.size) };
        all.subslice(offset, length).map_err(io::Error::other)
    }

    fn zero(&self, start: u64, end: u64) -> io::Result<()> {
        const ZEROES: [u8; 4096] = [0; 4096];
        let mut offset = start;
        while offset < end {
            let length = usize::try_from((end - offset).min(PAGE)).map_err(io::Error::other)?;
            let zeroes = ZEROES.get(..length).unwrap_or(&ZEROES);
            self.slice(offset, length)?
                .write_slice(zeroes, 0)
                .map_err(io::Error::other)?;
            offset += PAGE;
        }
        Ok(())
    }

    /// Gives the memory of whole pages back; they read as zeroes then.
    fn free(&self, start: u64, end: u64) -> io::Result<()> {
        let length = usize::try_from(end - start).map_err(io::Error::other)?;
        let pages = self.slice(start, length)?;
        // SAFETY: the range is within the mapping and begins at a page; all of its last page belongs
        // to it.
        let result = unsafe {
            libc::madvise(
                pages.ptr_guard_mut().as_ptr().cast(),
                length,
                libc::MADV_DONTNEED,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // SAFETY: the mapping has this size, and nothing refers to it any more.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.size) };
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
