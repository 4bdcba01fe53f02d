//! Entry points for fuzzing: bytes become what a guest may do, or what it may boot.
//!
//! Each function takes any bytes and returns; what is found are panics, endless work and, by
//! assertions, accesses to a guest's memory that it has taken back.

mod guest;
mod input;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::fs::MemfdFlags;
use vm_memory::GuestAddress;

use crate::VmConfig;
use crate::arch;
use crate::config::{Arch, Discovery, Disk, Port, Writes};
use crate::devices::virtio::balloon::Balloon;
use crate::devices::virtio::block::Block;
use crate::devices::virtio::console::Console;
use crate::devices::virtio::entropy::Entropy;
use crate::memory::GuestRam;
use guest::Guest;
use input::Input;

/// Bytes of the disks: the last page is not a whole one.
const DISK: usize = 67 * 512;

/// A disk without writes, with writes in memory, or with writes in a file, on a host with `io_uring` or without,
/// and a guest that uses it.
///
/// # Errors
/// If the host refuses what the device needs.
pub fn block(bytes: &[u8]) -> io::Result<()> {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let writes = match kind % 3 {
        0 => Writes::Refused,
        1 => Writes::InMemory,
        _ => Writes::InFile {
            folder: "/dev/shm".into(),
        },
    };
    let (_base, path) = file(&vec![0x5a; DISK])?;
    let device = Block::new(&Disk {
        path,
        serial: "fuzz".into(),
        writes,
    })
    .map_err(io::Error::other)?;
    let device = if (kind / 3).is_multiple_of(2) {
        device
    } else {
        device.on_threads()
    };
    Guest::new(device, Vec::new())?.run(input);
    Ok(())
}

/// A console of three ports, a guest that uses it, and the host's ends of the ports.
///
/// # Errors
/// If the host refuses what the device needs.
pub fn console(bytes: &[u8]) -> io::Result<()> {
    let mut ends = Vec::new();
    let mut ports = Vec::new();
    for name in ["", "control", "a port with quite a long name"] {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        ends.push(ours);
        ports.push(Port {
            name: name.into(),
            stream: theirs,
        });
    }
    Guest::new(Console::new(ports), ends)?.run(Input::new(bytes));
    Ok(())
}

/// A source of random bytes, and a guest that uses it.
///
/// # Errors
/// If the host refuses what the device needs.
pub fn entropy(bytes: &[u8]) -> io::Result<()> {
    Guest::new(Entropy::default(), Vec::new())?.run(Input::new(bytes));
    Ok(())
}

/// A balloon, and a guest that reports free pages to it.
///
/// # Errors
/// If the host refuses what the device needs.
pub fn balloon(bytes: &[u8]) -> io::Result<()> {
    Guest::new(Balloon::default(), Vec::new())?.run(Input::new(bytes));
    Ok(())
}

/// The transport's registers: a driver that does not follow the order of the book.
///
/// # Errors
/// If the host refuses what the device needs.
pub fn transport(bytes: &[u8]) -> io::Result<()> {
    Guest::new(Balloon::default(), Vec::new())?.run_registers(Input::new(bytes));
    Ok(())
}

/// Loads the bytes as a kernel, as a machine does.
///
/// # Errors
/// If the host refuses memory.
pub fn kernel(bytes: &[u8]) -> io::Result<()> {
    const MEMORY: usize = 16 << 20;
    let (_file, kernel) = file(bytes)?;
    let memory = GuestRam::from_ranges(&[(GuestAddress(0), MEMORY)]).map_err(io::Error::other)?;
    let config = VmConfig {
        arch: Arch::HOST,
        vcpus: 1,
        memory: MEMORY as u64,
        kernel,
        initramfs: Vec::new(),
        command_line: String::new(),
        discovery: Discovery::Acpi,
        disks: Vec::new(),
        ports: Vec::new(),
        balloon: false,
        serial: None,
        kaslr: true,
        sandbox: true,
        stats: false,
    };
    if let Ok(entry) = arch::load_kernel_only(&memory, &config) {
        assert!(
            entry.0 < MEMORY as u64,
            "a kernel with its entry at {entry:?}"
        );
    }
    Ok(())
}

/// A file in memory with these contents, and a path that it can be opened by as long as it lives.
fn file(contents: &[u8]) -> io::Result<(File, PathBuf)> {
    let mut file = File::from(rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC)?);
    file.write_all(contents)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
    Ok((file, path))
}
