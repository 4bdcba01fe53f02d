//! The device tree of a machine (Linux's `Documentation/devicetree/bindings/`, `arm/cpus.yaml`,
//! `cpu/cpu-topology.txt`, `interrupt-controller/arm,gic*.yaml`, `timer/arm,arch_timer.yaml`,
//! `rtc/arm,pl031.yaml`, `clock/fixed-clock.yaml`).

use vm_fdt::{Error, FdtReserveEntry, FdtWriter};

use super::caches::{Cache, Kind};
use super::gic::GicVersion;
use super::layout;
use crate::arch::device_tree::{self, Chosen, node};
use crate::boot::Ramdisk;
use crate::devices::MmioSlot;

const GIC: u32 = 1;
const SHARED_CACHE: u32 = 2;
const PERIPHERAL_CLOCK: u32 = 3;
const FIRST_PRIVATE_CACHE: u32 = 0x1000;
const FIRST_CPU: u32 = 0x2000;

/// In hertz, as other machines have it; nothing depends on it.
const PERIPHERAL_CLOCK_RATE: u32 = 24_000_000;

/// The level from which on a cache is one for all CPUs.
const SHARED_LEVEL: u32 = 3;

// An interrupt's cells: its kind, its number, how it is signalled.
const SPI: u32 = 0;
const PPI: u32 = 1;
const EDGE_RISING: u32 = 1;
const LEVEL_HIGH: u32 = 4;

/// What a device tree is made of.
#[derive(Debug)]
pub(super) struct Description<'a> {
    pub(super) command_line: &'a str,
    /// Bytes.
    pub(super) memory: u64,
    pub(super) ramdisk: Ramdisk,
    /// Affinity fields of each CPU's `MPIDR_EL1`.
    pub(super) affinities: &'a [u64],
    pub(super) caches: &'a [Cache],
    pub(super) gic: GicVersion,
    pub(super) devices: &'a [MmioSlot],
    pub(super) serial: bool,
    pub(super) random_seed: [u8; 32],
    pub(super) address_seed: u64,
}

/// The tree as the kernel takes it, at most [`layout::DEVICE_TREE_SIZE`] bytes.
pub(super) fn tree(machine: &Description<'_>) -> Result<Vec<u8>, Error> {
    let stolen_time = FdtReserveEntry::new(layout::STOLEN_TIME.0, layout::STOLEN_TIME_SIZE)?;
    let mut tree = FdtWriter::new_with_mem_reserv(&[stolen_time])?;
    let root = tree.begin_node("")?;
    tree.property_string("compatible", "linux,dummy-virt")?;
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 2)?;
    tree.property_u32("interrupt-parent", GIC)?;
    let serial = device_tree::serial_name(layout::SERIAL);
    let chosen = Chosen {
        command_line: machine.command_line,
        ramdisk: machine.ramdisk,
        serial: machine.serial.then_some(serial.as_str()),
        random_seed: machine.random_seed,
        address_seed: machine.address_seed,
    };
    device_tree::chosen(&mut tree, &chosen)?;
    device_tree::memory(&mut tree, &super::memory_ranges(machine.memory))?;
    node(&mut tree, "cpus", |tree| cpus(tree, machine))?;
    node(&mut tree, "psci", |tree| {
        let versions = ["arm,psci-1.0", "arm,psci-0.2"];
        tree.property_string_list("compatible", versions.map(str::to_owned).into())?;
        tree.property_string("method", "hvc")
    })?;
    gic(&mut tree, machine)?;
    timer(&mut tree, machine)?;
    clock(&mut tree)?;
    if machine.serial {
        let interrupt = [SPI, layout::SERIAL_GSI, EDGE_RISING];
        device_tree::serial(&mut tree, layout::SERIAL, &interrupt)?;
    }
    for slot in machine.devices {
        let interrupt = [SPI, slot.gsi, EDGE_RISING];
        device_tree::virtio_mmio(&mut tree, slot, &interrupt)?;
    }
    tree.end_node(root)?;
    tree.finish()
}

/// The CPUs, cores of one package.
fn cpus(tree: &mut FdtWriter, machine: &Description<'_>) -> Result<(), Error> {
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 0)?;
    node(tree, "cpu-map", |tree| {
        node(tree, "socket0", |tree| {
            node(tree, "cluster0", |tree| {
                for (index, _) in (0..).zip(machine.affinities) {
                    node(tree, &format!("core{index}"), |tree| {
                        tree.property_u32("cpu", FIRST_CPU + index)
                    })?;
                }
                Ok(())
            })
        })
    })?;
    for (index, &affinity) in (0..).zip(machine.affinities) {
        node(tree, &format!("cpu@{affinity:x}"), |tree| {
            tree.property_string("device_type", "cpu")?;
            tree.property_string("compatible", "arm,armv8")?;
            tree.property_string("enable-method", "psci")?;
            tree.property_u64("reg", affinity)?;
            tree.property_phandle(FIRST_CPU + index)?;
            private_caches(tree, machine.caches, index)
        })?;
    }
    if let Some(cache) = shared_cache(machine.caches) {
        node(tree, "l3-cache", |tree| {
            cache_node(tree, cache)?;
            tree.property_phandle(SHARED_CACHE)
        })?;
    }
    Ok(())
}

/// In a CPU's node: its caches, and the way to the one that it shares.
fn private_caches(tree: &mut FdtWriter, caches: &[Cache], index: u32) -> Result<(), Error> {
    for cache in caches.iter().filter(|cache| cache.level == 1) {
        cache_properties(tree, cache)?;
    }
    let second = caches
        .iter()
        .find(|cache| cache.level == 2 && cache.kind == Kind::Unified);
    let shared = shared_cache(caches).map(|_| SHARED_CACHE);
    let Some(second) = second else {
        return next_level(tree, shared);
    };
    let phandle = FIRST_PRIVATE_CACHE + index;
    next_level(tree, Some(phandle))?;
    node(tree, "l2-cache", |tree| {
        cache_node(tree, second)?;
        tree.property_phandle(phandle)?;
        next_level(tree, shared)
    })
}

fn next_level(tree: &mut FdtWriter, phandle: Option<u32>) -> Result<(), Error> {
    phandle.map_or(Ok(()), |phandle| {
        tree.property_u32("next-level-cache", phandle)
    })
}

fn shared_cache(caches: &[Cache]) -> Option<&Cache> {
    caches
        .iter()
        .find(|cache| cache.level == SHARED_LEVEL && cache.kind == Kind::Unified)
}

fn cache_node(tree: &mut FdtWriter, cache: &Cache) -> Result<(), Error> {
    tree.property_string("compatible", "cache")?;
    tree.property_u32("cache-level", cache.level)?;
    tree.property_null("cache-unified")?;
    cache_properties(tree, cache)
}

fn cache_properties(tree: &mut FdtWriter, cache: &Cache) -> Result<(), Error> {
    let prefix = match cache.kind {
        Kind::Data => "d-cache",
        Kind::Instruction => "i-cache",
        Kind::Unified => "cache",
    };
    tree.property_u32(&format!("{prefix}-size"), cache.size)?;
    tree.property_u32(&format!("{prefix}-line-size"), cache.line)?;
    tree.property_u32(&format!("{prefix}-sets"), cache.sets)
}

fn gic(tree: &mut FdtWriter, machine: &Description<'_>) -> Result<(), Error> {
    let name = format!("interrupt-controller@{:x}", layout::GIC_DISTRIBUTOR);
    let vcpus = u64::try_from(machine.affinities.len()).unwrap_or(u64::MAX);
    let (compatible, registers) = match machine.gic {
        GicVersion::V3 => (
            "arm,gic-v3",
            [
                (layout::GIC_DISTRIBUTOR, 0x1_0000),
                (
                    layout::GIC_REDISTRIBUTORS,
                    layout::GIC_REDISTRIBUTOR_SIZE * vcpus,
                ),
            ],
        ),
        GicVersion::V2 => (
            "arm,cortex-a15-gic",
            [
                (layout::GIC_DISTRIBUTOR, 0x1000),
                (layout::GIC_CPU_INTERFACE, 0x2000),
            ],
        ),
    };
    node(tree, &name, |tree| {
        tree.property_string("compatible", compatible)?;
        tree.property_null("interrupt-controller")?;
        tree.property_u32("#interrupt-cells", 3)?;
        let cells: Vec<u64> = registers
            .iter()
            .flat_map(|&(address, size)| [address, size])
            .collect();
        tree.property_array_u64("reg", &cells)?;
        tree.property_phandle(GIC)
    })
}

fn timer(tree: &mut FdtWriter, machine: &Description<'_>) -> Result<(), Error> {
    // A GICv2 is told which CPUs a private interrupt is for.
    let cpus = match machine.gic {
        GicVersion::V3 => 0,
        GicVersion::V2 => ((1 << machine.affinities.len().min(8)) - 1) << 8,
    };
    node(tree, "timer", |tree| {
        tree.property_string("compatible", "arm,armv8-timer")?;
        tree.property_null("always-on")?;
        let cells: Vec<u32> = layout::TIMER_PPIS
            .iter()
            .flat_map(|&number| [PPI, number, cpus | LEVEL_HIGH])
            .collect();
        tree.property_array_u32("interrupts", &cells)
    })
}

/// The real-time clock, without its alarm: nobody sleeps here.
fn clock(tree: &mut FdtWriter) -> Result<(), Error> {
    node(tree, "apb-pclk", |tree| {
        tree.property_string("compatible", "fixed-clock")?;
        tree.property_u32("#clock-cells", 0)?;
        tree.property_u32("clock-frequency", PERIPHERAL_CLOCK_RATE)?;
        tree.property_phandle(PERIPHERAL_CLOCK)
    })?;
    node(tree, &format!("rtc@{:x}", layout::CLOCK), |tree| {
        let kinds = ["arm,pl031", "arm,primecell"];
        tree.property_string_list("compatible", kinds.map(str::to_owned).into())?;
        tree.property_array_u64("reg", &[layout::CLOCK, layout::CLOCK_SIZE])?;
        tree.property_u32("clocks", PERIPHERAL_CLOCK)?;
        tree.property_string("clock-names", "apb_pclk")
    })
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestAddress;

    use super::*;
    use crate::arch::{MAX_DEVICES, MAX_VCPUS};

    fn cache(level: u32, kind: Kind) -> Cache {
        Cache {
            level,
            kind,
            size: 32 << 10,
            line: 64,
            sets: 256,
        }
    }

    fn described(vcpus: u64, devices: usize, gic: GicVersion) -> Vec<u8> {
        let affinities: Vec<_> = (0..vcpus).map(|id| id & 0xf | (id >> 4) << 8).collect();
        let slots: Vec<_> = (0..devices).map(|i| MmioSlot::new(i).unwrap()).collect();
        tree(&Description {
            command_line: "quiet panic=-1",
            memory: 512 << 20,
            ramdisk: Ramdisk {
                address: GuestAddress(0x5000_0000),
                size: 0x1234,
            },
            affinities: &affinities,
            caches: &[
                cache(1, Kind::Data),
                cache(1, Kind::Instruction),
                cache(2, Kind::Unified),
                cache(3, Kind::Unified),
            ],
            gic,
            devices: &slots,
            serial: true,
            random_seed: [7; 32],
            address_seed: 9,
        })
        .unwrap()
    }

    fn contains(tree: &[u8], text: &str) -> bool {
        let mut text = text.as_bytes().to_vec();
        text.push(0);
        tree.windows(text.len()).any(|window| window == text)
    }

    #[test]
    fn the_largest_machine_fits() {
        let largest = described(MAX_VCPUS.into(), MAX_DEVICES, GicVersion::V3);
        assert!(u64::try_from(largest.len()).unwrap() <= layout::DEVICE_TREE_SIZE);
    }

    #[test]
    fn says_what_the_machine_has() {
        let tree = described(18, 2, GicVersion::V3);
        for text in [
            "quiet panic=-1",
            "memory@40000000",
            "cpu@0",
            "cpu@f",
            "cpu@101",
            "core17",
            "arm,gic-v3",
            "virtio_mmio@a000000",
            "virtio_mmio@a001000",
            "ns16550a",
            "/serial@9000000",
            "l3-cache",
            "rtc@9010000",
        ] {
            assert!(contains(&tree, text), "{text}");
        }
        for text in ["cpu@10", "virtio_mmio@a002000", "arm,cortex-a15-gic"] {
            assert!(!contains(&tree, text), "{text}");
        }
        assert!(contains(
            &described(1, 0, GicVersion::V2),
            "arm,cortex-a15-gic"
        ));
    }
}
