//! What a virtual machine is made of.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::arch;

/// A guest's architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM, little-endian.
    Aarch64,
}

impl Arch {
    /// The host's, which this program is compiled for.
    pub const HOST: Self = arch::HOST;
}

/// One virtual machine. Descriptors in it belong to the machine and are closed with it.
#[derive(Debug)]
pub struct VmConfig {
    /// What the kernel is for. The `kvm` backend runs the host's only.
    pub arch: Arch,
    /// Number of vCPUs, at least one.
    pub vcpus: u8,
    /// Guest memory in bytes, a multiple of 4096.
    pub memory: u64,
    /// The kernel: an ELF vmlinux on x86_64 (QEMU needs its PVH note), an Image on aarch64.
    pub kernel: PathBuf,
    /// The initramfs: its parts are put one after the other, each padded to 4 bytes.
    pub initramfs: Vec<InitramfsPart>,
    /// Starts the kernel at random addresses (KASLR), if it can be moved: on x86_64 by the relocations behind
    /// its ELF file, physical and its own addresses. An arm64 Image is put at a random physical address, and
    /// chooses its own by the device tree's seed unless the command line says `nokaslr`.
    pub kaslr: bool,
    /// The kernel's command line, without what a backend adds to describe its own devices.
    pub command_line: String,
    /// How the kernel finds virtio-mmio devices.
    pub discovery: Discovery,
    /// Disks, in the order the guest should see them.
    pub disks: Vec<Disk>,
    /// Ports of the one virtio-console device, numbered from 0 in this order.
    pub ports: Vec<Port>,
    /// A balloon device, by which memory that the guest frees goes back to the host.
    pub balloon: bool,
    /// Gets every byte that the guest writes to its serial port; no serial port without it.
    pub serial: Option<OwnedFd>,
    /// Confine what runs the machine to what it needs. `false` is for debugging only: whoever breaks
    /// out of the guest then is the user who started it.
    pub sandbox: bool,
    /// Count what the machine does as far as that costs something, for
    /// [`Machine::stats`](crate::Machine::stats).
    pub stats: bool,
}

/// A part of the initramfs.
#[derive(Debug)]
pub enum InitramfsPart {
    /// The contents of a file.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// How the guest's kernel learns of virtio-mmio devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// ACPI tables (x86_64; `LNRO0005` devices in the DSDT). Costs boot time, but every
    /// distribution's kernel has it.
    Acpi,
    /// `virtio_mmio.device=` on the command line (x86_64, `CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES`).
    CommandLine,
    /// The flattened device tree (aarch64).
    DeviceTree,
}

/// A virtio block device over a raw image file, which is never written to.
#[derive(Debug)]
pub struct Disk {
    /// The image, a whole number of 512-byte sectors.
    pub path: PathBuf,
    /// The device's serial number, at most 20 bytes of printable ASCII.
    pub serial: String,
    /// Where the guest's writes go.
    pub writes: Writes,
}

/// What happens to a guest's writes to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writes {
    /// The device is read-only.
    Refused,
    /// Kept in memory, private to this machine, and lost with it.
    InMemory,
    /// Kept in a sparse file without a name, private to this machine, and lost with it. When there is
    /// no room for it, the guest's writes fail.
    InFile {
        /// The folder, on a file system with enough room.
        folder: PathBuf,
    },
}

/// A named port of the virtio-console device (virtio 1.2, section 5.3).
#[derive(Debug)]
pub struct Port {
    /// The name the guest sees.
    pub name: String,
    /// The machine's end of a connected pair: what the guest writes comes out of the other end,
    /// and the other way round. When it blocks, so does the guest's port, and nothing is buffered
    /// beyond it.
    pub stream: UnixStream,
}
