//! A kernel's modules: what each says of itself, and which are needed for a set of drivers.
//!
//! Everything is taken from the modules themselves (their `.modinfo` section) and from the build's
//! `modules.builtin` and `modules.builtin.modinfo`. The other lists, such as `modules.dep`, are made
//! from these by depmod when a package is installed, and packages of some distributions lack them.

mod choice;
mod modinfo;
mod signature;

use std::collections::BTreeMap;

pub(crate) use choice::{Choice, choose};
use modinfo::ModInfo;
pub(crate) use signature::without_signature;

use crate::FormatError;
use crate::compression::{inflating, read_bounded};
use crate::package::Contents;

/// The largest module accepted, inflated, in bytes.
const MAX_MODULE: u64 = 128 << 20;

/// Bytes of all modules together, inflated: ten times those of Debian's ordinary kernel.
const MAX_MODULES: u64 = 4 << 30;

/// The largest list of what is built in, in bytes: Debian's longest has 0.3 MB.
const MAX_LIST: u64 = 8 << 20;

/// Bytes that all modules' information takes in memory: that of Debian's 4,000 modules takes a tenth of it.
const MAX_INFORMATION: usize = 64 << 20;

/// All modules of a kernel.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    loadable: BTreeMap<String, Loadable>,
    built_in: BTreeMap<String, ModInfo>,
}

/// A module in a file of its own.
#[derive(Debug)]
struct Loadable {
    /// Its file in the package.
    path: String,
    info: ModInfo,
}

impl Modules {
    /// Reads what the modules of a package say of themselves.
    pub(crate) fn read(contents: &Contents) -> Result<Self, FormatError> {
        Self::read_within(contents, MAX_MODULES)
    }

    /// Reads modules of so many bytes at most.
    fn read_within(contents: &Contents, mut room: u64) -> Result<Self, FormatError> {
        let mut modules = Self::default();
        let mut information = 0;
        let mut count = |name: &str, info: &ModInfo| {
            information += name.len() + info.size();
            if information > MAX_INFORMATION {
                return Err(FormatError::malformed(
                    "Its modules say more of themselves than any kernel's",
                ));
            }
            Ok(())
        };
        for path in contents.paths() {
            if path.ends_with("/modules.builtin") {
                let list = contents.read(path, MAX_LIST)?;
                for line in String::from_utf8_lossy(&list).lines() {
                    let name = name_of(line);
                    count(&name, &ModInfo::default())?;
                    modules.built_in.entry(name).or_default();
                }
            } else if path.ends_with("/modules.builtin.modinfo") {
                let section = contents.read(path, MAX_LIST)?;
                for (name, info) in modinfo::of_built_in(&section) {
                    count(&name, &info)?;
                    modules.built_in.insert(name, info);
                }
            } else if is_module(path) {
                let module = read_module(contents, path)?;
                room = u64::try_from(module.len())
                    .ok()
                    .and_then(|size| room.checked_sub(size))
                    .ok_or_else(|| FormatError::TooLarge {
                        what: "The modules' part of it".to_owned(),
                        limit: MAX_MODULES,
                    })?;
                let info = modinfo::of_module(&module)
                    .ok_or_else(|| FormatError::malformed(format!("{path} is not a module")))?;
                let name = name_of(path);
                count(&name, &info)?;
                let path = path.to_owned();
                modules.loadable.insert(name, Loadable { path, info });
            }
        }
        Ok(modules)
    }

    /// The module is part of the kernel.
    pub(crate) fn is_built_in(&self, name: &str) -> bool {
        self.built_in.contains_key(name)
    }

    /// The inflated contents of a loadable module.
    pub(crate) fn contents(
        &self,
        package: &Contents,
        name: &str,
    ) -> Result<Option<Vec<u8>>, FormatError> {
        let Some(module) = self.loadable.get(name) else {
            return Ok(None);
        };
        read_module(package, &module.path).map(Some)
    }
}

fn read_module(contents: &Contents, path: &str) -> Result<Vec<u8>, FormatError> {
    let file = contents.read(path, MAX_MODULE)?;
    read_bounded(inflating(file.as_slice())?, path, MAX_MODULE)
}

/// Whether a file in a package is a module, compressed or not, with a name that modules have.
pub(crate) fn is_module(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    [".ko", ".ko.gz", ".ko.xz", ".ko.zst"]
        .iter()
        .find_map(|ending| file.strip_suffix(ending))
        .is_some_and(|name| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        })
}

/// The name of the module in this file. The kernel takes `-` and `_` in it for the same.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split_once(".ko").map_or(file, |(stem, _)| stem);
    canonical(stem)
}

fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module that says nothing of itself.
    fn module() -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0\x01\0\0\0".to_vec();
        for word in [0_u64, 0, 64] {
            elf.extend_from_slice(&word.to_le_bytes());
        }
        for half in [0_u16, 0, 64, 0, 0, 64, 3, 1] {
            elf.extend_from_slice(&half.to_le_bytes());
        }
        let names = b"\0.modinfo\0";
        let names_at = 64 + 3 * 64;
        for (name, kind, size) in [(0_u32, 0_u32, 0), (0, 3, names.len()), (1, 1, 0)] {
            for word in [
                u64::from(kind) << 32 | u64::from(name),
                0,
                0,
                names_at,
                size as u64,
                0,
                1,
                0,
            ] {
                elf.extend_from_slice(&word.to_le_bytes());
            }
        }
        elf.extend_from_slice(names);
        elf
    }

    #[test]
    fn counts_the_bytes_of_all_modules() {
        let module = module();
        let size = u64::try_from(module.len()).unwrap();
        let mut contents =
            Contents::new_in(&std::env::temp_dir(), crate::package::kept_as).unwrap();
        for name in ["a", "b"] {
            let path = format!("lib/modules/{name}.ko");
            contents.add(&path, size, &mut module.as_slice()).unwrap();
        }
        assert_eq!(
            Modules::read_within(&contents, 2 * size)
                .unwrap()
                .loadable
                .len(),
            2
        );
        let error = Modules::read_within(&contents, 2 * size - 1).unwrap_err();
        assert!(matches!(error, FormatError::TooLarge { .. }), "{error}");
    }
}
