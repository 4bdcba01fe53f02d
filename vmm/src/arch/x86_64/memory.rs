//! Where the guest's memory is.

use vm_memory::GuestAddress;

use super::layout::{HOLE_END, HOLE_START};

/// The ranges of a guest's memory: below and above the hole that devices live in.
pub(crate) fn memory_ranges(size: u64) -> Vec<(GuestAddress, u64)> {
    let low = size.min(HOLE_START);
    let mut ranges = vec![(GuestAddress(0), low)];
    if size > low {
        ranges.push((GuestAddress(HOLE_END), size - low));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_the_hole_free() {
        assert_eq!(memory_ranges(64 << 20), [(GuestAddress(0), 64 << 20)]);
        assert_eq!(memory_ranges(3 << 30), [(GuestAddress(0), 3 << 30)]);
        assert_eq!(
            memory_ranges(6 << 30),
            [(GuestAddress(0), 3 << 30), (GuestAddress(4 << 30), 3 << 30)]
        );
    }
}
