//! Platforms: operating system, architecture and variant, as the OCI image index names them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Error;

/// A platform, normalized: `arm64` never carries `v8`, `arm` always has a variant.
///
/// Names are Go's, as in the OCI image index ("platform" in image-index.md).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// Puts a platform together, normalizing aliases such as `x86_64`.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = os.to_ascii_lowercase();
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant
            .filter(|variant| !variant.is_empty())
            .map(str::to_ascii_lowercase);
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", None),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
            ("aarch64", variant) => ("arm64", variant),
            ("armel", _) => ("arm", Some("v6")),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("powerpc64le" | "ppc64el", variant) => ("ppc64le", variant),
            (architecture, variant) => (architecture, variant),
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// Puts a platform together of what a document says, which can be anything: only what
    /// [`FromStr`] takes is accepted, so that every platform can be printed and read again.
    pub(crate) fn checked(
        os: &str,
        architecture: &str,
        variant: Option<&str>,
    ) -> Result<Self, Error> {
        let variant = variant.filter(|variant| !variant.is_empty());
        let parts = [Some(os), Some(architecture), variant];
        if parts.iter().flatten().all(|part| is_well_formed(part)) {
            Ok(Self::new(os, architecture, variant))
        } else {
            let parts: Vec<&str> = parts.into_iter().flatten().collect();
            Err(invalid(&parts.join("/")))
        }
    }

    /// As docker takes one name alone: an operating system's, with the host's architecture, or an
    /// architecture's, with Linux.
    fn of_one_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("linux") {
            return Some(Self::host());
        }
        let platform = Self::new("linux", name, None);
        ARCHITECTURES
            .contains(&platform.architecture())
            .then_some(platform)
    }

    /// A platform that cannot be told.
    pub(crate) fn unknown() -> Self {
        Self::new("unknown", "unknown", None)
    }

    /// Linux on the architecture this program was built for.
    #[must_use]
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// The operating system, such as `linux`.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture, such as `amd64`.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant, such as `v7`.
    #[must_use]
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// How well a machine of this platform runs an image made for `offered`: 0 is best, `None` not at
    /// all. An older ARM variant and the 32-bit brother of a 64-bit architecture run too, if there is
    /// nothing better.
    #[must_use]
    pub fn distance(&self, offered: &Self) -> Option<u8> {
        if self == offered {
            return Some(0);
        }
        if self.os != offered.os {
            return None;
        }
        match (self.architecture.as_str(), offered.architecture.as_str()) {
            ("amd64", "386") => Some(10),
            ("arm64", "arm") => Some(20 - offered.arm_version()?),
            ("arm", "arm") => self.arm_version()?.checked_sub(offered.arm_version()?),
            _ => None,
        }
    }

    fn arm_version(&self) -> Option<u8> {
        match self.variant.as_deref() {
            Some("v5") => Some(5),
            Some("v6") => Some(6),
            Some("v7") => Some(7),
            Some("v8") => Some(8),
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| is_well_formed(part)) {
            return Err(invalid(text));
        }
        match parts[..] {
            [alone] => Self::of_one_name(alone).ok_or_else(|| invalid(text)),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(invalid(text)),
        }
    }
}

/// The architectures that are known by their name alone.
const ARCHITECTURES: [&str; 7] = [
    "386", "amd64", "arm", "arm64", "ppc64le", "riscv64", "s390x",
];

/// The most bytes of one part: far more than any that is in use.
const MAX_PART: usize = 64;

fn is_well_formed(part: &str) -> bool {
    (1..=MAX_PART).contains(&part.len())
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

fn invalid(text: &str) -> Error {
    Error::InvalidPlatform(text.chars().take(100).collect())
}

impl TryFrom<String> for Platform {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn normalizes_aliases() {
        for (given, printed) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("Linux/i686", "linux/386"),
            ("linux/ppc64el", "linux/ppc64le"),
            ("windows/amd64", "windows/amd64"),
            ("arm64", "linux/arm64"),
            ("x86_64", "linux/amd64"),
            ("armhf", "linux/arm/v7"),
            ("S390x", "linux/s390x"),
        ] {
            assert_eq!(platform(given).to_string(), printed);
        }
    }

    #[test]
    fn refuses_other_shapes() {
        assert_eq!(platform("linux"), Platform::host());
        for text in [
            "",
            "windows",
            "v7",
            "linux/",
            "/amd64",
            "a/b/c/d",
            "linux/am d",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn prefers_the_nearest() {
        let best = |wanted: &str, offered: &[&str]| {
            offered
                .iter()
                .filter_map(|text| Some((platform(wanted).distance(&platform(text))?, *text)))
                .min()
                .map(|(_, text)| text.to_owned())
        };
        let every = ["linux/386", "linux/amd64", "linux/arm/v6", "linux/arm/v7"];
        assert_eq!(best("linux/amd64", &every).unwrap(), "linux/amd64");
        assert_eq!(best("linux/amd64", &every[..1]).unwrap(), "linux/386");
        assert_eq!(best("linux/arm/v7", &every).unwrap(), "linux/arm/v7");
        assert_eq!(best("linux/arm64", &every).unwrap(), "linux/arm/v7");
        assert_eq!(best("linux/arm/v7", &every[..3]).unwrap(), "linux/arm/v6");
        assert_eq!(best("linux/arm/v6", &every[3..]), None);
        assert_eq!(best("linux/386", &every[1..]), None);
        assert_eq!(best("windows/amd64", &every), None);
    }
}
