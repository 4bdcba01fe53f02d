//! What must change in a kernel that runs elsewhere in its address space than it was linked for.
//!
//! The kernel's build appends the places as a table (`arch/x86/tools/relocs.c`), and its own
//! decompressor applies it (`handle_relocations` in `arch/x86/boot/compressed/misc.c`). An entry is the
//! low half of a place's kernel address. Each group begins with a zero: places with 64 bits; up to
//! Linux 6.14, places with 32 bits that are relative to the per-CPU area and so change the other way;
//! places with 32 bits.

use std::ops::Range;

use vm_memory::{VolatileMemory, VolatileSlice};

/// The longest table accepted, in bytes: more than twenty times that of Debian's ordinary kernel.
pub(super) const MAX_TABLE: u64 = 32 << 20;

/// The most groups that a table has.
const MAX_GROUPS: usize = 3;

/// The low half of `__START_KERNEL_map`, the kernel address of physical address zero where it was linked.
const KERNEL_MAP: u32 = 0x8000_0000;

/// Bytes of an entry.
const ENTRY: usize = size_of::<u32>();

/// A table with its groups found: what reads the entries is what applies them, since a kernel has tens of
/// thousands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relocations {
    table: Vec<u8>,
    wide: Range<usize>,
    inverse: Range<usize>,
    narrow: Range<usize>,
}

impl Relocations {
    /// Takes a table; `None` if it does not consist of two or three groups of kernel addresses.
    pub(super) fn parse(table: Vec<u8>) -> Option<Self> {
        let (words, rest) = table.as_chunks::<ENTRY>();
        // The table begins with a zero, so there is nothing before the first group.
        if !rest.is_empty() || words.first() != Some(&[0; ENTRY]) {
            return None;
        }
        let mut starts = Vec::with_capacity(MAX_GROUPS);
        for (index, &word) in words.iter().enumerate() {
            match u32::from_le_bytes(word) {
                0 if starts.len() == MAX_GROUPS => return None,
                0 => starts.push(index + 1),
                1..KERNEL_MAP => return None,
                KERNEL_MAP.. => {}
            }
        }
        let end = words.len();
        let (wide, inverse, narrow) = match *starts {
            [wide, inverse, narrow] => (wide..inverse - 1, inverse..narrow - 1, narrow..end),
            [wide, narrow] => (wide..narrow - 1, narrow..narrow, narrow..end),
            _ => return None,
        };
        Some(Self {
            table,
            wide,
            inverse,
            narrow,
        })
    }

    /// The places of a group, as physical addresses where the kernel was linked to be.
    fn places(&self, group: &Range<usize>) -> impl Iterator<Item = u32> {
        let words = self.table.as_chunks().0.get(group.clone());
        let words = words.unwrap_or_default().iter();
        words.map(|&word| u32::from_le_bytes(word).wrapping_sub(KERNEL_MAP))
    }

    /// Changes a kernel to run `distance` bytes higher in its address space. `offset` tells where in
    /// `image` a place is. `None` if one is not there, or `distance` needs more than 32 bits.
    pub(super) fn apply(
        &self,
        image: &VolatileSlice<'_>,
        offset: impl Fn(u32) -> Option<usize>,
        distance: u64,
    ) -> Option<()> {
        let short = u32::try_from(distance).ok()?;
        for (group, change) in [(&self.inverse, short.wrapping_neg()), (&self.narrow, short)] {
            for place in self.places(group) {
                let value = image.get_ref::<u32>(offset(place)?).ok()?;
                value.store(value.load().wrapping_add(change));
            }
        }
        for place in self.places(&self.wide) {
            let value = image.get_ref::<u64>(offset(place)?).ok()?;
            value.store(value.load().wrapping_add(distance));
        }
        Some(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A table as the kernel's build writes it, of places as physical addresses.
    pub(in crate::vmlinux) fn table(groups: &[&[u32]]) -> Vec<u8> {
        let words = groups.iter().flat_map(|places| {
            let places = places.iter().map(|place| place + KERNEL_MAP);
            std::iter::once(0).chain(places)
        });
        words.flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn tables_have_three_groups_or_two() {
        let groups = |groups: &[&[u32]]| {
            let relocations = Relocations::parse(table(groups)).unwrap();
            [&relocations.wide, &relocations.inverse, &relocations.narrow]
                .map(|group| relocations.places(group).collect::<Vec<_>>())
        };
        assert_eq!(
            groups(&[&[8, 16], &[24], &[32]]),
            [vec![8, 16], vec![24], vec![32]]
        );
        assert_eq!(groups(&[&[8], &[], &[]]), [vec![8], vec![], vec![]]);
        assert_eq!(groups(&[&[8], &[32]]), [vec![8], vec![], vec![32]]);
    }

    #[test]
    fn damaged_tables_are_none() {
        let good = table(&[&[8], &[16], &[32]]);
        let low = 0x7fff_ffff_u32.to_le_bytes();
        for bad in [
            &good[4..],
            &good[..good.len() - 1],
            &[&good[..], &low].concat(),
            &table(&[&[8]]),
            &table(&[&[8], &[8], &[8], &[8]]),
            b"",
            b"\x7fELF",
        ] {
            assert_eq!(Relocations::parse(bad.to_vec()), None, "{bad:?}");
        }
    }

    #[test]
    fn each_group_changes_its_own_way_and_wraps_around() {
        let relocations = Relocations::parse(table(&[&[0x100], &[0x10a], &[0x10e]])).unwrap();
        let mut image = [0xff; 0x14];
        image[10..14].copy_from_slice(&0x0100_0000_u32.to_le_bytes());
        image[14..18].copy_from_slice(&0x8100_0000_u32.to_le_bytes());
        let slice = VolatileSlice::from(&mut image[..]);
        let offset = |place| usize::try_from(place).ok()?.checked_sub(0x100);
        relocations.apply(&slice, offset, 0x20_0000).unwrap();
        assert_eq!(image[..8], 0x1f_ffff_u64.to_le_bytes());
        assert_eq!(image[8..10], [0xff; 2]);
        assert_eq!(image[10..14], 0xe0_0000_u32.to_le_bytes());
        assert_eq!(image[14..18], 0x8120_0000_u32.to_le_bytes());
        assert_eq!(image[18..], [0xff; 2]);
    }

    #[test]
    fn places_outside_of_the_image_are_refused() {
        let mut image = [0; 16];
        let slice = VolatileSlice::from(&mut image[..]);
        let offset = |place| usize::try_from(place).ok();
        for (groups, distance) in [
            ([&[9][..], &[], &[]], 1),
            ([&[], &[13], &[]], 1),
            ([&[], &[], &[u32::MAX - KERNEL_MAP]], 1),
            ([&[0], &[], &[]], 1 << 32),
        ] {
            let relocations = Relocations::parse(table(&groups)).unwrap();
            assert_eq!(
                relocations.apply(&slice, offset, distance),
                None,
                "{groups:?}"
            );
        }
    }
}
