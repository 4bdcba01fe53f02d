//! Devices.

use crate::arch;

pub(crate) mod bus;
pub(crate) mod event_loop;
mod manner;
pub(crate) mod platform;
pub(crate) mod serial;
pub(crate) mod virtio;

/// Distance from one virtio-mmio device's registers to the next one's, in bytes.
pub(crate) const MMIO_STRIDE: u64 = 0x1000;

/// Where a virtio-mmio device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MmioSlot {
    /// Guest address of its registers.
    pub(crate) address: u64,
    /// Number of its interrupt line.
    pub(crate) gsi: u32,
}

impl MmioSlot {
    /// The place of the device of this index; `None` from [`arch::MAX_DEVICES`] on.
    pub(crate) fn new(index: usize) -> Option<Self> {
        let number = u32::try_from(index).ok()?;
        (index < arch::MAX_DEVICES).then(|| Self {
            address: arch::VIRTIO_MMIO + u64::from(number) * MMIO_STRIDE,
            gsi: arch::FIRST_VIRTIO_GSI + number,
        })
    }

    /// The index of the device that an address would belong to, and the offset into its registers.
    pub(crate) fn at(address: u64) -> Option<(usize, u64)> {
        let offset = address.checked_sub(arch::VIRTIO_MMIO)?;
        let index = usize::try_from(offset / MMIO_STRIDE).ok()?;
        Some((index, offset % MMIO_STRIDE))
    }
}

/// What a vCPU reads or writes outside its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A guest address without memory.
    Memory(u64),
    /// An I/O port, where the architecture has them.
    Port(u16),
}

impl Place {
    /// How far this place is behind `first`; `None` if it is before it, or of the other kind.
    pub(crate) fn offset_from(self, first: Self) -> Option<u64> {
        match (self, first) {
            (Self::Memory(place), Self::Memory(first)) => place.checked_sub(first),
            (Self::Port(place), Self::Port(first)) => place.checked_sub(first).map(u64::from),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_is_found_at_its_own_place() {
        for index in 0..arch::MAX_DEVICES {
            let slot = MmioSlot::new(index).unwrap();
            assert_eq!(MmioSlot::at(slot.address), Some((index, 0)));
            let last = slot.address + MMIO_STRIDE - 1;
            assert_eq!(MmioSlot::at(last), Some((index, MMIO_STRIDE - 1)));
        }
        assert_eq!(MmioSlot::at(arch::VIRTIO_MMIO - 1), None);
        assert!(MmioSlot::new(arch::MAX_DEVICES).is_none());
    }

    #[test]
    fn places_have_offsets_from_those_of_their_kind_before_them() {
        let (memory, port) = (Place::Memory, Place::Port);
        assert_eq!(memory(10).offset_from(memory(10)), Some(0));
        assert_eq!(port(0x3ff).offset_from(port(0x3f8)), Some(7));
        assert_eq!(memory(9).offset_from(memory(10)), None);
        assert_eq!(port(0x3f7).offset_from(port(0x3f8)), None);
        assert_eq!(memory(0x3f8).offset_from(port(0x3f8)), None);
        assert_eq!(port(10).offset_from(memory(10)), None);
    }
}
