//! How guests run the programs of each platform.

mod choice;
mod list;

use std::fmt;
use std::path::Path;

use anyhow::Result;
use images::Platform;
use kernels::{Arch, Emulator, Emulators, Kernel};

pub use choice::{Choice, check};
pub use list::{PlatformsOptions, run};
use serde::Serialize;
use vmm::has_32_bit_mode;

/// How a guest runs an image's programs; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// By the CPU, as its own.
    Native,
    /// By the CPU in the 32-bit mode of its architecture.
    #[serde(rename = "32-bit")]
    Compat,
    /// Not without an emulator.
    Emulated,
}

impl Way {
    /// The way in guests that boot `kernel` on this host's CPU.
    pub fn on(kernel: &Kernel, image: &Platform) -> Self {
        match Self::here(kernel.arch(), image) {
            Self::Compat if !kernel.runs_32_bit() => Self::Emulated,
            way => way,
        }
    }

    /// The way in guests of an architecture on this host's CPU, with a kernel that knows all of it.
    pub fn here(guest: Arch, image: &Platform) -> Self {
        match Self::of(guest, image) {
            Self::Compat if !has_32_bit_mode() => Self::Emulated,
            way => way,
        }
    }

    /// The way in guests of an architecture, with a CPU and a kernel that know all of it.
    pub fn of(guest: Arch, image: &Platform) -> Self {
        match (guest, image.architecture()) {
            (Arch::X86_64, "amd64") | (Arch::Aarch64, "arm64") => Self::Native,
            (Arch::X86_64, "386") | (Arch::Aarch64, "arm") => Self::Compat,
            // All are named, so that the compiler finds this place for a new one.
            (Arch::X86_64 | Arch::Aarch64, _) => Self::Emulated,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Compat => "32-bit",
            Self::Emulated => "emulated",
        })
    }
}

/// The architectures of images whose programs guests of an architecture can emulate, as far as
/// emulators are in the folder `store`.
pub fn emulators(store: &Path, guest: Arch) -> Result<Vec<&'static str>> {
    let emulators = Emulators::open(store)?.for_guests(guest)?;
    let architecture = |emulator: &Emulator| emulator.target().architecture();
    Ok(emulators.iter().map(architecture).collect())
}

/// What gets emulators, on Debian and what is made from it.
pub const GET_EMULATORS: &str = "apt-get download qemu-user-static && \
     terrarium emulator import --deb qemu-user-static_*.deb";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_architecture_runs_its_own_and_its_32_bit_brother() {
        for (guest, platform, way) in [
            (Arch::X86_64, "linux/amd64", Way::Native),
            (Arch::X86_64, "linux/amd64/v2", Way::Native),
            (Arch::X86_64, "linux/386", Way::Compat),
            (Arch::X86_64, "linux/arm/v7", Way::Emulated),
            (Arch::Aarch64, "linux/arm64", Way::Native),
            (Arch::Aarch64, "linux/arm/v6", Way::Compat),
            (Arch::Aarch64, "linux/386", Way::Emulated),
            (Arch::Aarch64, "linux/s390x", Way::Emulated),
        ] {
            assert_eq!(
                Way::of(guest, &platform.parse().unwrap()),
                way,
                "{platform}"
            );
        }
    }
}
