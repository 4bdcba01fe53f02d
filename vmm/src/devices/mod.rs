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
