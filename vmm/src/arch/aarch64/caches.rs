//! The caches of the host's CPUs, as its kernel knows them (`Documentation/ABI/testing/
//! sysfs-devices-system-cpu`). A guest cannot find out by itself: what it reads of the CPU are
//! numbers of sets and ways that mean nothing.

use std::fs;
use std::path::Path;

/// A cache that a CPU has, or has a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cache {
    /// 1 is the one next to the CPU.
    pub(super) level: u32,
    pub(super) kind: Kind,
    /// Bytes.
    pub(super) size: u32,
    /// Bytes of a line.
    pub(super) line: u32,
    /// Number of sets.
    pub(super) sets: u32,
}

/// What is kept in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Instruction,
    Unified,
}

impl Cache {
    /// Those of the host's first CPU that it knows everything about.
    pub(super) fn of_host() -> Vec<Self> {
        Self::read_all(Path::new("/sys/devices/system/cpu/cpu0/cache"))
    }

    fn read_all(folder: &Path) -> Vec<Self> {
        (0..8)
            .map_while(|index| {
                let folder = folder.join(format!("index{index}"));
                folder.is_dir().then(|| Self::read(&folder))
            })
            .flatten()
            .collect()
    }

    fn read(folder: &Path) -> Option<Self> {
        let text = |name: &str| {
            let text = fs::read_to_string(folder.join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        let number = |name: &str| text(name)?.parse().ok().filter(|&number| number > 0);
        let kibibytes: u32 = text("size")?.strip_suffix('K')?.parse().ok()?;
        Some(Self {
            level: number("level")?,
            kind: match text("type")?.as_str() {
                "Data" => Kind::Data,
                "Instruction" => Kind::Instruction,
                "Unified" => Kind::Unified,
                _ => return None,
            },
            size: kibibytes.checked_mul(1024)?,
            line: number("coherency_line_size")?,
            sets: number("number_of_sets")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_knows() {
        let folder = tempfile::tempdir().unwrap();
        let write = |index: u32, files: [(&str, &str); 5]| {
            let folder = folder.path().join(format!("index{index}"));
            fs::create_dir(&folder).unwrap();
            for (name, text) in files {
                fs::write(folder.join(name), format!("{text}\n")).unwrap();
            }
        };
        let cache = |level, kind, size| {
            [
                ("level", level),
                ("type", kind),
                ("size", size),
                ("coherency_line_size", "64"),
                ("number_of_sets", "256"),
            ]
        };
        write(0, cache("1", "Data", "64K"));
        write(1, cache("1", "Instruction", "48K"));
        // An emulated CPU's: nobody knows its size.
        write(2, cache("2", "Unified", "0"));
        write(3, cache("3", "Unified", "32768K"));
        let found = Cache::read_all(folder.path());
        let expected = |level, kind, size| Cache {
            level,
            kind,
            size,
            line: 64,
            sets: 256,
        };
        assert_eq!(
            found,
            [
                expected(1, Kind::Data, 64 << 10),
                expected(1, Kind::Instruction, 48 << 10),
                expected(3, Kind::Unified, 32 << 20),
            ]
        );
        assert_eq!(Cache::read_all(&folder.path().join("none")), []);
    }
}
