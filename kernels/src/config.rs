//! A kernel's configuration: the `.config` it was built with.

use std::collections::BTreeMap;

/// The settings of a kernel's configuration.
///
/// The file's grammar is that of the kernel's `Documentation/kbuild/kconfig.rst`: `CONFIG_NAME=value`
/// lines, and `# CONFIG_NAME is not set`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelConfig {
    settings: BTreeMap<String, Setting>,
}

/// What a kernel's configuration says about one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `=y`: built into the kernel.
    BuiltIn,
    /// `=m`: built as a module.
    Module,
    /// `is not set`: the kernel knows the option and was built without.
    Off,
    /// A number or a string, as written after the `=`.
    Value(String),
}

impl KernelConfig {
    /// Reads a configuration; lines that are neither settings nor "is not set" mean nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let settings = text.lines().filter_map(|line| {
            if let Some(comment) = line.strip_prefix("# ") {
                let name = comment.strip_suffix(" is not set")?;
                name.starts_with("CONFIG_")
                    .then(|| (name.to_owned(), Setting::Off))
            } else {
                let (name, value) = line.split_once('=')?;
                let setting = match value {
                    "y" => Setting::BuiltIn,
                    "m" => Setting::Module,
                    "n" => Setting::Off,
                    value => Setting::Value(value.to_owned()),
                };
                name.starts_with("CONFIG_")
                    .then(|| (name.to_owned(), setting))
            }
        });
        Self {
            settings: settings.collect(),
        }
    }

    /// The setting of an option such as `CONFIG_EXT4_FS`; `None` if this kernel does not know it.
    #[must_use]
    pub fn get(&self, option: &str) -> Option<&Setting> {
        self.settings.get(option)
    }

    /// The option is built into the kernel.
    #[must_use]
    pub fn is_built_in(&self, option: &str) -> bool {
        self.get(option) == Some(&Setting::BuiltIn)
    }

    /// The option exists in this kernel and was left out.
    #[must_use]
    pub fn is_off(&self, option: &str) -> bool {
        self.get(option) == Some(&Setting::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_settings_apart() {
        let config = KernelConfig::parse(
            "#\n# Automatically generated\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n\
             CONFIG_D=\"x=y\"\nCONFIG_E=n\nnonsense\n# Other is not set\n",
        );
        assert!(config.is_built_in("CONFIG_A"));
        assert_eq!(config.get("CONFIG_B"), Some(&Setting::Module));
        assert!(config.is_off("CONFIG_C"));
        assert_eq!(
            config.get("CONFIG_D"),
            Some(&Setting::Value("\"x=y\"".to_owned()))
        );
        assert!(config.is_off("CONFIG_E"));
        assert_eq!(config.get("CONFIG_F"), None);
        assert_eq!(config.settings.len(), 5);
    }
}
