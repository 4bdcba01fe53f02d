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

/// Bytes of all modules' information together: what Debian's 4,000 modules say is a tenth of it.
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
        let mut modules = Self::default();
        let mut information = 0;
        for path in contents.paths() {
            if path.ends_with("/modules.builtin") {
                let list = contents.read(path, MAX_MODULE)?;
                for line in String::from_utf8_lossy(&list).lines() {
                    modules.built_in.entry(name_of(line)).or_default();
                }
            } else if path.ends_with("/modules.builtin.modinfo") {
                let section = contents.read(path, MAX_MODULE)?;
                for (name, info) in modinfo::of_built_in(&section) {
                    modules.built_in.insert(name, info);
                }
            } else if is_module(path) {
                let module = read_module(contents, path)?;
                let info = modinfo::of_module(&module)
                    .ok_or_else(|| FormatError::malformed(format!("{path} is not a module")))?;
                information += info.size();
                if information > MAX_INFORMATION {
                    return Err(FormatError::malformed(
                        "Its modules say more of themselves than any kernel's",
                    ));
                }
                let path = path.to_owned();
                modules
                    .loadable
                    .insert(name_of(&path), Loadable { path, info });
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
