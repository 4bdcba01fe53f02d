//! Which modules a driver needs, and in which order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ModInfo, Modules, canonical};
use crate::FormatError;

/// The most modules chosen, and the most that one of them depends on: all drivers of Debian's kernel
/// need 50.
const MAX_CHOSEN: usize = 1000;

/// A module that was chosen, and what is loaded around it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Choice {
    /// Chosen modules to load before this one.
    pub(crate) before: Vec<String>,
    /// Chosen modules to load after this one.
    pub(crate) after: Vec<String>,
}

/// Chooses the modules for `drivers` and all that they depend on. A driver that is built in gives
/// only what it asks to have loaded beside it; a driver the kernel does not have gives nothing.
///
/// A dependency that no module provides is kept in the choice, to be missed when it is needed.
pub(crate) fn choose<'a>(
    modules: &Modules,
    drivers: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<String, Choice>, FormatError> {
    let providers = Providers::of(modules);
    let mut chosen = BTreeMap::new();
    let mut wanted: Vec<String> = drivers.into_iter().map(canonical).collect();
    while let Some(name) = wanted.pop() {
        if chosen.contains_key(&name) {
            continue;
        }
        let Some(info) = modules.info(&name) else {
            continue;
        };
        let soft = |names: &[String]| -> Vec<String> {
            names
                .iter()
                .flat_map(|name| providers.of_name(name))
                .map(|name| (*name).to_owned())
                .take(MAX_CHOSEN)
                .collect()
        };
        let mut choice = Choice {
            before: soft(&info.before),
            after: soft(&info.after),
        };
        let hard = info.depends.iter();
        let hard = hard.filter(|name| !modules.built_in.contains_key(*name));
        choice.before.extend(hard.take(MAX_CHOSEN).cloned());
        let names = choice.before.len() + choice.after.len();
        if names >= MAX_CHOSEN || chosen.len() == MAX_CHOSEN {
            return Err(FormatError::malformed(
                "Its modules depend on too many others",
            ));
        }
        wanted.extend(choice.before.iter().chain(&choice.after).cloned());
        chosen.insert(name, choice);
    }
    Ok(chosen)
}

impl Modules {
    fn info(&self, name: &str) -> Option<&ModInfo> {
        self.loadable
            .get(name)
            .map(|module| &module.info)
            .or_else(|| self.built_in.get(name))
    }
}

/// What loadable modules go by which name: their own, and aliases.
struct Providers<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Providers<'a> {
    fn of(modules: &'a Modules) -> Self {
        let mut providers = BTreeMap::<&str, Vec<&str>>::new();
        let names = |own: &'a String, info: &'a ModInfo| {
            let aliases = info.aliases.iter().filter(move |alias| *alias != own);
            aliases.chain([own]).map(String::as_str)
        };
        for (own, module) in &modules.loadable {
            for name in names(own, &module.info) {
                let by_name = providers.entry(name).or_default();
                // A module may have an alias twice.
                if by_name.last() != Some(&own.as_str()) {
                    by_name.push(own);
                }
            }
        }
        for (own, info) in &modules.built_in {
            for name in names(own, info) {
                providers.remove(name);
            }
        }
        Self(providers)
    }

    /// The loadable modules to load for a name that a soft dependency gives; none if something
    /// built in goes by that name, or nothing does.
    ///
    /// Where several modules provide the same (crc32c has one for each instruction set), the
    /// portable one is taken: it works on every CPU, and a module for another CPU fails to load.
    fn of_name(&self, name: &str) -> &[&'a str] {
        let providers = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        let portable = providers.iter().position(|own| own.ends_with("_generic"));
        portable.map_or(providers, |portable| &providers[portable..=portable])
    }
}
