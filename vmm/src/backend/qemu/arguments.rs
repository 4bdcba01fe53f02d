//! A [`VmConfig`] as QEMU's command line.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{Accelerator, guest};
use crate::backend::StartError;
use crate::config::{Arch, Disk, InitramfsPart, VmConfig, Writes};
use crate::vmlinux::{self, Vmlinux};

/// Everything to start QEMU with.
#[derive(Debug, Default)]
pub(super) struct Invocation {
    pub(super) arguments: Vec<String>,
    /// Descriptors that QEMU inherits under their present numbers.
    pub(super) inherited: Vec<OwnedFd>,
    /// Those of them that QEMU opens anew, for writing.
    pub(super) reopened: Vec<RawFd>,
    /// Files that QEMU reads.
    pub(super) readable: Vec<PathBuf>,
    /// Devices that QEMU opens by their paths.
    pub(super) devices: Vec<PathBuf>,
    /// Confine QEMU to what it needs.
    pub(super) sandbox: bool,
    /// Where QEMU makes its temporary files, if not in the usual folder.
    pub(super) temporary: Option<PathBuf>,
}

/// Where QEMU keeps what a guest writes to its disks, in files without a name, unless told otherwise.
const TEMPORARY: &str = "/var/tmp";

impl Invocation {
    /// Where QEMU makes its temporary files.
    pub(super) fn temporary(&self) -> &Path {
        self.temporary.as_deref().unwrap_or(Path::new(TEMPORARY))
    }

    fn add<const N: usize>(&mut self, arguments: [&str; N]) {
        self.arguments.extend(arguments.map(str::to_owned));
    }

    fn inherit(&mut self, descriptor: OwnedFd) -> i32 {
        let number = descriptor.as_raw_fd();
        self.inherited.push(descriptor);
        number
    }
}

/// Fills `invocation` with what `config` says.
pub(super) fn describe(
    invocation: &mut Invocation,
    config: VmConfig,
    accelerator: Accelerator,
) -> Result<(), StartError> {
    let guest = guest::machine(
        config.arch,
        config.discovery,
        accelerator,
        config.serial.is_some(),
    );
    // Nothing that a user or a distribution configured: the machine is what stands here.
    invocation.add(["-nodefaults", "-no-user-config", "-no-reboot"]);
    invocation.add(["-display", "none", "-monitor", "none"]);
    invocation.sandbox = config.sandbox;
    if config.sandbox {
        invocation.add(["-sandbox", SANDBOX]);
    }
    invocation.add(["-machine", &guest.machine, "-cpu", guest.cpu]);
    invocation.add(["-accel", accelerator.name()]);
    if accelerator == Accelerator::Kvm {
        invocation.devices.push("/dev/kvm".into());
    }
    // Some machines have registers of the time before virtio 1.0 unless told otherwise.
    invocation.add(["-global", "virtio-mmio.force-legacy=false"]);
    invocation.add(["-smp", &config.vcpus.to_string()]);
    invocation.add(["-m", &format!("{}K", config.memory / 1024)]);

    let initramfs = join(&config.initramfs).map_err(|source| StartError::Host {
        what: "Failed to put the initramfs together".to_owned(),
        source,
    })?;
    match moved_kernel(&config, &initramfs)? {
        Some(kernel) => {
            let kernel = invocation.inherit(kernel.into());
            invocation.add(["-kernel", &format!("/proc/self/fd/{kernel}")]);
        }
        None => {
            invocation.add(["-kernel", utf8(&config.kernel)?]);
            invocation.readable.push(config.kernel.clone());
        }
    }
    let initramfs = invocation.inherit(initramfs.into());
    invocation.add(["-initrd", &format!("/proc/self/fd/{initramfs}")]);
    let command_line = [config.command_line]
        .into_iter()
        .chain(guest.kernel_arguments)
        .collect::<Vec<_>>()
        .join(" ");
    invocation.add(["-append", &command_line]);

    for (number, disk) in config.disks.iter().enumerate() {
        describe_disk(invocation, number, disk)?;
    }
    // QEMU keeps port 0 for a console that it can name no other way.
    let ports = config.ports.len() + 1;
    invocation.add([
        "-device",
        &format!("virtio-serial-device,max_ports={ports}"),
    ]);
    for (number, port) in config.ports.into_iter().enumerate() {
        // QEMU sets the socket to what it needs.
        let fd = invocation.inherit(port.stream.into());
        invocation.add(["-chardev", &format!("socket,id=port{number},fd={fd}")]);
        let name = escape(&port.name);
        let nr = number + 1;
        invocation.add([
            "-device",
            &format!("virtserialport,chardev=port{number},nr={nr},name={name}"),
        ]);
    }
    invocation.add(["-device", "virtio-rng-device"]);
    if config.balloon {
        invocation.add(["-device", "virtio-balloon-device,free-page-reporting=on"]);
    }
    match config.serial {
        Some(sink) => {
            let fd = invocation.inherit(sink);
            // Opened anew, so that QEMU sets no flags on a description that others share; `append`
            // keeps it from truncating a file.
            let path = format!("/proc/self/fd/{fd}");
            invocation.reopened.push(fd);
            invocation.add(["-chardev", &format!("file,id=serial,path={path},append=on")]);
            invocation.add(["-serial", "chardev:serial"]);
        }
        None => invocation.add(["-serial", "none"]),
    }
    Ok(())
}

/// QEMU's own filter of system calls: no new programs, no other user, no old calls.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

impl Accelerator {
    fn name(self) -> &'static str {
        match self {
            // More than one thread only pays with more than one vCPU, which is QEMU's default.
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

fn describe_disk(
    invocation: &mut Invocation,
    number: usize,
    disk: &Disk,
) -> Result<(), StartError> {
    let path = escape(utf8(&disk.path)?);
    invocation.readable.push(disk.path.clone());
    // The image is shared by all runs and written by none, so QEMU need not lock it. `snapshot`
    // sends writes to an unlinked temporary file.
    let writes = match &disk.writes {
        Writes::Refused => "readonly=on",
        Writes::InMemory => "snapshot=on,discard=unmap",
        Writes::InFile { folder } => {
            invocation.temporary = Some(folder.clone());
            "snapshot=on,discard=unmap"
        }
    };
    invocation.add([
        "-drive",
        &format!("if=none,id=disk{number},format=raw,file.locking=off,{writes},file={path}"),
    ]);
    let serial = escape(&disk.serial);
    invocation.add([
        "-device",
        // By default QEMU stops the machine when the host's disk is full.
        &format!(
            "virtio-blk-device,drive=disk{number},serial={serial},werror=report,rerror=report"
        ),
    ]);
    Ok(())
}

/// A value inside a list of QEMU's options, where a comma would end it.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

fn utf8(path: &Path) -> Result<&str, StartError> {
    path.to_str().ok_or_else(|| {
        let path = path.display();
        StartError::Config(format!("QEMU cannot be given the path {path}: not UTF-8"))
    })
}

/// The kernel at a random address, if it is one that can be moved.
fn moved_kernel(config: &VmConfig, initramfs: &File) -> Result<Option<File>, StartError> {
    if !config.kaslr || config.arch != Arch::X86_64 {
        return Ok(None);
    }
    let kernel = Vmlinux::open(&config.kernel, config.kaslr)?;
    if !kernel.moves() {
        return Ok(None);
    }
    // QEMU puts the initramfs at the end of memory, but for tables of its own.
    let metadata = initramfs.metadata().map_err(|source| StartError::Host {
        what: "Cannot read the initramfs".to_owned(),
        source,
    })?;
    let end = config.memory.saturating_sub(metadata.len() + QEMU_TABLES);
    let distance = kernel.random_distance(end.min(vmlinux::PHYSICAL_END))?;
    kernel.moved(distance).map(Some)
}

/// More bytes than QEMU's own tables take at the end of memory.
const QEMU_TABLES: u64 = 1 << 20;

/// QEMU takes one initramfs: all parts in one anonymous file, each padded to 4 bytes.
fn join(parts: &[InitramfsPart]) -> io::Result<File> {
    let mut joined = File::from(memfd_create("initramfs", MemfdFlags::CLOEXEC)?);
    for part in parts {
        let length = match part {
            InitramfsPart::File(path) => io::copy(&mut open(path)?, &mut joined)?,
            InitramfsPart::Bytes(bytes) => {
                joined.write_all(bytes)?;
                bytes.len() as u64
            }
        };
        io::copy(
            &mut io::repeat(0).take(length.wrapping_neg() % 4),
            &mut joined,
        )?;
    }
    joined.rewind()?;
    Ok(joined)
}

fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initramfs_parts_start_at_multiples_of_four() {
        let parts = [b"12345".to_vec(), b"6789".to_vec(), b"x".to_vec()];
        let joined = join(&parts.map(InitramfsPart::Bytes)).unwrap();
        let mut contents = String::new();
        File::open(format!("/proc/self/fd/{}", joined.as_raw_fd()))
            .unwrap()
            .read_to_string(&mut contents)
            .unwrap();
        assert_eq!(contents, "12345\0\0\x006789x\0\0\0");
    }

    #[test]
    fn commas_in_paths_do_not_end_an_option() {
        let mut invocation = Invocation::default();
        let disk = Disk {
            path: "/a,readonly=off".into(),
            serial: "root".to_owned(),
            writes: Writes::Refused,
        };
        describe_disk(&mut invocation, 0, &disk).unwrap();
        assert!(invocation.arguments[1].ends_with("file=/a,,readonly=off"));
    }
}
