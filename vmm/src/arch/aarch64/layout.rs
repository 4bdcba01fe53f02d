//! The guest's physical addresses and interrupts.

use vm_memory::GuestAddress;

/// Registers of the GIC's distributor, 64 KiB (GICv3) or 4 KiB (GICv2).
pub(super) const GIC_DISTRIBUTOR: u64 = 0x0800_0000;
/// Registers of the GICv2's CPU interface, 8 KiB.
pub(super) const GIC_CPU_INTERFACE: u64 = 0x0801_0000;
/// The serial port's registers.
pub(super) const SERIAL: u64 = 0x0900_0000;
/// The real-time clock's registers.
pub(super) const CLOCK: u64 = 0x0901_0000;
/// Bytes of them.
pub(super) const CLOCK_SIZE: u64 = 0x1000;
/// The virtio-mmio devices' registers, [`MMIO_STRIDE`](crate::devices::MMIO_STRIDE) bytes a device.
pub(crate) const VIRTIO_MMIO: u64 = 0x0a00_0000;
/// Registers of the GICv3's redistributors, 128 KiB a vCPU.
pub(super) const GIC_REDISTRIBUTORS: u64 = 0x1000_0000;
/// Bytes of a redistributor's registers.
pub(super) const GIC_REDISTRIBUTOR_SIZE: u64 = 0x2_0000;

/// Where memory begins.
pub(super) const MEMORY: u64 = 0x4000_0000;
/// The device tree, at the beginning of memory, which the kernel leaves free up to its own.
pub(super) const DEVICE_TREE: GuestAddress = GuestAddress(MEMORY);
/// Bytes that the device tree may have: the boot protocol allows 2 MiB.
pub(super) const DEVICE_TREE_SIZE: u64 = 0x10_0000;
/// `struct pvclock_vcpu_stolen_time` of each vCPU (Arm DEN0057A), 64 bytes each.
pub(super) const STOLEN_TIME: GuestAddress = GuestAddress(MEMORY + DEVICE_TREE_SIZE);
/// Bytes of all of them: a page of 64 KiB, should the guest have such.
pub(super) const STOLEN_TIME_SIZE: u64 = 0x1_0000;
/// The first 2 MiB boundary that the kernel can be loaded at.
pub(super) const KERNEL: GuestAddress = GuestAddress(MEMORY + 0x20_0000);
/// A kernel at a random place is within so many bytes of the beginning of memory, and within its first quarter:
/// the rest stays in one piece, of which kernels want 64 MiB (`CONFIG_CMA_SIZE_MBYTES`).
pub(super) const KASLR_END: u64 = 1 << 30;
/// Kernel and initramfs are within so many bytes of the beginning of memory: the boot protocol
/// wants one window of 32 GiB.
pub(super) const BOOT_WINDOW: u64 = 4 << 30;

/// Bytes of the command line with its final NUL: the kernel's `COMMAND_LINE_SIZE`.
pub(super) const COMMAND_LINE_SIZE: usize = 2048;

/// Interrupts of the GIC: those private to a vCPU, and [`SPI_COUNT`] shared ones. KVM takes
/// multiples of 32.
pub(super) const INTERRUPT_COUNT: u32 = 32 + SPI_COUNT;
/// Shared peripheral interrupts; KVM numbers GSIs as these.
const SPI_COUNT: u32 = 96;
/// Interrupt of the serial port.
pub(crate) const SERIAL_GSI: u32 = 0;
/// First interrupt of the virtio-mmio devices.
pub(crate) const FIRST_VIRTIO_GSI: u32 = 1;

/// The private interrupts of the architected timer: secure, non-secure, virtual, hypervisor (Arm
/// BSA, as KVM has them).
pub(super) const TIMER_PPIS: [u32; 4] = [13, 14, 11, 10];

/// The most virtio-mmio devices: each has an interrupt of its own.
pub(crate) const MAX_DEVICES: usize = (SPI_COUNT - FIRST_VIRTIO_GSI) as usize;

/// The most vCPUs. KVM allows fewer on a host with a GICv2.
pub(crate) const MAX_VCPUS: u8 = 255;

/// The ranges of a guest's memory: one, above the devices.
pub(crate) fn memory_ranges(size: u64) -> Vec<(GuestAddress, u64)> {
    vec![(GuestAddress(MEMORY), size)]
}
