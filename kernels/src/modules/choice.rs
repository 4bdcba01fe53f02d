//! Which modules a driver needs, and in which order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Modules, canonical};
use crate::FormatError;

/// The most modules chosen: all drivers of Debian's kernel need 50.
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
    let mut chosen = BTreeMap::new();
    let mut wanted: Vec<String> = drivers.into_iter().map(canonical).collect();
    while let Some(name) = wanted.pop() {
        if chosen.contains_key(&name) {
            continue;
        }
        let Some(info) = modules.info(&name) else {
            continue;
        };
        if chosen.len() == MAX_CHOSEN {
            return Err(FormatError::malformed(
                "Its modules depend on too many others",
            ));
        }
        let soft = |names: &[String]| -> Vec<String> {
            names
                .iter()
                .flat_map(|name| modules.provide(name))
                .collect()
        };
        let mut choice = Choice {
            before: soft(&info.before),
            after: soft(&info.after),
        };
        let hard = info.depends.iter();
        choice.before.extend(
            hard.filter(|name| !modules.built_in.contains_key(*name))
                .cloned(),
        );
        wanted.extend(choice.before.iter().chain(&choice.after).cloned());
        chosen.insert(name, choice);
    }
    Ok(chosen)
}

impl Modules {
    fn info(&self, name: &str) -> Option<&super::ModInfo> {
        self.loadable
            .get(name)
            .map(|module| &module.info)
            .or_else(|| self.built_in.get(name))
    }

    /// The loadable modules to load for a name that a soft dependency gives; none if something
    /// built in goes by that name, or nothing does.
    ///
    /// Where several modules provide the same (crc32c has one for each instruction set), the
    /// portable one is taken: it works on every CPU, and a module for another CPU fails to load.
    fn provide(&self, name: &str) -> Vec<String> {
        let goes_by = |own: &str, info: &super::ModInfo| {
            own == name || info.aliases.iter().any(|a| a == name)
        };
        if self.built_in.iter().any(|(own, info)| goes_by(own, info)) {
            return Vec::new();
        }
        let mut providers: Vec<String> = self
            .loadable
            .iter()
            .filter(|(own, module)| goes_by(own, &module.info))
            .map(|(own, _)| own.clone())
            .collect();
        if let Some(portable) = providers.iter().position(|own| own.ends_with("_generic")) {
            providers = vec![providers.swap_remove(portable)];
        }
        providers
    }
}
