//! Devices.

pub(crate) mod bus;
pub(crate) mod event_loop;
pub(crate) mod serial;
pub(crate) mod virtio;

/// Where a device with memory-mapped registers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MmioSlot {
    /// Guest address of its registers.
    pub(crate) address: u64,
    /// Number of its interrupt line.
    pub(crate) gsi: u32,
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
