//! The machine of a run.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use guest_init::spec::{self, RunSpec};
use kernels::{Arch, BootOptions, Kernel, Store, cpio};
use vmm::VmConfig;
use vmm::config::{Discovery, Disk, InitramfsPart, Port};

use super::emulation::Emulation;
use super::modules::Modules;
use super::spec::ROOT_SERIAL;
use super::{RunOptions, guest};
use crate::backend;
use crate::home::Home;
use crate::kernel::default_or_pulled;

/// What a guest needs beside its kernel and initramfs before it can run anything, in bytes.
const WORKING_MEMORY: u64 = 24 << 20;

/// The kernel to boot, with the initramfs for it.
#[derive(Debug)]
pub struct BootFiles {
    kernel: Kernel,
    initramfs: PathBuf,
}

impl BootFiles {
    /// The kernel.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }
}

/// Looks up the kernel named `id`, or the default one for `arch`, and makes its initramfs ready.
pub fn kernel(home: &Home, arch: Arch, id: Option<&str>, quiet: bool) -> Result<BootFiles> {
    let store = Store::open(&home.kernels())?;
    let kernel = match id {
        Some(id) => store.get_for(arch, id)?,
        None => default_or_pulled(&store, arch, quiet)?,
    };
    let init = guest::init(arch)?;
    let initramfs = kernel.initramfs(init.binary, init.digest)?;
    Ok(BootFiles { kernel, initramfs })
}

/// The machine's configuration.
pub fn describe(
    options: &RunOptions,
    files: &BootFiles,
    disk: &Path,
    emulation: Option<&Emulation>,
    modules: &Modules,
    spec: &RunSpec,
    ports: [(&'static str, UnixStream); 3],
) -> Result<VmConfig> {
    check_memory(options.memory, files)?;
    let serial = options.console.is_some() || options.debug;
    let mut arguments = files.kernel.boot_arguments(&BootOptions {
        serial,
        debug: options.debug,
        no_kaslr: options.no_kaslr,
    });
    arguments.extend_from_slice(&options.kernel_arg);
    let encoded = spec
        .encode()
        .context("Cannot encode the run specification")?;
    let mut archive = cpio::Archive::new().file(spec::PATH, 0o400, &encoded);
    for (path, contents) in modules.files() {
        archive = archive.file(path, 0o400, contents);
    }
    let mut disks = vec![Disk {
        path: disk.to_owned(),
        serial: ROOT_SERIAL.to_owned(),
        writes: options.writes(),
    }];
    disks.extend(emulation.map(Emulation::disk));
    let serial = serial
        .then(|| std::io::stderr().as_fd().try_clone_to_owned())
        .transpose()
        .context("Cannot share standard error with the serial port")?;
    Ok(VmConfig {
        arch: backend::arch(files.kernel.arch()),
        vcpus: options.cpus,
        memory: options.memory,
        kernel: files.kernel.vmlinux(),
        initramfs: vec![
            InitramfsPart::File(files.initramfs.clone()),
            InitramfsPart::Bytes(archive.finish()),
        ],
        kaslr: files.kernel.can_be_moved() && !options.no_kaslr,
        command_line: arguments.join(" "),
        discovery: match files.kernel.discovery() {
            kernels::Discovery::Acpi => Discovery::Acpi,
            kernels::Discovery::CommandLine => Discovery::CommandLine,
            kernels::Discovery::DeviceTree => Discovery::DeviceTree,
        },
        disks,
        ports: ports
            .into_iter()
            .map(|(name, stream)| Port {
                name: name.to_owned(),
                stream,
            })
            .collect(),
        balloon: options.balloon,
        serial,
        sandbox: !options.no_sandbox,
        stats: options.stats.is_some(),
    })
}

/// Says at once what would otherwise be a silent hang or a kernel panic.
fn check_memory(memory: u64, files: &BootFiles) -> Result<()> {
    let kernel = files.kernel.vmlinux();
    let mut needed = WORKING_MEMORY;
    for (path, copies) in [(&kernel, 1), (&files.initramfs, 2)] {
        let size = std::fs::metadata(path)
            .with_context(|| format!("Cannot read {}", path.display()))?
            .len();
        needed += size * copies;
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    if memory < needed {
        bail!(
            "{} MiB of memory are too few to boot kernel {}, which takes {} MiB: raise --memory",
            mib(memory),
            files.kernel.id(),
            mib(needed)
        );
    }
    if !memory.is_multiple_of(4096) {
        bail!("The memory size must be a multiple of 4 KiB");
    }
    Ok(())
}
