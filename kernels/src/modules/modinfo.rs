//! What a module says of itself: `key=value` strings in the `.modinfo` section of its ELF file.

use std::collections::BTreeMap;

use object::{Object, ObjectSection};

use super::canonical;

/// The part of a module's information that decides what is loaded with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModInfo {
    /// Modules whose symbols it uses.
    pub(super) depends: Vec<String>,
    /// Modules or aliases that should be loaded before it.
    pub(super) before: Vec<String>,
    /// Modules or aliases that should be loaded after it.
    pub(super) after: Vec<String>,
    /// Other names it may be asked for by. Patterns for devices are not kept.
    pub(super) aliases: Vec<String>,
}

impl ModInfo {
    fn add(&mut self, key: &str, value: &str) {
        match key {
            "depends" => self.depends.extend(
                value
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(canonical),
            ),
            "softdep" => {
                let mut list = None;
                for word in value.split_whitespace() {
                    match word {
                        "pre:" => list = Some(&mut self.before),
                        "post:" => list = Some(&mut self.after),
                        name => {
                            if let Some(list) = &mut list {
                                list.push(canonical(name));
                            }
                        }
                    }
                }
            }
            "alias" if !value.contains([':', '*']) => self.aliases.push(canonical(value)),
            _ => {}
        }
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn size(&self) -> usize {
        let strings = [&self.depends, &self.before, &self.after, &self.aliases];
        let strings = strings.into_iter().flatten();
        size_of::<Self>()
            + strings
                .map(|text| size_of::<String>() + text.len())
                .sum::<usize>()
    }
}

/// Reads a module's information; `None` if the file is not a module.
pub(super) fn of_module(elf: &[u8]) -> Option<ModInfo> {
    let file = object::File::parse(elf).ok()?;
    let section = file.section_by_name(".modinfo")?.data().ok()?;
    let mut info = ModInfo::default();
    for (key, value) in settings(section) {
        info.add(key, value);
    }
    Some(info)
}

/// Reads `modules.builtin.modinfo`, in which each key has the module's name and a dot before it.
pub(super) fn of_built_in(section: &[u8]) -> BTreeMap<String, ModInfo> {
    let mut modules = BTreeMap::<String, ModInfo>::new();
    for (key, value) in settings(section) {
        if let Some((module, key)) = key.split_once('.') {
            modules
                .entry(canonical(module))
                .or_default()
                .add(key, value);
        }
    }
    modules
}

fn settings(section: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    section
        .split(|byte| *byte == 0)
        .filter_map(|setting| std::str::from_utf8(setting).ok()?.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dependencies_of_every_kind() {
        let section = b"ext4.softdep=pre: crypto-crc32c post: late\0ext4.alias=fs-ext4\0\
                        ext4.alias=pci:v*\0ext4.depends=jbd2,mb-cache\0nonsense\0other.depends=\0";
        let modules = of_built_in(section);
        assert_eq!(
            modules["ext4"],
            ModInfo {
                depends: vec!["jbd2".into(), "mb_cache".into()],
                before: vec!["crypto_crc32c".into()],
                after: vec!["late".into()],
                aliases: vec!["fs_ext4".into()],
            }
        );
        assert_eq!(modules["other"], ModInfo::default());
    }

    #[test]
    fn refuses_what_is_not_a_module() {
        assert_eq!(of_module(b""), None);
        assert_eq!(of_module(b"\x7fELF\x02\x01\x01"), None);
    }
}
