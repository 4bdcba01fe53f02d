//! The guest's physical addresses, interrupts and ports.

use vm_memory::GuestAddress;

/// Global descriptor table of the first vCPU, until the kernel makes its own.
pub(super) const GDT: GuestAddress = GuestAddress(0x500);
/// The kernel's `struct boot_params` ("zero page").
pub(super) const BOOT_PARAMS: GuestAddress = GuestAddress(0x7000);
/// Page tables of the first vCPU, three pages, until the kernel makes its own.
pub(super) const PML4: GuestAddress = GuestAddress(0x9000);
/// Kernel command line.
pub(super) const COMMAND_LINE: GuestAddress = GuestAddress(0x20000);
/// Bytes of the command line with its final NUL: the kernel's `COMMAND_LINE_SIZE`.
pub(super) const COMMAND_LINE_SIZE: usize = 2048;
/// Entries of the kernel's `setup_data` list.
pub(super) const SETUP_DATA: GuestAddress = GuestAddress(0x21000);
/// End of the memory below the display's, as a BIOS leaves it to the kernel.
pub(super) const LOW_MEMORY_END: GuestAddress = GuestAddress(0x9fc00);
/// The ACPI tables, in the BIOS's read-only memory.
pub(super) const ACPI_TABLES: GuestAddress = GuestAddress(0xe0000);
/// The MP table, in the 64 KiB where kernels look for one.
pub(super) const MP_TABLE: GuestAddress = GuestAddress(0xf0000);
/// Where memory begins that is wholly the kernel's.
pub(super) const HIGH_MEMORY: GuestAddress = GuestAddress(0x10_0000);

/// Memory ends here and goes on at 4 GiB.
pub(super) const HOLE_START: u64 = 0xc000_0000;
/// Where memory goes on behind the hole.
pub(super) const HOLE_END: u64 = 0x1_0000_0000;

/// The virtio-mmio devices' registers, [`MMIO_STRIDE`](crate::devices::MMIO_STRIDE) bytes a device.
pub(crate) const VIRTIO_MMIO: u64 = 0xd000_0000;
/// The I/O APIC's registers.
pub(super) const IO_APIC: u32 = 0xfec0_0000;
/// The local APICs' registers.
pub(super) const LOCAL_APIC: u32 = 0xfee0_0000;
/// Four pages that KVM needs on Intel's CPUs without unrestricted guest mode.
pub(super) const TSS: u64 = 0xfffb_d000;

/// Interrupt of the first serial port.
pub(crate) const SERIAL_GSI: u32 = 4;
/// First interrupt of the virtio-mmio devices.
pub(crate) const FIRST_VIRTIO_GSI: u32 = 5;
/// Inputs of the I/O APIC.
pub(super) const GSI_COUNT: u32 = 24;

/// The first serial port's registers.
pub(super) const SERIAL_PORT: u16 = 0x3f8;
/// Status and command register of the keyboard controller.
pub(super) const KEYBOARD_COMMAND_PORT: u16 = 0x64;
/// The ACPI sleep control register; the status register follows it.
pub(super) const SLEEP_CONTROL_PORT: u16 = 0x600;
