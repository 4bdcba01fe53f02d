//! The arguments a kernel is booted with.

use crate::{Arch, Kernel};

/// What a run wants of the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootOptions {
    /// The machine has a serial port, and the kernel's messages go there.
    pub serial: bool,
    /// The kernel says all it has to say, and guest-init with it.
    pub debug: bool,
    /// The kernel does not move itself to a random address.
    pub no_kaslr: bool,
}

/// The arguments for a kernel, each because of its configuration or because every guest wants it.
pub(crate) fn arguments(kernel: &Kernel, options: &BootOptions) -> Vec<String> {
    let config = kernel.config();
    let x86 = kernel.arch() == Arch::X86_64;
    let mut arguments = Vec::new();
    let mut add = |argument: &str| arguments.push(argument.to_owned());

    // Every byte on the serial port is an exit from the virtual machine.
    if options.debug {
        add("ignore_loglevel");
    } else {
        add("quiet");
    }
    // A kernel that panics ends its run at once: there is nobody to read a halted machine's screen.
    add("panic=-1");

    if x86 {
        // By triple fault: needs no device, where the other ways try a keyboard controller or PCI.
        add("reboot=t");
        if options.serial {
            add("console=ttyS0");
        } else if config.is_built_in("CONFIG_SERIAL_8250") {
            // The driver would look for its four usual ports, and each look is an exit.
            add("8250.nr_uarts=0");
        }
        // There is no PCI bus; looking for one reads configuration ports of devices that are not.
        if config.is_built_in("CONFIG_PCI") {
            add("pci=off");
        }
        // Calls at boot are left out by name, which the kernel can only do if it knows its symbols.
        if config.is_built_in("CONFIG_KALLSYMS") {
            let mut left_out = Vec::new();
            // There is no keyboard controller; looking for one waits for its time-outs, up to a
            // second, unless ACPI tables say that there is none.
            if config.is_built_in("CONFIG_SERIO_I8042") {
                left_out.push("i8042_init");
            }
            // Reports as an error that there is no PCI.
            if config.is_built_in("CONFIG_PCI") {
                left_out.push("pci_arch_init");
            }
            // Makes thousands of files, some for each event that can be traced, for a file system that next
            // to nobody mounts in a guest: 33 of 337 million instructions to init in Debian's cloud kernel.
            if config.is_built_in("CONFIG_EVENT_TRACING") && !options.debug {
                left_out.push("tracer_init_tracefs");
            }
            if !left_out.is_empty() {
                add(&format!("initcall_blacklist={}", left_out.join(",")));
            }
        }
    }
    // Elsewhere the device tree says which serial port is the console, and an early one uses it before its driver
    // has been found: a kernel that stops until then would say nothing.
    if !x86 && options.serial && options.debug {
        add("earlycon");
    }

    // The first process gets the console, and a kernel that has none at all complains of that.
    if !options.serial && config.is_built_in("CONFIG_NULL_TTY") {
        add("console=ttynull");
    }

    // An arm64 kernel moves itself, by a seed of the device tree. On x86_64 the loader does it, and the
    // kernel does not know the word.
    if options.no_kaslr && !x86 && config.is_built_in("CONFIG_RANDOMIZE_BASE") {
        add("nokaslr");
    }

    // The host's seed and the CPU's own generator make the guest's randomness ready at once. Newer
    // kernels have no such options and trust both.
    if config.is_off("CONFIG_RANDOM_TRUST_BOOTLOADER") {
        add("random.trust_bootloader=on");
    }
    if config.is_off("CONFIG_RANDOM_TRUST_CPU") {
        add("random.trust_cpu=on");
    }
    // Self-tests of every cipher, at every boot: 880 of 1,400 million instructions to init in Debian's
    // cloud kernel.
    if config.is_off("CONFIG_CRYPTO_MANAGER_DISABLE_TESTS") {
        add("cryptomgr.notests");
    }
    // Memory is cleared when it is allocated, against leaks between processes of one guest; what comes
    // from the host is clear already. 22 of 530 million instructions to init, 12 of 26 million to load
    // the modules, and then a share of every allocation.
    if config.is_built_in("CONFIG_INIT_ON_ALLOC_DEFAULT_ON") {
        add("init_on_alloc=0");
    }
    // Memory kept in one piece for devices of the sort that guests do not have: 64 MiB in Debian's kernels
    // for arm64, and an error message where a small guest has no such piece.
    if config.is_built_in("CONFIG_DMA_CMA") {
        add("cma=0");
    }
    arguments
}
