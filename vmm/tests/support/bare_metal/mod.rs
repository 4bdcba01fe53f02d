//! Machines whose "kernel" is a few instructions.

mod aarch64;
mod x86_64;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use tempfile::NamedTempFile;
use vmm::backend::kvm::Kvm;
use vmm::config::{Arch, Discovery, Disk, Port, Writes};
use vmm::{Backend, Machine, SelfTestError, VmConfig};

use super::config;

/// What the tests need of an architecture.
#[derive(Clone, Copy)]
pub(crate) struct Programs {
    /// Makes the file of a kernel that is this code.
    file: fn(&[u8]) -> Vec<u8>,
    pub(crate) discovery: Discovery,
    /// More vCPUs than a machine can have.
    pub(crate) too_many_vcpus: Option<u8>,
    pub(crate) reset: &'static [u8],
    pub(crate) power_off: &'static [u8],
    /// Says on the serial port that the program came this far, by a dot.
    pub(crate) arrived: &'static [u8],
    pub(crate) say_hi: &'static [u8],
    pub(crate) say_for_ever: &'static [u8],
    /// Sleeps, without a way to wake up.
    pub(crate) halt: &'static [u8],
    pub(crate) spin: &'static [u8],
    /// Makes the devices' registers accessible, which the next ones need.
    pub(crate) map_devices: &'static [u8],
    /// Writes and reads all registers of the first devices and behind, words and parts of words.
    pub(crate) touch_devices: &'static [u8],
    pub(crate) read_device: &'static [u8],
    pub(crate) notify_for_ever: &'static [u8],
    pub(crate) reset_device_for_ever: &'static [u8],
}

/// The programs for this host.
pub(crate) const PROGRAMS: Programs = match Arch::HOST {
    Arch::X86_64 => x86_64::PROGRAMS,
    Arch::Aarch64 => aarch64::PROGRAMS,
};

/// A kernel's file.
pub(crate) fn kernel(code: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&(PROGRAMS.file)(code)).unwrap();
    file
}

/// Starts a machine, if this host has KVM; it must, where `TERRARIUM_TEST_KVM` is set.
pub(crate) fn start(config: VmConfig) -> Option<Box<dyn Machine>> {
    if let Err(error @ (SelfTestError::NoDevice | SelfTestError::NoPermission)) = vmm::self_test() {
        assert!(
            std::env::var_os("TERRARIUM_TEST_KVM").is_none(),
            "cannot be tested: {error}"
        );
        eprintln!("not tested here: {error}");
        return None;
    }
    Some(Kvm.start(config).unwrap())
}

/// Starts a machine with every kind of device that runs `code`. Its serial output comes with it;
/// nobody is at the other end of its port.
pub(crate) fn run(vcpus: u8, code: &[&[u8]]) -> Option<(Box<dyn Machine>, UnixStream)> {
    run_with_port(vcpus, code, UnixStream::pair().unwrap().0)
}

/// The same with this port.
pub(crate) fn run_with_port(
    vcpus: u8,
    code: &[&[u8]],
    port: UnixStream,
) -> Option<(Box<dyn Machine>, UnixStream)> {
    let kernel = kernel(&code.concat());
    let disk = NamedTempFile::new().unwrap();
    disk.as_file().set_len(1 << 20).unwrap();
    let (output, serial) = UnixStream::pair().unwrap();
    let mut config = config(kernel.path().into());
    config.vcpus = vcpus;
    config.balloon = true;
    config.serial = Some(OwnedFd::from(serial));
    config.disks.push(Disk {
        path: disk.path().into(),
        serial: String::new(),
        writes: Writes::InMemory,
    });
    config.ports.push(Port {
        name: "port".into(),
        stream: port,
    });
    Some((start(config)?, output))
}
