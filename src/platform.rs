//! How guests run the programs of each platform.

use images::Platform;
use kernels::Arch;

/// How a guest runs an image's programs; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// By the CPU, as its own.
    Native,
    /// By the CPU in the 32-bit mode of its architecture.
    Compat,
    /// Not without an emulator.
    Emulated,
}

impl Way {
    /// The way in guests of an architecture.
    pub fn of(guest: Arch, image: &Platform) -> Self {
        match (guest, image.architecture()) {
            (Arch::X86_64, "amd64") | (Arch::Aarch64, "arm64") => Self::Native,
            (Arch::X86_64, "386") | (Arch::Aarch64, "arm") => Self::Compat,
            _ => Self::Emulated,
        }
    }
}

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
