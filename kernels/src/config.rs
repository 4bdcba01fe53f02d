//! A kernel's configuration: the `.config` it was built with.

use memchr::memmem;

/// The settings of a kernel's configuration.
///
/// The file's grammar is that of the kernel's `Documentation/kbuild/kconfig.rst`: `CONFIG_NAME=value`
/// lines, and `# CONFIG_NAME is not set`. It has thousands of them, of which a start asks for a dozen: they are
/// looked for when they are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelConfig {
    text: String,
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

impl Setting {
    /// Of what is written after the `=`.
    fn from_value(value: &str) -> Self {
        match value {
            "y" => Self::BuiltIn,
            "m" => Self::Module,
            "n" => Self::Off,
            value => Self::Value(value.to_owned()),
        }
    }
}

impl KernelConfig {
    /// Takes a configuration; lines that are neither settings nor "is not set" mean nothing.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// The setting of an option such as `CONFIG_EXT4_FS`; `None` if this kernel does not know it.
    #[must_use]
    pub fn get(&self, option: &str) -> Option<Setting> {
        let places = memmem::find_iter(self.text.as_bytes(), option);
        places
            .filter_map(|place| {
                let (before, found) = self.text.split_at_checked(place)?;
                let rest = found.strip_prefix(option)?.lines().next()?;
                match before.rsplit('\n').next()? {
                    "" => Some(Setting::from_value(rest.strip_prefix('=')?)),
                    "# " => (rest == " is not set").then_some(Setting::Off),
                    _ => None,
                }
            })
            .last()
    }

    /// The option is built into the kernel.
    #[must_use]
    pub fn is_built_in(&self, option: &str) -> bool {
        self.get(option) == Some(Setting::BuiltIn)
    }

    /// The option exists in this kernel and was left out.
    #[must_use]
    pub fn is_off(&self, option: &str) -> bool {
        self.get(option) == Some(Setting::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_settings_apart() {
        let config = KernelConfig::new(
            "#\n# Automatically generated\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n\
             CONFIG_D=\"x=y\"\nCONFIG_E=n\nCONFIG_LONG=y\n# CONFIG_LONG_ONE is not set\n\
             OTHER_CONFIG_F=y\n# CONFIG_G is not settled"
                .to_owned(),
        );
        assert!(config.is_built_in("CONFIG_A"));
        assert_eq!(config.get("CONFIG_B"), Some(Setting::Module));
        assert!(config.is_off("CONFIG_C"));
        assert_eq!(
            config.get("CONFIG_D"),
            Some(Setting::Value("\"x=y\"".to_owned()))
        );
        assert!(config.is_off("CONFIG_E"));
        // Only whole names count.
        assert!(config.is_built_in("CONFIG_LONG") && config.is_off("CONFIG_LONG_ONE"));
        for unknown in ["CONFIG_F", "CONFIG_G", "CONFIG_LON", "CONFIG_ONE"] {
            assert_eq!(config.get(unknown), None, "{unknown}");
        }
    }
}
