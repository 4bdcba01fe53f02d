//! The drivers a guest needs, or may need, from its kernel.

/// A driver, by the names it goes by in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Its module's name, with underscores.
    pub module: &'static str,
    /// The option that builds it.
    pub option: &'static str,
    /// What it is for, in a few words.
    pub purpose: &'static str,
    /// When it is needed.
    pub need: Need,
}

/// When a guest needs a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Always: a kernel without it is of no use.
    Always,
    /// Loaded where the kernel has it.
    IfPresent,
    /// For one feature only: stored, but not loaded at boot.
    Feature,
}

const fn driver(
    module: &'static str,
    option: &'static str,
    purpose: &'static str,
    need: Need,
) -> Driver {
    Driver {
        module,
        option,
        purpose,
        need,
    }
}

/// All of them, in the order they are loaded.
pub(crate) const DRIVERS: &[Driver] = &[
    driver(
        "virtio_mmio",
        "CONFIG_VIRTIO_MMIO",
        "finding devices",
        Need::Always,
    ),
    driver("virtio_blk", "CONFIG_VIRTIO_BLK", "disks", Need::Always),
    driver(
        "ext4",
        "CONFIG_EXT4_FS",
        "the root file system",
        Need::Always,
    ),
    driver(
        "virtio_console",
        "CONFIG_VIRTIO_CONSOLE",
        "standard streams",
        Need::Always,
    ),
    driver(
        "virtio_rng",
        "CONFIG_HW_RANDOM_VIRTIO",
        "entropy",
        Need::IfPresent,
    ),
    driver(
        "virtio_balloon",
        "CONFIG_VIRTIO_BALLOON",
        "giving memory back",
        Need::Feature,
    ),
    driver("virtio_net", "CONFIG_VIRTIO_NET", "network", Need::Feature),
    driver(
        "af_packet",
        "CONFIG_PACKET",
        "raw network sockets",
        Need::Feature,
    ),
    driver(
        "vmw_vsock_virtio_transport",
        "CONFIG_VIRTIO_VSOCKETS",
        "sockets to the host",
        Need::Feature,
    ),
    driver(
        "virtiofs",
        "CONFIG_VIRTIO_FS",
        "shared folders",
        Need::Feature,
    ),
    driver(
        "fuse",
        "CONFIG_FUSE_FS",
        "file systems in user space",
        Need::Feature,
    ),
    driver(
        "overlay",
        "CONFIG_OVERLAY_FS",
        "overlay mounts",
        Need::Feature,
    ),
    driver(
        "binfmt_misc",
        "CONFIG_BINFMT_MISC",
        "programs of other architectures",
        Need::Feature,
    ),
    driver(
        "virtio_pci",
        "CONFIG_VIRTIO_PCI",
        "devices on PCI",
        Need::Feature,
    ),
];
