//! The machine that QEMU makes for guests of this architecture.

use super::tsc;
use crate::backend::qemu::{Accelerator, MachineOptions};
use crate::config::Discovery;

/// QEMU's program for guests of this architecture.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// `microvm`, with what the kernel needs to boot on it and no more.
pub(crate) fn qemu_machine(
    discovery: Discovery,
    accelerator: Accelerator,
    serial: bool,
) -> MachineOptions {
    let on = |wanted| if wanted { "on" } else { "off" };
    let acpi = on(discovery == Discovery::Acpi);
    // With acpi=off QEMU itself names the devices on the kernel's command line.
    let serial = on(serial);
    // A translated CPU has no paravirtual clock: the kernel calibrates its APIC timer against the
    // PIT, whose interrupt comes through the PIC until then.
    let legacy = on(accelerator == Accelerator::Tcg);
    MachineOptions {
        machine: format!(
            "microvm,acpi={acpi},pit={legacy},pic={legacy},rtc=off,isa-serial={serial}"
        ),
        cpu: match accelerator {
            Accelerator::Tcg => "max",
            Accelerator::Kvm => "host",
        },
        kernel_arguments: match accelerator {
            // TCG's time stamp counter is the host's, and no reference clock could tell its rate.
            Accelerator::Tcg => tsc::frequency_khz()
                .map(|khz| format!("tsc_early_khz={khz}"))
                .into_iter()
                .collect(),
            Accelerator::Kvm => Vec::new(),
        },
    }
}
