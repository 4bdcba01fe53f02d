//! The registers' offsets (virtio 1.2, section 4.2.2, table 4.1).

/// Where the device's configuration begins.
const CONFIG: u64 = 0x100;

/// A register of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    Magic,
    Version,
    DeviceId,
    VendorId,
    DeviceFeatures,
    DeviceFeaturesSelect,
    DriverFeatures,
    DriverFeaturesSelect,
    QueueSelect,
    QueueSizeMax,
    QueueSize,
    QueueReady,
    QueueNotify,
    InterruptStatus,
    InterruptAcknowledge,
    Status,
    /// Low (0) or high (1) half of the descriptor table's address.
    QueueDescriptors(u32),
    /// Low (0) or high (1) half of the available ring's address.
    QueueAvailable(u32),
    /// Low (0) or high (1) half of the used ring's address.
    QueueUsed(u32),
    SharedMemory,
    ConfigGeneration,
}

/// Offset of the notification register, which the host's kernel answers itself.
pub(crate) const QUEUE_NOTIFY: u64 = 0x50;
/// Offsets of the interrupt registers.
pub(crate) const INTERRUPT_STATUS: u64 = 0x60;
pub(crate) const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;

impl Register {
    /// The register at an offset; `None` between registers and where nothing is.
    pub(super) fn at(offset: u64) -> Option<Self> {
        Some(match offset {
            0x00 => Self::Magic,
            0x04 => Self::Version,
            0x08 => Self::DeviceId,
            0x0c => Self::VendorId,
            0x10 => Self::DeviceFeatures,
            0x14 => Self::DeviceFeaturesSelect,
            0x20 => Self::DriverFeatures,
            0x24 => Self::DriverFeaturesSelect,
            0x30 => Self::QueueSelect,
            0x34 => Self::QueueSizeMax,
            0x38 => Self::QueueSize,
            0x44 => Self::QueueReady,
            QUEUE_NOTIFY => Self::QueueNotify,
            INTERRUPT_STATUS => Self::InterruptStatus,
            INTERRUPT_ACKNOWLEDGE => Self::InterruptAcknowledge,
            0x70 => Self::Status,
            0x80 => Self::QueueDescriptors(0),
            0x84 => Self::QueueDescriptors(1),
            0x90 => Self::QueueAvailable(0),
            0x94 => Self::QueueAvailable(1),
            0xa0 => Self::QueueUsed(0),
            0xa4 => Self::QueueUsed(1),
            0xb0 | 0xb4 | 0xb8 | 0xbc => Self::SharedMemory,
            0xfc => Self::ConfigGeneration,
            _ => return None,
        })
    }
}

/// The offset into the device's configuration, if it is one.
pub(super) fn config_offset(offset: u64) -> Option<u64> {
    offset.checked_sub(CONFIG)
}
