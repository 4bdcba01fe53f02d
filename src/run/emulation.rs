//! What a guest needs to run the programs of another architecture.

use anyhow::{Result, bail};
use guest_init::spec::{self, BinaryFormat, FileSystemDisk};
use images::{Disk, DiskCache, DiskFile, Platform};
use kernels::{Emulator, Emulators, Kernel};
use vmm::config::{self, Writes};

use crate::home::Home;
use crate::platform::{GET_EMULATORS, Way};

/// Serial number of the disk with the emulators.
const SERIAL: &str = "emulators";
/// The kernel's driver.
pub const DRIVER: &str = "binfmt_misc";

/// The emulators of a run. They reach the guest on a disk of their own, so that other runs carry
/// none of it.
#[derive(Debug)]
pub struct Emulation {
    emulators: Vec<Emulator>,
    disk: Disk,
}

impl Emulation {
    /// The emulators for an image's programs, and for all others that an image may bring.
    pub fn of(home: &Home, kernel: &Kernel, platform: &Platform) -> Result<Self> {
        let mut emulators = Emulators::open(&home.emulators())?.for_guests(kernel.arch())?;
        // What the kernel runs by itself stays its own.
        emulators.retain(|emulator| {
            let platform = Platform::new("linux", emulator.target().architecture(), None);
            Way::on(kernel, &platform) == Way::Emulated
        });
        let wanted = platform.architecture();
        if !emulators
            .iter()
            .any(|e| e.target().architecture() == wanted)
        {
            bail!(
                "Programs for {platform} do not run on a kernel for {} without an emulator: get one by \
                 `{GET_EMULATORS}` (on Debian)",
                kernel.arch()
            );
        }
        let files: Vec<DiskFile> = emulators.iter().map(file).collect();
        let disk = DiskCache::open(&home.disks())?.disk_of_files("the emulators", &files)?;
        Ok(Self { emulators, disk })
    }

    /// What guest-init is to do.
    pub fn spec(&self) -> spec::Emulation {
        let format = |emulator: &Emulator| BinaryFormat {
            name: emulator.target().name().to_owned(),
            magic: emulator.target().magic().to_vec(),
            mask: emulator.target().mask().to_vec(),
            interpreter: file_name(emulator),
        };
        spec::Emulation {
            disk: FileSystemDisk {
                serial: SERIAL.into(),
                file_system: b"ext4".to_vec(),
                read_only: true,
            },
            formats: self.emulators.iter().map(format).collect(),
        }
    }

    /// The machine's disk.
    pub fn disk(&self) -> config::Disk {
        config::Disk {
            path: self.disk.path().to_owned(),
            serial: SERIAL.to_owned(),
            writes: Writes::Refused,
        }
    }
}

fn file(emulator: &Emulator) -> DiskFile {
    DiskFile {
        name: file_name(emulator),
        source: emulator.program(),
        sha256: emulator.sha256().to_owned(),
        mode: 0o755,
    }
}

/// Debian's QEMU takes this ending as the sign that it is given the program's `argv[0]`; others look
/// at `AT_FLAGS`, which the kernel has set since 5.12.
fn file_name(emulator: &Emulator) -> String {
    format!("{}-binfmt-P", emulator.target())
}
