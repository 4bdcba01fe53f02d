//! The architectures whose programs can be emulated, and how a kernel tells these programs.

use std::fmt;

/// `EI_CLASS` of the ELF specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Bits32 = 1,
    Bits64 = 2,
}

/// `EI_DATA` of the ELF specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    LittleEndian = 1,
    BigEndian = 2,
}

/// An architecture whose programs QEMU runs on another, named as QEMU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    name: &'static str,
    architecture: &'static str,
    class: Class,
    data: Data,
    /// `e_machine` of the ELF specification.
    machine: u16,
}

const fn target(
    name: &'static str,
    architecture: &'static str,
    class: Class,
    data: Data,
    machine: u16,
) -> Target {
    Target {
        name,
        architecture,
        class,
        data,
        machine,
    }
}

/// Length of what a kernel looks at: `e_ident`, `e_type` and `e_machine`.
const LENGTH: usize = 20;

impl Target {
    /// All of them.
    pub const ALL: [Self; 6] = [
        target("x86_64", "amd64", Class::Bits64, Data::LittleEndian, 62),
        target("i386", "386", Class::Bits32, Data::LittleEndian, 3),
        target("aarch64", "arm64", Class::Bits64, Data::LittleEndian, 183),
        target("arm", "arm", Class::Bits32, Data::LittleEndian, 40),
        target("ppc64le", "ppc64le", Class::Bits64, Data::LittleEndian, 21),
        target("s390x", "s390x", Class::Bits64, Data::BigEndian, 22),
    ];

    /// Its name at QEMU, such as `aarch64`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its name in the platforms of images, such as `arm64`.
    #[must_use]
    pub fn architecture(&self) -> &'static str {
        self.architecture
    }

    /// The target of an emulator by the name of its file: `qemu-TARGET` or `qemu-TARGET-static`.
    pub(super) fn of_emulator(file_name: &str) -> Option<Self> {
        let name = file_name.strip_prefix("qemu-")?;
        let name = name.strip_suffix("-static").unwrap_or(name);
        Self::ALL.into_iter().find(|target| target.name == name)
    }

    /// What its programs begin with, as far as [`mask`](Self::mask) has bits set: the first bytes of
    /// an ELF header.
    #[must_use]
    pub fn magic(&self) -> [u8; LENGTH] {
        const EXECUTABLE: u16 = 2;
        let number = |value: u16| match self.data {
            Data::LittleEndian => value.to_le_bytes(),
            Data::BigEndian => value.to_be_bytes(),
        };
        let mut magic = [0; LENGTH];
        magic[..4].copy_from_slice(b"\x7fELF");
        magic[4] = self.class as u8;
        magic[5] = self.data as u8;
        magic[6] = 1; // EI_VERSION
        magic[16..18].copy_from_slice(&number(EXECUTABLE));
        magic[18..].copy_from_slice(&number(self.machine));
        magic
    }

    /// The bits of [`magic`](Self::magic) that count: not those of the ABI, and of the type not the
    /// one that tells a fixed executable (2) from a position-independent one (3).
    #[must_use]
    pub fn mask(&self) -> [u8; LENGTH] {
        let mut mask = [0xff; LENGTH];
        mask[7..16].fill(0);
        let low = match self.data {
            Data::LittleEndian => 16,
            Data::BigEndian => 17,
        };
        mask[low] = 0xfe;
        mask
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target::of_emulator(&format!("qemu-{name}-static")).unwrap()
    }

    #[test]
    fn emulators_are_told_by_their_names() {
        assert_eq!(Target::of_emulator("qemu-arm").unwrap().name(), "arm");
        for other in ["qemu-armeb-static", "qemu-img", "arm", "qemu--static"] {
            assert_eq!(Target::of_emulator(other), None, "{other}");
        }
    }

    #[test]
    fn programs_are_told_by_class_order_and_machine() {
        let takes = |target: &Target, header: [u8; LENGTH]| {
            let (magic, mask) = (target.magic(), target.mask());
            (0..LENGTH).all(|at| (header[at] ^ magic[at]) & mask[at] == 0)
        };
        // A position-independent program with GNU's ABI, and a shared library is one too.
        let with = |target: &Target, kind: u8| {
            let mut header = target.magic();
            header[7] = 3;
            header[if target.data == Data::BigEndian {
                17
            } else {
                16
            }] = kind;
            header
        };
        for one in Target::ALL {
            assert!(takes(&one, with(&one, 2)) && takes(&one, with(&one, 3)));
            assert!(!takes(&one, with(&one, 1)), "object files are no programs");
            for other in Target::ALL {
                assert_eq!(takes(&one, other.magic()), one == other);
            }
        }
        let s390x = target("s390x").magic();
        assert_eq!(&s390x[16..], [0, 2, 0, 22]);
        assert_eq!(&target("aarch64").magic()[16..], [2, 0, 183, 0]);
    }
}
