//! The kernel's file on x86_64: an ELF vmlinux, and behind it the relocations of one that can be moved.
//!
//! What the decompressor of a bzImage does to hide the kernel's place (KASLR) is done here, since
//! there is none: another place in physical memory, and another one in the kernel's address space.

mod moved;
mod relocations;

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::read::{ReadCache, ReadRef};
use vm_memory::VolatileSlice;

use self::relocations::{MAX_TABLE, Relocations};
use crate::backend::StartError;
use crate::boot;

/// Kernels move by multiples of this: the size of the pages that they map themselves with.
const ALIGNMENT: u64 = 2 << 20;

/// A kernel that is moved has to end before this physical address: the page tables that it starts with, of
/// the 64-bit protocol as of PVH, map no more.
pub(crate) const PHYSICAL_END: u64 = 1 << 30;

/// An opened vmlinux.
#[derive(Debug)]
pub(crate) struct Vmlinux {
    path: PathBuf,
    file: File,
    /// What it takes of physical memory where it was linked to be.
    range: Range<u64>,
    segments: Vec<Segment>,
    relocations: Option<Relocations>,
}

/// A loaded part of the file.
#[derive(Debug)]
struct Segment {
    /// In the file.
    offset: u64,
    /// In physical memory, where it was linked to be.
    address: u64,
    /// Bytes in the file.
    size: u64,
}

impl Vmlinux {
    /// Opens the kernel's file, and reads its relocations if it is to be moved.
    ///
    /// # Errors
    /// If it cannot be read, is no ELF kernel, or has damaged relocations.
    pub(crate) fn open(path: &Path, kaslr: bool) -> Result<Self, StartError> {
        let file = boot::open_kernel(path)?;
        let data = ReadCache::new(&file);
        let (segments, range) =
            segments(&data).ok_or_else(|| unusable(path, "it is not an ELF vmlinux"))?;
        let relocations = if kaslr {
            relocations(&data).map_err(|()| unusable(path, "its relocations are damaged"))?
        } else {
            None
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            range,
            segments,
            relocations,
        })
    }

    /// The file.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// What it takes of physical memory if it is not moved.
    pub(crate) fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// It can be moved, and is to be.
    pub(crate) fn moves(&self) -> bool {
        self.relocations.is_some()
    }

    /// A random distance to move it by, in bytes, so that it ends before `end`; none if it cannot be moved.
    ///
    /// # Errors
    /// If the host gives no random numbers.
    pub(crate) fn random_distance(&self, end: u64) -> Result<u64, StartError> {
        if !self.moves() {
            return Ok(0);
        }
        boot::random_distance(end.saturating_sub(self.range().end), ALIGNMENT)
    }

    /// Changes it to run `distance` bytes higher in its address space. `offset` tells where in `image` a
    /// physical address is that it was linked for.
    ///
    /// # Errors
    /// If a relocation is outside of it.
    pub(crate) fn relocate(
        &self,
        image: &VolatileSlice<'_>,
        offset: impl Fn(u64) -> Option<u64>,
        distance: u64,
    ) -> Result<(), StartError> {
        let Some(relocations) = self.relocations.as_ref().filter(|_| distance > 0) else {
            return Ok(());
        };
        let offset = |place: u32| usize::try_from(offset(place.into())?).ok();
        relocations
            .apply(image, offset, distance)
            .ok_or_else(|| unusable(&self.path, "a relocation is outside of it"))
    }
}

/// That the kernel's file is not what it should be.
fn unusable(path: &Path, reason: &str) -> StartError {
    StartError::Config(format!(
        "Cannot load the kernel {}: {reason}",
        path.display()
    ))
}

/// The loaded segments, and the physical memory from the first to the last of them; `None` if it is no
/// ELF file with anything to load.
fn segments<'data, R: ReadRef<'data>>(data: R) -> Option<(Vec<Segment>, Range<u64>)> {
    let endian = LittleEndian;
    let header = FileHeader64::<LittleEndian>::parse(data).ok()?;
    let mut segments = Vec::new();
    let (mut first, mut last) = (u64::MAX, 0);
    for segment in header.program_headers(endian, data).ok()? {
        let (offset, size) = segment.file_range(endian);
        if segment.p_type(endian) != PT_LOAD || size == 0 {
            continue;
        }
        let address = segment.p_paddr(endian);
        first = first.min(address);
        last = last.max(address.checked_add(segment.p_memsz(endian).max(size))?);
        segments.push(Segment {
            offset,
            address,
            size,
        });
    }
    (!segments.is_empty()).then_some((segments, first..last))
}

/// The relocations behind the ELF file; `None` if there is nothing.
fn relocations<'data, R: ReadRef<'data>>(data: R) -> Result<Option<Relocations>, ()> {
    let end = elf_end(data).ok_or(())?;
    let size = data.len()?.checked_sub(end).ok_or(())?;
    if size == 0 {
        return Ok(None);
    }
    if size > MAX_TABLE {
        return Err(());
    }
    let table = data.read_bytes_at(end, size)?;
    Relocations::parse(table.to_vec()).map(Some).ok_or(())
}

/// Where the ELF file ends: behind its last segment, section or table.
fn elf_end<'data, R: ReadRef<'data>>(data: R) -> Option<u64> {
    let endian = LittleEndian;
    let header = FileHeader64::<LittleEndian>::parse(data).ok()?;
    let sections = header.section_headers(endian, data).ok()?;
    let tables = [
        (
            header.e_phoff(endian),
            u64::from(header.e_phnum(endian)) * u64::from(header.e_phentsize(endian)),
        ),
        (
            header.e_shoff(endian),
            u64::try_from(size_of_val(sections)).ok()?,
        ),
    ];
    let segments = header.program_headers(endian, data).ok()?;
    let segments = segments.iter().map(|segment| segment.file_range(endian));
    let sections = sections
        .iter()
        .filter(|section| section.sh_type(endian) != SHT_NOBITS)
        .map(|section| (section.sh_offset(endian), section.sh_size(endian)));
    segments
        .chain(sections)
        .chain(tables)
        .try_fold(0, |end: u64, (start, size)| {
            Some(end.max(start.checked_add(size)?))
        })
}

#[cfg(test)]
mod tests;
