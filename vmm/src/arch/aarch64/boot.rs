//! Loading Linux by its boot protocol (`Documentation/arch/arm64/booting.rst`).

use std::fs::File;
use std::os::unix::fs::FileExt;

use linux_loader::loader::{KernelLoader, PE, arm64_image_header};
use vm_memory::{ByteValued, GuestAddress};

use super::caches::Cache;
use super::{Chipset, fdt, layout};
use crate::backend::StartError;
use crate::boot::{self, Ramdisk, write};
use crate::config::{Discovery, VmConfig};
use crate::devices::MmioSlot;
use crate::memory::GuestRam;

/// "ARM\x64", in an Image's header.
const MAGIC: u32 = 0x644d_5241;
/// In an Image's flags: its base may be anywhere in memory (bit 3, since Linux 4.6).
const ANYWHERE: u64 = 1 << 3;
/// Images are loaded at multiples of this.
const ALIGNMENT: u64 = 2 << 20;

/// Where and how the first vCPU starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The Image's first byte.
    pub(super) address: GuestAddress,
    /// What it gets in its first register.
    pub(super) device_tree: GuestAddress,
}

/// What is in guest memory before there is a machine.
#[derive(Debug)]
pub(crate) struct Loaded {
    address: GuestAddress,
    ramdisk: Ramdisk,
}

/// Puts kernel and initramfs into guest memory.
///
/// # Errors
/// If the kernel is none, or memory is too small.
pub(crate) fn load(memory: &GuestRam, config: &VmConfig) -> Result<Loaded, StartError> {
    if config.discovery != Discovery::DeviceTree {
        return Err(StartError::Config(
            "Devices are found by the device tree only on aarch64".into(),
        ));
    }
    let mut file = boot::open_kernel(&config.kernel)?;
    let image = Image::of(&file, config)?;
    let kernel_end = layout::KERNEL.0.saturating_add(image.size);
    let window = layout::MEMORY + config.memory.min(layout::BOOT_WINDOW);
    let ramdisk = boot::load_initramfs(memory, config, kernel_end..window)?;
    let distance = if config.kaslr && image.runs_anywhere {
        let end = layout::KASLR_END.min(config.memory / 4) + layout::MEMORY;
        let room = end.min(ramdisk.address.0).saturating_sub(kernel_end);
        boot::random_distance(room, ALIGNMENT)?
    } else {
        0
    };
    let address = load_kernel(memory, config, &mut file, layout::KERNEL.0 + distance)?;
    Ok(Loaded { address, ramdisk })
}

/// Puts the device tree, which describes the machine, into guest memory.
///
/// # Errors
/// If the command line is too long.
pub(crate) fn describe(
    memory: &GuestRam,
    config: &VmConfig,
    devices: &[MmioSlot],
    chipset: &Chipset,
    kernel: &Loaded,
) -> Result<Entry, StartError> {
    let tree = fdt::tree(&fdt::Description {
        command_line: &boot::check_command_line(
            config.command_line.clone(),
            layout::COMMAND_LINE_SIZE,
        )?,
        memory: config.memory,
        ramdisk: kernel.ramdisk,
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
        address: kernel.address,
        device_tree: layout::DEVICE_TREE,
    })
}

/// What an Image says of itself.
#[derive(Clone, Copy, Debug)]
struct Image {
    /// Bytes from the base that it is loaded at to the end of what it takes, which is behind the file's
    /// end.
    size: u64,
    /// It runs at any base, and uses the memory below as well.
    runs_anywhere: bool,
}

impl Image {
    fn of(file: &File, config: &VmConfig) -> Result<Self, StartError> {
        let mut header = arm64_image_header::default();
        file.read_exact_at(header.as_mut_slice(), 0)
            .map_err(|error| boot::cannot_load(config, &error.to_string()))?;
        if u32::from_le(header.magic) != MAGIC {
            return Err(boot::cannot_load(config, "it is not an arm64 Image"));
        }
        let offset = u64::from_le(header.text_offset);
        Ok(Self {
            size: offset.saturating_add(u64::from_le(header.image_size)),
            runs_anywhere: u64::from_le(header.flags) & ANYWHERE != 0,
        })
    }
}

/// Loads the kernel as [`load`] does, and nothing else.
#[cfg(feature = "fuzzing")]
pub(crate) fn load_kernel_only(
    memory: &GuestRam,
    config: &VmConfig,
) -> Result<GuestAddress, StartError> {
    let mut file = boot::open_kernel(&config.kernel)?;
    Image::of(&file, config)?;
    load_kernel(memory, config, &mut file, layout::KERNEL.0)
}

/// Loads the Image to `base`, a multiple of [`ALIGNMENT`]. Gives its first instruction.
fn load_kernel(
    memory: &GuestRam,
    config: &VmConfig,
    file: &mut File,
    base: u64,
) -> Result<GuestAddress, StartError> {
    let kernel = PE::load(memory, Some(GuestAddress(base)), file, None).map_err(|error| {
        let reason = format!("it is not an arm64 Image or does not fit ({error})");
        boot::cannot_load(config, &reason)
    })?;
    boot::check_entry(memory, config, kernel.kernel_load)
}
