//! A moved kernel as a file, for loaders that are not ours.

use std::fs::File;
use std::io::{self, Seek};

use object::LittleEndian;
use object::elf::{FileHeader64, NoteType, PT_NOTE, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};
use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

use super::{Vmlinux, unusable};
use crate::backend::StartError;

/// Where the file's header has the entry point, and a segment's its physical address.
const ENTRY: usize = 24;
const SEGMENT_ADDRESS: u64 = 24;
const SEGMENT_HEADER: u64 = size_of::<ProgramHeader64<LittleEndian>>() as u64;

/// The note with the entry point of PVH (`XEN_ELFNOTE_PHYS32_ENTRY`).
const PVH_ENTRY: (&[u8], NoteType) = (b"Xen", NoteType(18));

impl Vmlinux {
    /// A copy in memory that is moved by `distance`, physically and in its address space: the entry by
    /// PVH expects both to be the same.
    ///
    /// # Errors
    /// If it is too large to copy, or damaged.
    pub(crate) fn moved(mut self, distance: u64) -> Result<File, StartError> {
        let (copy, region) = self.copy().map_err(|source| StartError::Host {
            what: format!("Cannot move the kernel {}", self.path.display()),
            source,
        })?;
        let image = region.as_volatile_slice();
        let offset = |place| self.file_offset(place);
        self.relocate(&image, offset, distance)?;
        let data = ReadCache::new(&self.file);
        move_headers(&data, &image, distance)
            .ok_or_else(|| unusable(&self.path, "its headers are damaged"))?;
        Ok(copy)
    }

    /// The file copied to memory.
    fn copy(&mut self) -> io::Result<(File, MmapRegion)> {
        let mut copy = File::from(memfd_create("vmlinux", MemfdFlags::CLOEXEC)?);
        self.file().rewind()?;
        let length = io::copy(self.file(), &mut copy)?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let region = MmapRegion::from_file(FileOffset::new(copy.try_clone()?, 0), length)
            .map_err(io::Error::other)?;
        Ok((copy, region))
    }

    /// Where in the file a place in physical memory is loaded from.
    fn file_offset(&self, place: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let offset = place.checked_sub(segment.address)?;
            (offset < segment.size).then(|| segment.offset.checked_add(offset))?
        })
    }
}

/// Changes the addresses in the headers and in the note of PVH. `data` is the file as it was: the
/// note may or may not be among the relocations.
fn move_headers<'data, R: ReadRef<'data>>(
    data: R,
    image: &VolatileSlice<'_>,
    distance: u64,
) -> Option<()> {
    let endian = LittleEndian;
    let header = FileHeader64::<LittleEndian>::parse(data).ok()?;
    let entry = header.e_entry(endian).checked_add(distance)?;
    image.write_obj(entry.to_le(), ENTRY).ok()?;
    let mut place = header.e_phoff(endian);
    for segment in header.program_headers(endian, data).ok()? {
        let address = segment.p_paddr(endian).checked_add(distance)?;
        let field = usize::try_from(place.checked_add(SEGMENT_ADDRESS)?).ok()?;
        image.write_obj(address.to_le(), field).ok()?;
        place = place.checked_add(SEGMENT_HEADER)?;
        if segment.p_type(endian) == PT_NOTE {
            move_notes(segment, data, image, distance)?;
        }
    }
    Some(())
}

fn move_notes<'data, R: ReadRef<'data>>(
    segment: &ProgramHeader64<LittleEndian>,
    data: R,
    image: &VolatileSlice<'_>,
    distance: u64,
) -> Option<()> {
    let endian = LittleEndian;
    let align = usize::try_from(segment.p_align(endian).max(4)).ok()?;
    let mut next = usize::try_from(segment.p_offset(endian)).ok()?;
    for note in segment.notes(endian, data).ok()?.into_iter().flatten() {
        let note = note.ok()?;
        const HEADER: usize = 12;
        let value = next + (HEADER + note.name_bytes().len()).next_multiple_of(align);
        next = value + note.desc().len().next_multiple_of(align);
        if (note.name(), note.n_type(endian)) == PVH_ENTRY {
            let entry = u32::from_le_bytes(*note.desc().first_chunk()?);
            let entry = entry.checked_add(u32::try_from(distance).ok()?)?;
            image.write_obj(entry.to_le(), value).ok()?;
        }
    }
    Some(())
}
