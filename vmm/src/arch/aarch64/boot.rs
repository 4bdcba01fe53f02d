//! Loading Linux by its boot protocol (`Documentation/arch/arm64/booting.rst`).

use linux_loader::loader::{KernelLoader, PE};
use vm_memory::{Bytes, GuestAddress};

use super::caches::Cache;
use super::{Chipset, fdt, layout};
use crate::backend::StartError;
use crate::boot::{self, write};
use crate::config::{Discovery, VmConfig};
use crate::devices::MmioSlot;
use crate::memory::GuestRam;

/// Where an Image says how much memory it takes from its beginning.
const IMAGE_SIZE: u64 = 16;

/// Where and how the first vCPU starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The Image's first byte.
    pub(super) address: GuestAddress,
    /// What it gets in its first register.
    pub(super) device_tree: GuestAddress,
}

/// Puts kernel, initramfs and device tree into guest memory.
///
/// # Errors
/// If the kernel is none, or memory is too small.
pub(crate) fn load(
    memory: &GuestRam,
    config: &VmConfig,
    devices: &[MmioSlot],
    chipset: &Chipset,
) -> Result<Entry, StartError> {
    if config.discovery != Discovery::DeviceTree {
        return Err(StartError::Config(
            "Devices are found by the device tree only on aarch64".into(),
        ));
    }
    let (address, kernel_end) = load_kernel(memory, config)?;
    let window = layout::MEMORY + config.memory.min(layout::BOOT_WINDOW);
    let ramdisk = boot::load_initramfs(memory, config, kernel_end..window)?;
    let tree = fdt::tree(&fdt::Description {
        command_line: &boot::check_command_line(
            config.command_line.clone(),
            layout::COMMAND_LINE_SIZE,
        )?,
        memory: config.memory,
        ramdisk,
        affinities: &chipset.affinities,
        caches: &Cache::of_host(),
        gic: chipset.version,
        devices,
        serial: config.serial.is_some(),
        random_seed: boot::seed()?,
        address_seed: u64::from_le_bytes(boot::seed()?),
    })
    .map_err(|error| StartError::Config(format!("Cannot describe the machine: {error}")))?;
    write(memory, &tree, layout::DEVICE_TREE)?;
    Ok(Entry {
        address,
        device_tree: layout::DEVICE_TREE,
    })
}

/// Loads the Image. Returns where it is and where what it takes ends, which is behind the file's end.
fn load_kernel(memory: &GuestRam, config: &VmConfig) -> Result<(GuestAddress, u64), StartError> {
    let mut file = boot::open_kernel(&config.kernel)?;
    let kernel = PE::load(memory, Some(layout::KERNEL), &mut file, None).map_err(|error| {
        let reason = format!("it is not an arm64 Image or does not fit ({error})");
        boot::cannot_load(config, &reason)
    })?;
    let address = boot::check_entry(memory, config, kernel.kernel_load)?;
    let size: u64 = memory
        .read_obj(GuestAddress(address.0 + IMAGE_SIZE))
        .map_err(|error| boot::cannot_load(config, &error.to_string()))?;
    let end = address
        .0
        .saturating_add(u64::from_le(size))
        .max(kernel.kernel_end);
    Ok((address, end))
}
