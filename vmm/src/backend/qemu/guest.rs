//! What QEMU makes of a guest's architecture.

use super::Accelerator;
use crate::arch;
use crate::config::{Arch, Discovery};

/// QEMU's options that depend on the guest's architecture.
#[derive(Debug)]
pub(super) struct MachineOptions {
    /// For `-machine`.
    pub(super) machine: String,
    /// For `-cpu`.
    pub(super) cpu: &'static str,
    /// What the kernel has to be told about this machine.
    pub(super) kernel_arguments: Vec<String>,
}

impl Arch {
    /// QEMU's program for such guests.
    pub(super) fn qemu(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
        }
    }
}

/// The smallest machine that the kernel boots on.
pub(super) fn machine(
    guest: Arch,
    discovery: Discovery,
    accelerator: Accelerator,
    serial: bool,
) -> MachineOptions {
    match guest {
        Arch::X86_64 => microvm(discovery, accelerator, serial),
        Arch::Aarch64 => virt(accelerator),
    }
}

fn microvm(discovery: Discovery, accelerator: Accelerator, serial: bool) -> MachineOptions {
    let on = |wanted| if wanted { "on" } else { "off" };
    let acpi = on(discovery == Discovery::Acpi);
    // With acpi=off QEMU itself names the devices on the kernel's command line.
    let serial = on(serial);
    // A translated CPU has no paravirtual clock: the kernel calibrates its APIC timer against the
    // PIT, whose interrupt comes through the PIC until then.
    let legacy = on(accelerator == Accelerator::Tcg);
    MachineOptions {
        machine: format!(
            "microvm,acpi={acpi},pit={legacy},pic={legacy},rtc={legacy},isa-serial={serial}"
        ),
        cpu: match accelerator {
            Accelerator::Tcg => "max",
            Accelerator::Kvm => "host",
        },
        kernel_arguments: match accelerator {
            // TCG's time stamp counter is the host's, and no reference clock could tell its rate.
            Accelerator::Tcg => arch::tsc_khz()
                .map(|khz| format!("tsc_early_khz={khz}"))
                .into_iter()
                .collect(),
            Accelerator::Kvm => Vec::new(),
        },
    }
}

/// QEMU describes it in a device tree, serial port and all.
fn virt(accelerator: Accelerator) -> MachineOptions {
    let (gic, cpu) = match accelerator {
        // What is slow to translate, such as pointer authentication, is in newer CPUs.
        Accelerator::Tcg => ("3", "cortex-a72"),
        Accelerator::Kvm => ("host", "host"),
    };
    MachineOptions {
        machine: format!("virt,gic-version={gic},acpi=off"),
        cpu,
        kernel_arguments: Vec::new(),
    }
}
