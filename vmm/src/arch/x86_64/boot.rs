//! Loading Linux by its 64-bit boot protocol (`Documentation/arch/x86/boot.rst`).

use linux_loader::loader::bootparam::{SETUP_RNG_SEED, boot_e820_entry, boot_params};
use linux_loader::loader::{Elf, KernelLoader};
use vm_memory::{ByteValued, GuestAddress, GuestMemoryBackend};

use super::{Chipset, acpi, layout, memory_ranges, mptable};
use crate::backend::StartError;
use crate::boot::{self, Ramdisk, write};
use crate::config::{Discovery, VmConfig};
use crate::devices::{MMIO_STRIDE, MmioSlot};
use crate::memory::GuestRam;
use crate::vmlinux::{self, Vmlinux};

const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// In `loadflags`: the kernel was moved, and is to choose the places of its other memory at random too.
const KASLR_FLAG: u8 = 1 << 1;
/// The size of the kernel's own part of its address space (`KERNEL_IMAGE_SIZE`).
const KERNEL_ADDRESSES: u64 = 1 << 30;

/// Where and how the first vCPU starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The kernel's 64-bit entry point.
    pub(super) address: GuestAddress,
}

/// What is in guest memory before there is a machine.
#[derive(Debug)]
pub(crate) struct Loaded {
    entry: GuestAddress,
    moved: bool,
    ramdisk: Ramdisk,
}

/// Puts kernel and initramfs into guest memory.
///
/// # Errors
/// If the kernel is none, or memory is too small.
pub(crate) fn load(memory: &GuestRam, config: &VmConfig) -> Result<Loaded, StartError> {
    let mut kernel = Vmlinux::open(&config.kernel, config.kaslr)?;
    let low_memory = config.memory.min(layout::HOLE_START);
    let ramdisk = boot::load_initramfs(memory, config, kernel.range().end..low_memory)?;
    let entry = load_kernel(memory, config, &mut kernel, ramdisk.address.0)?;
    Ok(Loaded {
        entry,
        moved: kernel.moves(),
        ramdisk,
    })
}

/// Puts command line and description of the machine into guest memory.
///
/// # Errors
/// If the command line is too long.
pub(crate) fn describe(
    memory: &GuestRam,
    config: &VmConfig,
    devices: &[MmioSlot],
    _chipset: &Chipset,
    kernel: &Loaded,
) -> Result<Entry, StartError> {
    let ramdisk = kernel.ramdisk;
    let command_line = command_line(config, devices)?;
    // Memory is zero: the final NUL is there.
    write(memory, command_line.as_bytes(), layout::COMMAND_LINE)?;
    let seed = rng_seed()?;
    write(memory, &seed, layout::SETUP_DATA)?;

    let mut params = boot_params::default();
    params.hdr.boot_flag = 0xaa55;
    params.hdr.header = u32::from_le_bytes(*b"HdrS");
    params.hdr.type_of_loader = 0xff;
    if kernel.moved {
        params.hdr.loadflags |= KASLR_FLAG;
    }
    params.hdr.cmd_line_ptr = low_address(layout::COMMAND_LINE);
    params.hdr.cmdline_size = u32::try_from(command_line.len()).unwrap_or(u32::MAX);
    params.hdr.setup_data = layout::SETUP_DATA.0;
    params.hdr.ramdisk_image = low_address(ramdisk.address);
    params.hdr.ramdisk_size = ramdisk.size;

    let map = e820(config.memory);
    for (entry, slot) in map.iter().zip(&mut params.e820_table) {
        *slot = *entry;
    }
    params.e820_entries = u8::try_from(map.len()).unwrap_or(u8::MAX);

    match config.discovery {
        Discovery::Acpi => {
            let tables = acpi::tables(config.vcpus, devices, config.serial.is_some());
            write(memory, &tables.bytes, layout::ACPI_TABLES)?;
            params.acpi_rsdp_addr = tables.rsdp.0;
        }
        Discovery::CommandLine => {
            write(memory, &mptable::table(config.vcpus), layout::MP_TABLE)?;
        }
        Discovery::DeviceTree => {
            return Err(StartError::Config(
                "Device tree discovery is not for x86_64".into(),
            ));
        }
    }
    write(memory, params.as_slice(), layout::BOOT_PARAMS)?;
    Ok(Entry {
        address: kernel.entry,
    })
}

/// Loads the kernel as [`load`] does, and nothing else.
#[cfg(feature = "fuzzing")]
pub(crate) fn load_kernel_only(
    memory: &GuestRam,
    config: &VmConfig,
) -> Result<GuestAddress, StartError> {
    let mut kernel = Vmlinux::open(&config.kernel, config.kaslr)?;
    load_kernel(memory, config, &mut kernel, config.memory)
}

/// Loads the kernel below `end`, and gives its entry point.
fn load_kernel(
    memory: &GuestRam,
    config: &VmConfig,
    kernel: &mut Vmlinux,
    end: u64,
) -> Result<GuestAddress, StartError> {
    let physical = kernel.random_distance(end.min(vmlinux::PHYSICAL_END))?;
    // No offset at all leaves the loader's own checks of the addresses in force.
    let offset = kernel.moves().then_some(GuestAddress(physical));
    let loaded =
        Elf::load(memory, offset, kernel.file(), Some(layout::HIGH_MEMORY)).map_err(|error| {
            let reason = format!("it is not an ELF vmlinux or does not fit ({error})");
            boot::cannot_load(config, &reason)
        })?;
    if kernel.moves() {
        let range = kernel.range();
        let image = usize::try_from(range.end - range.start)
            .ok()
            .and_then(|size| {
                memory
                    .get_slice(GuestAddress(range.start + physical), size)
                    .ok()
            })
            .ok_or_else(|| boot::cannot_load(config, "it does not fit"))?;
        let distance = kernel.random_distance(KERNEL_ADDRESSES)?;
        let offset = |place: u64| place.checked_sub(range.start);
        kernel.relocate(&image, offset, distance)?;
    }
    boot::check_entry(memory, config, loaded.kernel_load)
}

/// The kernel's command line.
fn command_line(config: &VmConfig, devices: &[MmioSlot]) -> Result<String, StartError> {
    let mut line = config.command_line.clone();
    if config.discovery == Discovery::CommandLine {
        for slot in devices {
            line.push_str(&format!(
                " virtio_mmio.device={}K@{:#x}:{}",
                MMIO_STRIDE >> 10,
                slot.address,
                slot.gsi
            ));
        }
    }
    boot::check_command_line(line, layout::COMMAND_LINE_SIZE)
}

/// `struct setup_data` with a seed for the kernel's random number generator.
fn rng_seed() -> Result<Vec<u8>, StartError> {
    const SEED_SIZE: u32 = 32;
    let seed: [u8; SEED_SIZE as usize] = boot::seed()?;
    let mut entry = Vec::new();
    entry.extend_from_slice(&0_u64.to_le_bytes()); // no next one
    entry.extend_from_slice(&SETUP_RNG_SEED.to_le_bytes());
    entry.extend_from_slice(&SEED_SIZE.to_le_bytes());
    entry.extend_from_slice(&seed);
    Ok(entry)
}

fn e820(memory: u64) -> Vec<boot_e820_entry> {
    let entry = |start: u64, end: u64, r#type| boot_e820_entry {
        addr: start,
        size: end - start,
        r#type,
    };
    let mut map = vec![
        entry(0, layout::LOW_MEMORY_END.0, E820_RAM),
        entry(
            layout::LOW_MEMORY_END.0,
            layout::HIGH_MEMORY.0,
            E820_RESERVED,
        ),
    ];
    for (start, size) in memory_ranges(memory) {
        map.push(entry(
            start.0.max(layout::HIGH_MEMORY.0),
            start.0 + size,
            E820_RAM,
        ));
    }
    map
}

fn low_address(address: GuestAddress) -> u32 {
    u32::try_from(address.0).unwrap_or(u32::MAX)
}
