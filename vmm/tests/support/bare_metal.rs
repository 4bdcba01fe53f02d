//! Machines whose "kernel" is a few instructions.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use tempfile::NamedTempFile;
use vmm::backend::kvm::Kvm;
use vmm::config::{Disk, Port, Writes};
use vmm::{Backend, Machine, SelfTestError, VmConfig};

use super::config;

/// Where programs are loaded.
const ADDRESS: u64 = 0x10_0000;

/// `mov al, 0xfe; out 0x64, al`: a reset by the keyboard controller.
pub(crate) const RESET: &[u8] = &[0xb0, 0xfe, 0xe6, 0x64];

/// Says on the serial port that the program came this far:
/// `mov dx, 0x3f8; mov al, '.'; out dx, al`.
pub(crate) const ARRIVED: &[u8] = &[0x66, 0xba, 0xf8, 0x03, 0xb0, b'.', 0xee];

/// An ELF executable of one segment that starts with its first byte.
pub(crate) fn kernel(code: &[u8]) -> NamedTempFile {
    let mut elf = Vec::new();
    elf.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [2_u16, 62] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    elf.extend_from_slice(&1_u32.to_le_bytes());
    for word in [ADDRESS, 64, 0] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    let size = u64::try_from(code.len()).unwrap();
    for word in [1_u32, 5] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    for word in [120, ADDRESS, ADDRESS, size, size, 1] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(code);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&elf).unwrap();
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

/// Starts a machine with every kind of device that runs `code`. Its serial output comes with it.
pub(crate) fn run(vcpus: u8, code: &[&[u8]]) -> Option<(Box<dyn Machine>, UnixStream)> {
    let kernel = kernel(&code.concat());
    let disk = NamedTempFile::new().unwrap();
    disk.as_file().set_len(1 << 20).unwrap();
    let (output, serial) = UnixStream::pair().unwrap();
    let mut config = config(kernel.path().into());
    config.vcpus = vcpus;
    config.serial = Some(OwnedFd::from(serial));
    config.disks.push(Disk {
        path: disk.path().into(),
        serial: String::new(),
        writes: Writes::InMemory,
    });
    config.ports.push(Port {
        name: "port".into(),
        stream: UnixStream::pair().unwrap().0,
    });
    Some((start(config)?, output))
}
