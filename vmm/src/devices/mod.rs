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
