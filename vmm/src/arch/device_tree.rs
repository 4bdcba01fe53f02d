//! The parts of a device tree (Devicetree Specification 0.4) that are the same on all architectures
//! whose kernels are told of their machine in this way.

use vm_fdt::{Error, FdtWriter};
use vm_memory::GuestAddress;

use crate::boot::Ramdisk;
use crate::devices::{MMIO_STRIDE, MmioSlot};

/// Runs at the rate of the PC's serial port; nothing depends on it.
const SERIAL_CLOCK: u32 = 1_843_200;

/// What the kernel is told beside the machine (`/chosen`).
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    pub(super) command_line: &'a str,
    pub(super) ramdisk: Ramdisk,
    /// The node of the serial port, which becomes the console.
    pub(super) serial: Option<&'a str>,
    /// For the random number generator.
    pub(super) random_seed: [u8; 32],
    /// For the address that the kernel moves itself to.
    pub(super) address_seed: u64,
}

/// Adds a node, with what `fill` writes into it.
pub(super) fn node(
    tree: &mut FdtWriter,
    name: &str,
    fill: impl FnOnce(&mut FdtWriter) -> Result<(), Error>,
) -> Result<(), Error> {
    let node = tree.begin_node(name)?;
    fill(tree)?;
    tree.end_node(node)
}

/// `/chosen`.
pub(super) fn chosen(tree: &mut FdtWriter, chosen: &Chosen<'_>) -> Result<(), Error> {
    node(tree, "chosen", |tree| {
        tree.property_string("bootargs", chosen.command_line)?;
        if chosen.ramdisk.size > 0 {
            let start = chosen.ramdisk.address.0;
            tree.property_u64("linux,initrd-start", start)?;
            tree.property_u64("linux,initrd-end", start + u64::from(chosen.ramdisk.size))?;
        }
        tree.property("rng-seed", &chosen.random_seed)?;
        tree.property_u64("kaslr-seed", chosen.address_seed)?;
        if let Some(serial) = chosen.serial {
            tree.property_string("stdout-path", &format!("/{serial}"))?;
        }
        Ok(())
    })
}

/// `/memory`.
pub(super) fn memory(tree: &mut FdtWriter, ranges: &[(GuestAddress, u64)]) -> Result<(), Error> {
    let Some((first, _)) = ranges.first() else {
        return Ok(());
    };
    node(tree, &format!("memory@{:x}", first.0), |tree| {
        tree.property_string("device_type", "memory")?;
        let cells: Vec<u64> = ranges
            .iter()
            .flat_map(|(start, size)| [start.0, *size])
            .collect();
        tree.property_array_u64("reg", &cells)
    })
}

/// A virtio device's registers, and its interrupt as the interrupt controller numbers it.
pub(super) fn virtio_mmio(
    tree: &mut FdtWriter,
    slot: &MmioSlot,
    interrupt: &[u32],
) -> Result<(), Error> {
    node(tree, &format!("virtio_mmio@{:x}", slot.address), |tree| {
        tree.property_string("compatible", "virtio,mmio")?;
        tree.property_array_u64("reg", &[slot.address, MMIO_STRIDE])?;
        tree.property_array_u32("interrupts", interrupt)?;
        tree.property_null("dma-coherent")
    })
}

/// The name of the serial port's node.
pub(super) fn serial_name(address: u64) -> String {
    format!("serial@{address:x}")
}

/// The serial port.
pub(super) fn serial(tree: &mut FdtWriter, address: u64, interrupt: &[u32]) -> Result<(), Error> {
    node(tree, &serial_name(address), |tree| {
        tree.property_string("compatible", "ns16550a")?;
        tree.property_array_u64("reg", &[address, 8])?;
        tree.property_u32("clock-frequency", SERIAL_CLOCK)?;
        tree.property_array_u32("interrupts", interrupt)
    })
}
